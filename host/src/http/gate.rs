//! The gate: takes a request to its route, once it is known who asks and that they may.

use axum::body::Body;
use bytes::Bytes;

use super::{
    Call,
    answer::Answer,
    body,
    error::ApiError,
    kv2,
    route::{Access, At, Mounted, Route, find},
    sys,
};

/// Answers a request.
pub(super) async fn pass(call: &Call, body: Body) -> Result<Answer, ApiError> {
    let path = call.path.as_str();
    if path.starts_with("sys/") {
        let found = find(&sys::ROUTES, path, call.action)?;
        let (route, name) = found.ok_or_else(|| {
            ApiError::NoRoute(format!("no handler for route {:?}", path.trim_end_matches('/')))
        })?;
        call.label.is(&sys::ROUTES, route);
        let is_open =
            matches!(route.access, Access::Open(_)) || (path == "sys/metrics" && call.edge.open_metrics);
        let unsealed = if is_open { None } else { Some(call.authorised().await?) };
        let body = read(call, body, route, is_open).await?;
        return (route.run)(&At { call, name, unsealed, mounted: None, body }).await;
    }
    let unsealed = call.authorised().await?;
    let table = unsealed.mounts().current();
    let Some((at, mount, rest)) = table.resolve(path) else {
        return Err(ApiError::NoRoute(format!("no handler for route {path:?}: nothing is mounted there")));
    };
    let unsupported = || {
        ApiError::NoRoute(format!("unsupported path {path:?}: a secret of this mount is under {at}/data/"))
    };
    let (route, name) = find(&kv2::ROUTES, rest, call.action)?.ok_or_else(unsupported)?;
    call.label.is(&kv2::ROUTES, route);
    let body = read(call, body, route, false).await?;
    let mounted = Some(Mounted { at: at.to_owned(), mount: mount.clone() });
    (route.run)(&At { call, name, unsealed: Some(unsealed), mounted, body }).await
}

async fn read(call: &Call, body: Body, route: &Route, is_open: bool) -> Result<Bytes, ApiError> {
    body::read(call, body, route.body, is_open).await
}
