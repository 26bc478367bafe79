//! Logging in: a token for a role id, and its secret id.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{AppRoleError, AppRoleRefusal, AppRoles};
use crate::{
    mounts::MountTable,
    token::{Entry, Token, Tokens, is_bound_to, life::Life, plan::with_default},
};

/// What a machine shows.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// Who it is.
    pub role_id: &'a str,
    /// What proves it.
    pub secret_id: Option<&'a str>,
    /// Where it is.
    pub address: Option<IpAddr>,
}

/// A token that was given.
pub struct LoggedIn {
    /// The token.
    pub token: Token,
    /// Its entry.
    pub entry: Entry,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl AppRoles<'_> {
    /// Gives a token to a machine. `at` is the path of the mount.
    ///
    /// # Errors
    ///
    /// `Refused` if the role id, the secret id or the address is not right; `System` if a record cannot be
    /// read or written; `Token` or `Random` if the token cannot be made.
    pub async fn login(
        &self,
        at: &str,
        shown: Credentials<'_>,
        table: Arc<MountTable>,
    ) -> Result<LoggedIn, AppRoleError> {
        let (name, role) = self.role_by_id(shown.role_id).await?.ok_or(AppRoleRefusal::Login)?;
        let mut metadata = BTreeMap::new();
        let mut bound_cidrs = role.token_bound_cidrs.clone();
        if !is_bound_to(&role.secret_id_bound_cidrs, shown.address) {
            return Err(AppRoleRefusal::Login.into());
        }
        if role.bind_secret_id {
            let secret_id = shown.secret_id.ok_or(AppRoleRefusal::Login)?;
            // The address is checked before the use, so that a login from another address uses nothing up.
            let known = self.secret_id(&role, secret_id).await?.ok_or(AppRoleRefusal::Login)?;
            if !is_bound_to(&known.cidr_list, shown.address) {
                return Err(AppRoleRefusal::Login.into());
            }
            let known = self.use_secret_id(&role, secret_id).await?.ok_or(AppRoleRefusal::Login)?;
            if !known.token_bound_cidrs.is_empty() {
                bound_cidrs = known.token_bound_cidrs;
            }
            metadata.extend(known.metadata);
        }
        // It comes last: the metadata of a secret id cannot set another role's name.
        metadata.insert("role_name".to_owned(), name.clone());
        let mut entry = Entry {
            policies: with_default(role.token_policies.clone(), role.token_no_default_policy),
            display_name: at.trim_matches('/').replace('/', "-"),
            path: format!("auth/{at}/login"),
            meta: Some(metadata),
            mount: Some(self.mount.uuid),
            role: Some(name),
            renewable: true,
            uses_left: Some(role.token_num_uses).filter(|uses| *uses > 0),
            bound_cidrs,
            ..Entry::new()?
        };
        let life = Life { explicit_max_ttl: role.token_explicit_max_ttl, ..role.life() };
        entry.period = role.token_period;
        entry.explicit_max_ttl = role.token_explicit_max_ttl;
        let warnings = entry.begin(life, self.mount.tune.lifetimes());
        let token = Tokens::new(self.barrier, self.work, table).make(None, &entry).await?;
        Ok(LoggedIn { token, entry, warnings })
    }
}
