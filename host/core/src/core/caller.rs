//! Who asks: the token that is shown, and what its policies allow.

use std::{net::IpAddr, sync::Arc};

use keyway_storage::{Work, prefetch::Prefetched};

use super::{Core, CoreError, Unsealed};
use crate::{
    policy::{Acl, store::CachedAcl},
    token::{Live, Token},
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
    /// Who shows this token; what was prefetched is not read again.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for no token, and one that is unknown, dead, or bound to other addresses; and the
    /// stores'.
    pub async fn caller(
        &self,
        unsealed: &Unsealed,
        work: &Work,
        token: Option<&Token>,
        address: Option<IpAddr>,
        prefetched: &Prefetched,
    ) -> Result<Caller, CoreError> {
        let token = token.ok_or(CoreError::PermissionDenied)?;
        let live = unsealed.tokens(work).with_prefetched(prefetched).lookup_from(token, address).await?;
        let Some(live) = live else {
            unsealed.unlearn(&unsealed.tokens(work).name(token));
            return Err(CoreError::PermissionDenied);
        };
        unsealed.learn(&live);
        let CachedAcl { acl, since } =
            unsealed.policies.acl(unsealed.records(work), &live.entry.policies).await?;
        Ok(Caller { live, acl, since })
    }
}
