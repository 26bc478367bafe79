//! Roles.

use ipnet::IpNet;
use keyway_crypto::envelope::RecordKind;
use keyway_loader::Condition;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AppRoleError, AppRoleRefusal, AppRoles};
use crate::{
    system::{New, Next, SystemError},
    token::{life::Life, role::OldNames},
};

/// A role. Durations are seconds; zero is not said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its identity: one that is made again is another.
    pub uuid: Uuid,
    /// What machines say that they are.
    pub role_id: String,
    /// Whether they have to prove it with a secret id.
    pub bind_secret_id: bool,
    /// From where secret ids can be used.
    pub secret_id_bound_cidrs: Vec<IpNet>,
    /// How often a secret id can be used.
    pub secret_id_num_uses: u64,
    /// How long a secret id lives.
    pub secret_id_ttl: u64,
    /// The policies of its tokens.
    pub token_policies: Vec<String>,
    /// How long its tokens live.
    pub token_ttl: u64,
    /// How long they live at most, however often they are renewed.
    pub token_max_ttl: u64,
    /// As `token_max_ttl`, for periodic ones too.
    pub token_explicit_max_ttl: u64,
    /// To how long each renewal prolongs them.
    pub token_period: u64,
    /// How often they can be used.
    pub token_num_uses: u64,
    /// From where they can be used.
    pub token_bound_cidrs: Vec<IpNet>,
    /// Whether they are made without the policy `default`.
    pub token_no_default_policy: bool,
    /// The kind of token as it was written; nothing is the usual one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token_type: String,
    /// The old names by which fields were written.
    #[serde(default, skip_serializing_if = "OldNames::is_empty")]
    pub old_names: OldNames,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            uuid: Uuid::new_v4(),
            role_id: Uuid::new_v4().to_string(),
            bind_secret_id: true,
            secret_id_bound_cidrs: Vec::new(),
            secret_id_num_uses: 0,
            secret_id_ttl: 0,
            token_policies: Vec::new(),
            token_ttl: 0,
            token_max_ttl: 0,
            token_explicit_max_ttl: 0,
            token_period: 0,
            token_num_uses: 0,
            token_bound_cidrs: Vec::new(),
            token_no_default_policy: false,
            token_type: String::new(),
            old_names: OldNames::default(),
        }
    }
}

impl Role {
    /// What it says of the life of its tokens, which counts at each renewal, too.
    pub fn life(&self) -> Life {
        Life {
            otherwise: self.token_ttl,
            max_ttl: self.token_max_ttl,
            period: self.token_period,
            ..Life::default()
        }
    }
}

/// What finds a role by its role id.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    role: String,
}

impl AppRoles<'_> {
    /// A role.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read or opened.
    pub async fn role(&self, name: &str) -> Result<Option<Role>, AppRoleError> {
        Ok(self.records.get(RecordKind::AppRole, &self.key("role", name)).await?.map(|held| held.value))
    }

    /// The names of all roles, in order.
    ///
    /// # Errors
    ///
    /// `System` if the store cannot list the keys.
    pub async fn roles(&self) -> Result<Vec<String>, AppRoleError> {
        let names = self.records.names(&self.key("role", "")).await?;
        Ok(names.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
    }

    /// Makes a role, or changes it.
    ///
    /// # Errors
    ///
    /// What `edit` returns; `Refused` for a role id that another role has; `System` if the records cannot be
    /// read, opened or written.
    pub async fn edit_role(
        &self,
        name: &str,
        edit: impl Fn(&mut Role) -> Result<(), AppRoleError>,
    ) -> Result<(), AppRoleError> {
        // Without changing anything: which role id it would have.
        let before = self.role(name).await?;
        let mut wanted = before.clone().unwrap_or_default();
        edit(&mut wanted)?;
        if before.as_ref().is_none_or(|before| before.role_id != wanted.role_id) {
            self.claim(name, &wanted.role_id).await?;
        }
        let edited = self
            .records
            .change(RecordKind::AppRole, &self.key("role", name), |role: Option<Role>| {
                let mut role = role.unwrap_or_else(|| wanted.clone());
                edit(&mut role)?;
                role.role_id.clone_from(&wanted.role_id);
                Ok::<_, AppRoleError>((Next::Put(role), ()))
            })
            .await;
        edited?;
        if let Some(before) = before.filter(|before| before.role_id != wanted.role_id) {
            self.records.remove(&self.role_id_key(&before.role_id)).await?;
        }
        Ok(())
    }

    /// Takes a role id for a role. One that leads to a role which has another by now is free.
    async fn claim(&self, name: &str, role_id: &str) -> Result<(), AppRoleError> {
        const ATTEMPTS: u32 = 8;
        let key = self.role_id_key(role_id);
        for _ in 0..ATTEMPTS {
            let held = self.records.get::<Named>(RecordKind::RoleId, &key).await?;
            let condition = match held {
                None => Condition::Absent,
                Some(held) => {
                    let owner = self.role(&held.value.role).await?;
                    if held.value.role != name && owner.is_some_and(|owner| owner.role_id == role_id) {
                        return Err(AppRoleRefusal::RoleIdInUse.into());
                    }
                    Condition::Version(held.version)
                }
            };
            let named = Named { role: name.to_owned() };
            match self
                .records
                .put(&New { kind: RecordKind::RoleId, key: &key, value: &named }, condition)
                .await
            {
                Ok(_) => return Ok(()),
                // Another's claim, or the same record sealed again.
                Err(SystemError::Storage(error)) if error.is_lost_race() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AppRoleRefusal::RoleIdInUse.into())
    }

    /// Removes a role with its secret ids. Its tokens live on.
    ///
    /// # Errors
    ///
    /// `System` if the store does not remove the records.
    pub async fn remove_role(&self, name: &str) -> Result<(), AppRoleError> {
        let Some(role) = self.role(name).await? else { return Ok(()) };
        self.records.remove(&self.key("role", name)).await?;
        // Nothing leads from these to a role any more.
        self.records.remove(&self.role_id_key(&role.role_id)).await?;
        self.remove_secret_ids(&role).await
    }

    /// The role that has this role id, and its name.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read or opened.
    pub(crate) async fn role_by_id(&self, role_id: &str) -> Result<Option<(String, Role)>, AppRoleError> {
        let Some(held) = self.records.get::<Named>(RecordKind::RoleId, &self.role_id_key(role_id)).await?
        else {
            return Ok(None);
        };
        let role = self.role(&held.value.role).await?.filter(|role| role.role_id == role_id);
        Ok(role.map(|role| (held.value.role, role)))
    }

    fn role_id_key(&self, role_id: &str) -> Vec<u8> {
        self.key("id", &self.name("role-id", role_id))
    }
}
