//! Who asks: the token that is shown, and what its policies allow.

use std::{net::IpAddr, sync::Arc};

use super::{Core, CoreError, Unsealed};
use crate::{
    policy::{Acl, PolicyError},
    storage::RequestId,
    system::Records,
    token::{Live, Token, Tokens},
};

/// Who asks.
pub struct Caller {
    /// The token.
    pub live: Live,
    /// What its policies allow.
    pub acl: Arc<Acl>,
}

impl Core {
    /// Who shows this token.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for no token, and one that is unknown, dead, or bound to other addresses; and the stores'.
    pub async fn caller(
        &self,
        unsealed: &Unsealed,
        request: RequestId,
        token: Option<&Token>,
        address: Option<IpAddr>,
    ) -> Result<Caller, CoreError> {
        let token = token.ok_or(CoreError::PermissionDenied)?;
        let live = unsealed.tokens(request).lookup_from(token, address).await?;
        let live = live.ok_or(CoreError::PermissionDenied)?;
        let acl = unsealed.acl(request, &live.entry.policies).await?;
        Ok(Caller { live, acl })
    }
}

impl Unsealed {
    /// The tokens, for one request.
    pub fn tokens(&self, request: RequestId) -> Tokens<'_> {
        Tokens::new(&self.barrier, request, self.mounts.current())
    }

    /// The system's records, for one request.
    pub fn records(&self, request: RequestId) -> Records<'_> {
        Records::new(&self.barrier, request)
    }

    /// What these policies allow together.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub async fn acl(&self, request: RequestId, policies: &[String]) -> Result<Arc<Acl>, PolicyError> {
        self.policies.acl(self.records(request), policies).await
    }
}
