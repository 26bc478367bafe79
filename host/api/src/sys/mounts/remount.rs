//! Moving mounts to other paths. It is one change of the table, so that it is done when it is answered.

use keyway_core::{CoreError, mounts::MountPath};
use serde::Deserialize;
use serde_json::json;

use crate::{answer::Answer, error::ApiError, route::RequestContext};

#[derive(Deserialize)]
struct RemountRequest {
    from: Option<String>,
    to: Option<String>,
}

pub(crate) async fn remount(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: RemountRequest = context.json()?;
    let given = |path: Option<String>, name: &str| {
        let path = path.map(|path| path.trim_matches('/').to_owned()).filter(|path| !path.is_empty());
        let missing = || ApiError::bad_request("both 'from' and 'to' path must be specified as a string");
        let path = path.ok_or_else(missing)?;
        if path.trim() != path {
            let message = format!("'{name}' path cannot contain leading or trailing whitespace");
            return Err(ApiError::bad_request(message));
        }
        Ok(path)
    };
    let (from, to) = (given(request.from, "from")?, given(request.to, "to")?);
    let parse = |path: &str| MountPath::parse(path).map_err(ApiError::bad_request);
    let id = match (from.strip_prefix("auth/"), to.strip_prefix("auth/")) {
        (Some(from), Some(to)) => {
            context
                .call
                .core
                .mount_control()
                .move_auth(context.unsealed()?, &context.call.work, from, parse(to)?)
                .await?
        }
        (None, None) => {
            context
                .call
                .core
                .mount_control()
                .move_mount(context.unsealed()?, &context.call.work, &from, parse(&to)?)
                .await?
        }
        _ => return Err(ApiError::bad_request("auth methods stay under auth/, and secrets elsewhere")),
    };
    Ok(Answer::flat(json!({ "migration_id": id })))
}

/// The last move of a mount, by its id.
pub(crate) async fn status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let table = context.unsealed()?.mounts().current();
    let secrets = table.iter().find(|(_, mount)| mount.uuid.to_string() == context.name);
    let secrets =
        secrets.and_then(|(to, mount)| Some((format!("{}/", mount.moved_from.as_ref()?), format!("{to}/"))));
    let methods = table.auth().all();
    let method = methods.iter().find(|(_, mount)| mount.uuid.to_string() == context.name);
    let method = method.and_then(|(to, mount)| {
        Some((format!("auth/{}/", mount.moved_from.as_ref()?), format!("auth/{to}/")))
    });
    let (source, target) = secrets.or(method).ok_or(ApiError::NotFound)?;
    Ok(Answer::system(json!({
        "migration_id": context.name,
        "migration_info": { "source_mount": source, "target_mount": target, "status": "success" },
    })))
}

impl From<keyway_core::mounts::MountError> for ApiError {
    fn from(error: keyway_core::mounts::MountError) -> Self {
        CoreError::from(error).into()
    }
}
