//! Which route a path belongs to. No other file finds a route by a path.

use keyway_core::{mounts::auth::APPROLE, secrets::SecretPath};
use keyway_storage::prefetch::RecordKey;

use crate::{
    auth,
    call::Call,
    cubbyhole,
    error::ApiError,
    kv1, kv2,
    route::{Access, Load, Mounted, Route, Table},
    search::find,
    sys,
};

/// Where the auth methods are.
const AUTH: &str = "auth/";

/// All tables of routes.
pub fn tables() -> [&'static Table; 6] {
    [
        &sys::ROUTES,
        &auth::token::ROUTES,
        &auth::approle::ROUTES,
        &cubbyhole::ROUTES,
        &kv1::ROUTES,
        &kv2::ROUTES,
    ]
}

/// Where a request goes.
pub(super) struct Target {
    pub(super) table: &'static Table,
    pub(super) route: &'static Route,
    pub(super) name: String,
    pub(super) mounted: Option<Mounted>,
}

impl Target {
    /// The record that it reads first, if that is in the system's store.
    pub(super) fn first_read(&self, call: &Call) -> Option<RecordKey> {
        let Some(Mounted::Secrets { mount, .. }) = self.mounted.as_ref().filter(|_| self.route.reads_secret)
        else {
            return None;
        };
        call.core.host_sync().key_in_system(mount, &SecretPath::parse(&self.name).ok()?)
    }

    /// Whether a client may ask without a token.
    pub(super) fn is_open(&self, call: &Call) -> bool {
        is_open(self.route, call)
    }

    /// Whether the stores are read before an open request is answered. A path with a slash at its end is an
    /// ordinary one.
    pub(super) fn needs_store(&self, call: &Call) -> bool {
        self.route.needs_store || call.path.as_str().ends_with('/')
    }
}

fn is_open(route: &Route, call: &Call) -> bool {
    match route.access {
        Access::Open(_) => true,
        Access::Visitor(_) => call.token.is_none(),
        Access::Holder(_) | Access::Token => {
            route.opened_by.is_some_and(|setting| call.edge.open.has(setting))
                || (route.is_open_while_sealed && call.core.unsealed().is_err())
        }
    }
}

/// How the server treats a request when it has much to do.
pub(super) fn load(call: &Call) -> Load {
    exact_route(call).map_or(Load::Shed, |route| route.load)
}

/// Whether a request is left out of the audit log: monitoring that needs no token.
pub(super) fn is_unaudited(call: &Call) -> bool {
    exact_route(call).is_some_and(|route| route.load == Load::Monitoring && is_open(route, call))
}

/// The route of a path that lies in no mount and has no slash at its end.
fn exact_route(call: &Call) -> Option<&'static Route> {
    let path = call.path.as_str();
    let (table, path) = fixed(path).filter(|_| !path.ends_with('/'))?;
    find(table, path, call.action).ok()?.map(|(route, _)| route)
}

/// Whether a path can be a login at an auth method that this host does not know yet.
pub(super) fn may_log_in(call: &Call) -> bool {
    call.path.as_str().starts_with(AUTH)
}

/// The table of a path that lies in no mount of a client's, and the part of the path that it covers.
fn fixed(path: &str) -> Option<(&'static Table, &str)> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match first {
        "sys" => Some((&sys::ROUTES, path)),
        "cubbyhole" => Some((&cubbyhole::ROUTES, rest)),
        "auth" if rest.starts_with("token/") => Some((&auth::token::ROUTES, path)),
        _ => None,
    }
}

/// The route of a path: none if there is none.
pub(super) fn of(call: &Call) -> Result<Option<Target>, ApiError> {
    let path = call.path.as_str();
    if let Some((table, path)) = fixed(path) {
        return Ok(find(table, path, call.action)?.map(|(route, name)| Target {
            table,
            route,
            name: route.folded(name),
            mounted: None,
        }));
    }
    let Ok(unsealed) = call.core.unsealed() else { return Ok(None) };
    let mounts = unsealed.mounts().current();
    if let Some(rest) = path.strip_prefix(AUTH) {
        let Some((at, mount, rest)) = mounts.auth().resolve(rest) else { return Ok(None) };
        if mount.kind != APPROLE {
            return Ok(None);
        }
        let found = find(&auth::approle::ROUTES, rest, call.action)?;
        let mounted = Mounted::Auth { path: at.to_owned(), mount: mount.clone() };
        return Ok(found.map(|(route, name)| Target {
            table: &auth::approle::ROUTES,
            route,
            name: route.folded(name),
            mounted: Some(mounted),
        }));
    }
    let Some((at, mount, rest)) = mounts.resolve(path) else { return Ok(None) };
    let table = if mount.kv_version == 1 { &kv1::ROUTES } else { &kv2::ROUTES };
    let found = find(table, rest, call.action)?;
    let mounted = Mounted::Secrets { path: at.to_owned(), mount: mount.clone() };
    Ok(found.map(|(route, name)| Target { table, route, name: name.to_owned(), mounted: Some(mounted) }))
}

/// There is no route.
pub(super) fn none(call: &Call) -> ApiError {
    let path = call.path.as_str().trim_end_matches('/');
    let is_fixed = path.starts_with("sys/") || path.starts_with(AUTH);
    let reason = if is_fixed { "" } else { ": nothing is mounted there" };
    ApiError::NoRoute(format!("no handler for route {path:?}{reason}"))
}
