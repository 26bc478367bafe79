//! The AppRole that a request is for.

use keyway_core::approle::{AppRoleError, AppRoles};

use crate::{error::ApiError, route::RequestContext};

/// The AppRole of the mount that the path lies in.
pub(super) fn approles<'a>(context: &'a RequestContext<'_>) -> Result<AppRoles<'a>, ApiError> {
    Ok(AppRoles::new(context.unsealed()?.barrier(), &context.call.work, context.auth()?.1))
}

impl From<AppRoleError> for ApiError {
    fn from(error: AppRoleError) -> Self {
        match error {
            AppRoleError::System(error) => error.into(),
            AppRoleError::Token(error) => error.into(),
            AppRoleError::Random(error) => keyway_core::token::TokenError::from(error).into(),
            AppRoleError::Refused(refusal) => Self::BadRequest(refusal.to_string()),
        }
    }
}
