//! Secret ids, which prove a role. The store finds them by their HMAC, so only their receiver knows them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use keyway_common::clock::Time;
use keyway_crypto::envelope::RecordKind;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AppRoleError, AppRoleRefusal, AppRoles, Role};
use crate::{
    system::{New, Next, SystemError},
    token::plan::check_meta,
};

/// The record of a secret id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretId {
    /// What names it without being it.
    pub accessor: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// How long it was to live, in seconds; zero is for ever.
    pub ttl: u64,
    /// When it dies; none is never.
    pub expires: Option<Time>,
    /// How often it was to be used; zero is any number.
    pub num_uses: u64,
    /// How many uses are left; none is any number.
    pub uses_left: Option<u64>,
    /// The networks in which it can be used, besides the role's.
    pub cidr_list: Vec<IpNet>,
    /// From where its tokens can be used, instead of what its role says.
    pub token_bound_cidrs: Vec<IpNet>,
    /// The metadata from its maker; its tokens carry it.
    pub metadata: BTreeMap<String, String>,
}

/// What finds a secret id by its accessor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accessor {
    accessor: String,
    /// The name of the secret id in the store.
    secret_id: String,
}

/// The wanted properties of a new secret id.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The secret id itself; none is a random one.
    pub secret_id: Option<String>,
    /// How long it lives, in seconds; none is as the role says.
    pub ttl: Option<u64>,
    /// How often it can be used; none is as the role says.
    pub num_uses: Option<u64>,
    /// From where it can be used.
    pub cidr_list: Vec<IpNet>,
    /// From where its tokens can be used.
    pub token_bound_cidrs: Vec<IpNet>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

impl SecretId {
    fn is_alive(&self, now: Time) -> bool {
        self.uses_left != Some(0) && self.expires.is_none_or(|expires| now < expires)
    }
}

impl AppRoles<'_> {
    /// Makes a secret id; answers it and its record.
    ///
    /// # Errors
    ///
    /// `Refused` if the role does not allow its life, its uses or its networks, or if it exists; `Token` with
    /// a refusal for too much metadata; `System` if the records cannot be read, opened or written.
    pub async fn make_secret_id(
        &self,
        role: &Role,
        wanted: &Wanted,
    ) -> Result<(String, SecretId), AppRoleError> {
        if !role.bind_secret_id {
            return Err(AppRoleRefusal::NoSecretIds.into());
        }
        let exceeds = |asked: Option<u64>, bound: u64| {
            asked.is_some_and(|asked| bound > 0 && (asked == 0 || asked > bound))
        };
        if exceeds(wanted.ttl, role.secret_id_ttl) {
            return Err(AppRoleRefusal::SecretIdTtl.into());
        }
        if exceeds(wanted.num_uses, role.secret_id_num_uses) {
            return Err(AppRoleRefusal::SecretIdUses.into());
        }
        for (field, subset, of) in [
            ("cidr_list", &wanted.cidr_list, &role.secret_id_bound_cidrs),
            ("token_bound_cidrs", &wanted.token_bound_cidrs, &role.token_bound_cidrs),
        ] {
            let is_within = |network: &IpNet| of.iter().any(|bound| bound.contains(network));
            if !of.is_empty() && !subset.iter().all(is_within) {
                return Err(AppRoleRefusal::SecretIdNetworks { field }.into());
            }
        }
        check_meta(&wanted.metadata)?;
        let secret_id = wanted.secret_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let ttl = self.secret_id_ttl(wanted.ttl.unwrap_or(role.secret_id_ttl));
        let num_uses = wanted.num_uses.unwrap_or(role.secret_id_num_uses);
        let created = Time::now();
        let known = SecretId {
            accessor: Uuid::new_v4().to_string(),
            created: created.to_string(),
            ttl,
            expires: Some(ttl).filter(|ttl| *ttl > 0).map(|ttl| created.after(ttl)),
            num_uses,
            uses_left: Some(num_uses).filter(|uses| *uses > 0),
            cidr_list: wanted.cidr_list.clone(),
            token_bound_cidrs: wanted.token_bound_cidrs.clone(),
            metadata: wanted.metadata.clone(),
        };
        let name = self.secret_name(role, &secret_id);
        let accessor = Accessor { accessor: known.accessor.clone(), secret_id: name.clone() };
        let accessor_key = self.accessor_key(role, &known.accessor);
        let accessor = New { kind: RecordKind::SecretIdAccessor, key: &accessor_key, value: &accessor };
        let point = New { kind: RecordKind::SecretId, key: &self.secret_key(role, &name), value: &known };
        match self.records.put_both(&accessor, &point).await {
            Ok(()) => Ok((secret_id, known)),
            Err(SystemError::Storage(error)) if error.is_lost_race() => {
                self.records.remove(&accessor_key).await?;
                Err(AppRoleRefusal::SecretIdExists.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The record of a secret id that is valid.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read or opened.
    pub async fn secret_id(&self, role: &Role, secret_id: &str) -> Result<Option<SecretId>, AppRoleError> {
        self.secret_id_named(role, &self.secret_name(role, secret_id)).await
    }

    /// The mount bounds how long secret ids live, if they do not live for ever.
    fn secret_id_ttl(&self, asked: u64) -> u64 {
        asked.min(self.mount.tune.lifetimes().max)
    }

    async fn secret_id_named(&self, role: &Role, name: &str) -> Result<Option<SecretId>, AppRoleError> {
        let held = self.records.get::<SecretId>(RecordKind::SecretId, &self.secret_key(role, name)).await?;
        let now = Time::now();
        Ok(held.map(|held| held.value).filter(|known| known.is_alive(now)))
    }

    /// As [`secret_id`](Self::secret_id), by its accessor.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read or opened.
    pub async fn secret_id_by_accessor(
        &self,
        role: &Role,
        accessor: &str,
    ) -> Result<Option<SecretId>, AppRoleError> {
        match self.named_by(role, accessor).await? {
            None => Ok(None),
            Some(name) => self.secret_id_named(role, &name).await,
        }
    }

    /// Uses a secret id once; answers its record, if it was valid.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read, opened or written.
    pub(crate) async fn use_secret_id(
        &self,
        role: &Role,
        secret_id: &str,
    ) -> Result<Option<SecretId>, AppRoleError> {
        let (now, key) = (Time::now(), self.secret_key(role, &self.secret_name(role, secret_id)));
        self.records
            .change(RecordKind::SecretId, &key, |known: Option<SecretId>| {
                let Some(known) = known.filter(|known| known.is_alive(now)) else {
                    return Ok((Next::Keep, None));
                };
                let next = match known.uses_left {
                    None => Next::Keep,
                    Some(left) => Next::Put(SecretId { uses_left: Some(left - 1), ..known.clone() }),
                };
                Ok((next, Some(known)))
            })
            .await
    }

    /// Removes a secret id.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read, opened or written.
    pub async fn remove_secret_id(&self, role: &Role, secret_id: &str) -> Result<(), AppRoleError> {
        self.remove_secret_id_named(role, &self.secret_name(role, secret_id)).await
    }

    async fn remove_secret_id_named(&self, role: &Role, name: &str) -> Result<(), AppRoleError> {
        let key = self.secret_key(role, name);
        let held = self.records.get::<SecretId>(RecordKind::SecretId, &key).await?;
        self.records.remove(&key).await?;
        if let Some(held) = held {
            self.records.remove(&self.accessor_key(role, &held.value.accessor)).await?;
        }
        Ok(())
    }

    /// As [`remove_secret_id`](Self::remove_secret_id), by its accessor; whether there was one.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read, opened or written.
    pub async fn remove_secret_id_by_accessor(
        &self,
        role: &Role,
        accessor: &str,
    ) -> Result<bool, AppRoleError> {
        let Some(name) = self.named_by(role, accessor).await? else { return Ok(false) };
        self.remove_secret_id_named(role, &name).await?;
        Ok(true)
    }

    /// The accessors of a role's secret ids, in order.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read or opened.
    pub async fn accessors(&self, role: &Role) -> Result<Vec<String>, AppRoleError> {
        let prefix = self.accessor_prefix(role);
        let names = self.records.names(&prefix).await?;
        let keys: Vec<Vec<u8>> = names.iter().map(|name| [prefix.as_slice(), name].concat()).collect();
        let held = self.records.get_many::<Accessor>(RecordKind::SecretIdAccessor, &keys).await?;
        let mut accessors = Vec::with_capacity(held.len());
        for held in held.into_iter().flatten() {
            if self.secret_id_named(role, &held.value.secret_id).await?.is_some() {
                accessors.push(held.value.accessor);
            }
        }
        accessors.sort_unstable();
        Ok(accessors)
    }

    /// Removes all secret ids of a role.
    pub(super) async fn remove_secret_ids(&self, role: &Role) -> Result<(), AppRoleError> {
        for prefix in [self.secret_prefix(role), self.accessor_prefix(role)] {
            let names = self.records.names(&prefix).await?;
            let keys: Vec<Vec<u8>> = names.iter().map(|name| [prefix.as_slice(), name].concat()).collect();
            self.records.remove_all(&keys).await?;
        }
        Ok(())
    }

    /// Removes secret ids that are dead; how many.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read, opened or written.
    pub async fn tidy_secret_ids(&self) -> Result<usize, AppRoleError> {
        let (mut gone, now) = (0, Time::now());
        for name in self.roles().await? {
            let Some(role) = self.role(&name).await? else { continue };
            for name in self.records.names(&self.secret_prefix(&role)).await? {
                let name = String::from_utf8_lossy(&name).into_owned();
                let held = self
                    .records
                    .get::<SecretId>(RecordKind::SecretId, &self.secret_key(&role, &name))
                    .await?;
                if held.is_some_and(|held| !held.value.is_alive(now)) {
                    self.remove_secret_id_named(&role, &name).await?;
                    gone += 1;
                }
            }
        }
        Ok(gone)
    }

    async fn named_by(&self, role: &Role, accessor: &str) -> Result<Option<String>, AppRoleError> {
        let key = self.accessor_key(role, accessor);
        let held = self.records.get::<Accessor>(RecordKind::SecretIdAccessor, &key).await?;
        Ok(held.map(|held| held.value.secret_id))
    }

    fn secret_name(&self, role: &Role, secret_id: &str) -> String {
        self.name(&format!("secret-id/{}", role.uuid), secret_id)
    }

    fn secret_prefix(&self, role: &Role) -> Vec<u8> {
        self.key("secret", &format!("{}/", role.uuid))
    }

    fn secret_key(&self, role: &Role, name: &str) -> Vec<u8> {
        [self.secret_prefix(role).as_slice(), name.as_bytes()].concat()
    }

    fn accessor_prefix(&self, role: &Role) -> Vec<u8> {
        self.key("accessor", &format!("{}/", role.uuid))
    }

    fn accessor_key(&self, role: &Role, accessor: &str) -> Vec<u8> {
        let name = self.name(&format!("secret-id-accessor/{}", role.uuid), accessor);
        [self.accessor_prefix(role).as_slice(), name.as_bytes()].concat()
    }
}
