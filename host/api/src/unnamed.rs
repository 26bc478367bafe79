//! Requests for a secret whose path names a folder or nothing: answered as OpenBao answers them, before
//! anything is read or changed.

use super::{
    action::Action,
    answer::Answer,
    error::ApiError,
    route::{Mounted, RequestContext},
};

/// The answer, if the path of the request names no secret.
///
/// # Errors
///
/// That nothing can be written there, or that there is nothing.
pub(super) fn answer(context: &RequestContext<'_>) -> Result<Option<Answer>, ApiError> {
    let path = context.call.path.as_str();
    let (is_folder, is_root) = (path.ends_with('/'), context.name.trim_end_matches('/').is_empty());
    if !context.route.names_secret || !(is_folder || is_root) {
        return Ok(None);
    }
    match context.call.action {
        Action::Write | Action::Patch if is_folder => {
            Err(ApiError::bad_request("cannot write to a path ending in '/'"))
        }
        Action::Delete if is_folder => Ok(Some(Answer::Nothing)),
        Action::Read if is_folder && !is_root => {
            Err(ApiError::Absent("a path ending in '/' names a folder, and no secret".to_owned()))
        }
        Action::Read if is_folder && has_versions(context) => Err(ApiError::NotFound),
        _ if has_versions(context) => {
            let hint = "Non-listing operations on the root of a K/V v2 mount are not supported.";
            Ok(Some(Answer::hint(hint.to_owned())))
        }
        Action::Delete => Ok(Some(Answer::Nothing)),
        Action::Read => Err(ApiError::Absent("missing path".to_owned())),
        _ => Err(ApiError::bad_request("missing path")),
    }
}

fn has_versions(context: &RequestContext<'_>) -> bool {
    matches!(&context.mounted, Some(Mounted::Secrets { mount, .. }) if mount.kv_version == 2)
}
