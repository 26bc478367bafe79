//! `config`: what a mount says about the versions of its secrets.

use axum::{body::Body, response::Response};

use super::{Mounted, settings};
use crate::{
    core::CoreError,
    http::{Action, Call, answer, body, error::ApiError},
    mounts::MountError,
};

pub(super) async fn dispatch(call: &Call, body: Body, mounted: &Mounted<'_>) -> Result<Response, ApiError> {
    match call.action {
        Action::Read => Ok(answer::kv(call.id, settings::answer(&mounted.mount.settings))),
        Action::Write => {
            let changes: settings::Changes = body::json(call, body).await?;
            let changes = changes.check().map_err(ApiError::bad_request)?;
            let (at, uuid) = (mounted.at.to_owned(), mounted.mount.uuid);
            let edited = mounted.unsealed.mounts().edit(call.request(), move |table| {
                let mount = table.get_mut(&at).filter(|mount| mount.uuid == uuid);
                let mount = mount.ok_or_else(|| MountError::Gone { path: at.clone() })?;
                changes.apply(&mut mount.settings);
                Ok(())
            });
            edited.await.map_err(CoreError::from)?;
            Ok(answer::nothing())
        }
        Action::Patch | Action::Delete | Action::List => Err(ApiError::MethodNotAllowed),
    }
}
