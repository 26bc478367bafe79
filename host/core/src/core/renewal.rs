//! Renewing tokens: what role and mount say counts as it is now, and not as it was when the token was made.

use keyway_storage::Work;

use super::Unsealed;
use crate::{
    approle::{AppRoleError, AppRoleRefusal, AppRoles},
    mounts::auth::TOKEN,
    token::{
        Entry, Live, TokenError, TokenRefusal,
        life::{Life, Lifetimes},
        plan::lesser,
    },
};

/// A token that was renewed.
pub struct Renewed {
    /// Its entry.
    pub entry: Entry,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl Unsealed {
    /// Prolongs the life of a token by a number of seconds. Zero means as long as the last time; for a token
    /// of an auth method, as long as its role says.
    ///
    /// # Errors
    ///
    /// `Token` with a refusal if it cannot be renewed, or its auth method or token role is gone; `Refused` if
    /// its AppRole role is gone; `System` or `Token` if a record cannot be read, opened or written.
    pub async fn renew(&self, work: &Work, live: &Live, increment: u64) -> Result<Renewed, AppRoleError> {
        if !live.entry.can_be_renewed() {
            return Err(TokenError::from(TokenRefusal::NotRenewable).into());
        }
        let (life, lifetimes) = self.life_of(work, &live.entry).await?;
        let life = Life { ttl: increment, ..life };
        let (entry, warnings) = self.tokens(work).renew(&live.name, life, lifetimes).await?;
        Ok(Renewed { entry, warnings })
    }

    async fn life_of(&self, work: &Work, entry: &Entry) -> Result<(Life, Lifetimes), AppRoleError> {
        let table = self.mounts().current();
        if let Some(uuid) = entry.mount {
            let mount = table.auth().by_uuid(uuid).ok_or(TokenError::from(TokenRefusal::MethodGone))?;
            let name = entry.role.as_deref().unwrap_or_default();
            let role = AppRoles::new(self.barrier(), work, mount).role(name).await?;
            let gone = || AppRoleRefusal::RoleGone { role: name.to_owned() };
            let life = Life { explicit_max_ttl: entry.explicit_max_ttl, ..role.ok_or_else(gone)?.life() };
            return Ok((life, mount.tune.lifetimes()));
        }
        let lifetimes = table.auth().get(TOKEN).map(|mount| mount.tune.lifetimes()).unwrap_or_default();
        let life = Life {
            otherwise: entry.last_ttl(),
            explicit_max_ttl: entry.explicit_max_ttl,
            period: entry.period,
            ..Life::default()
        };
        let Some(name) = &entry.role else { return Ok((life, lifetimes)) };
        let gone = || TokenError::from(TokenRefusal::RoleGone { role: name.clone() });
        let role = self.tokens(work).role(name).await?.ok_or_else(gone)?;
        let explicit_max_ttl = lesser(life.explicit_max_ttl, role.explicit_max_ttl);
        Ok((Life { period: role.period, explicit_max_ttl, ..life }, lifetimes))
    }
}
