//! Who asks: the token that is shown, and what its policies allow.

use std::{net::IpAddr, sync::Arc};

use keyway_common::offload;
use keyway_storage::{Work, ahead::Ahead};

use super::{Core, CoreError, Unsealed};
use crate::{
    policy::{
        Acl, PolicyError,
        store::{Cas, Kept, Written},
    },
    system::Records,
    token::{Live, Token, Tokens},
};

/// Who asks.
pub struct Caller {
    /// The token.
    pub live: Live,
    /// What its policies allow.
    pub acl: Arc<Acl>,
    /// Since when that is known, by [`Policies::clock`](crate::policy::Policies::clock).
    pub since: u64,
}

impl Core {
    /// Who shows this token; what was read ahead is not read again.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for no token, and one that is unknown, dead, or bound to other addresses; and the stores'.
    pub async fn caller(
        &self,
        unsealed: &Unsealed,
        work: &Work,
        token: Option<&Token>,
        address: Option<IpAddr>,
        ahead: &Ahead,
    ) -> Result<Caller, CoreError> {
        let token = token.ok_or(CoreError::PermissionDenied)?;
        let live = unsealed.tokens(work).having_read(ahead).lookup_from(token, address).await?;
        let Some(live) = live else {
            unsealed.unlearn(&unsealed.tokens(work).name(token));
            return Err(CoreError::PermissionDenied);
        };
        unsealed.learn(&live);
        let Kept { acl, since } = unsealed.policies.acl(unsealed.records(work), &live.entry.policies).await?;
        Ok(Caller { live, acl, since })
    }
}

impl Unsealed {
    /// Writes a policy; from then on it counts for every request that begins. Goes on to its end, whether or not the caller
    /// waits for it: a policy that is stored is in force.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub async fn put_policy(
        self: &Arc<Self>,
        work: &Work,
        name: String,
        written: Written,
        cas: Cas,
    ) -> Result<(), PolicyError> {
        let (unsealed, work) = (Arc::clone(self), work.clone());
        let put = async move { unsealed.policies.put(unsealed.records(&work), &name, &written, cas).await };
        offload::spawn(put).await.unwrap_or(Err(PolicyError::Interrupted))
    }

    /// Removes a policy, in the same way.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub async fn remove_policy(self: &Arc<Self>, work: &Work, name: String) -> Result<(), PolicyError> {
        let (unsealed, work) = (Arc::clone(self), work.clone());
        let removed = async move { unsealed.policies.remove(unsealed.records(&work), &name).await };
        offload::spawn(removed).await.unwrap_or(Err(PolicyError::Interrupted))
    }

    /// The tokens, for one request.
    pub fn tokens<'a>(&'a self, work: &'a Work) -> Tokens<'a> {
        Tokens::new(&self.barrier, work, self.mounts.current())
    }

    /// The system's records, for one request.
    pub fn records<'a>(&'a self, work: &'a Work) -> Records<'a> {
        Records::new(&self.barrier, work)
    }

    /// What these policies allow together.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub async fn acl(&self, work: &Work, policies: &[String]) -> Result<Arc<Acl>, PolicyError> {
        Ok(self.policies.acl(self.records(work), policies).await?.acl)
    }
}
