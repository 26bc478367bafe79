//! `config`: what a mount says about the versions of its secrets.

use keyway_core::{CoreError, mounts::MountError};

use super::settings;
use crate::{answer::Answer, error::ApiError, route::RequestContext};

pub(super) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::kv(settings::answer(&context.secrets()?.1.settings)))
}

pub(super) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let ((path, mount), unsealed) = (context.secrets()?, context.unsealed()?);
    let changes = context.json::<settings::Changes>()?.written().check().map_err(ApiError::bad_request)?;
    let (path, uuid) = (path.to_owned(), mount.uuid);
    let edited = unsealed.mounts().edit(&context.call.work, move |table| {
        let mount = table.get_mut(&path).filter(|mount| mount.uuid == uuid);
        let mount = mount.ok_or_else(|| MountError::Gone { path: path.clone() })?;
        changes.apply(&mut mount.settings);
        Ok(())
    });
    edited.await.map_err(CoreError::from)?;
    Ok(Answer::Nothing)
}
