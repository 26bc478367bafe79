//! The first questions of user interfaces and the command line: which mounts the token can use, which mounts
//! are listed without a token, and what the token's policies allow.

use keyway_core::{
    mounts::{Mount, MountTable},
    policy::{Acl, Capabilities, Permissions},
};
use serde_json::{Map, Value, json};

use super::describe::{cubbyhole, mount_answer, mount_table, system};
use crate::{answer::Answer, error::ApiError, route::RequestContext, sys::access::methods};

/// The capabilities in the order in which OpenBao tells them here.
const CAPABILITIES: [(&str, Capabilities); 9] = [
    ("deny", Capabilities::DENY),
    ("create", Capabilities::CREATE),
    ("delete", Capabilities::DELETE),
    ("list", Capabilities::LIST),
    ("read", Capabilities::READ),
    ("sudo", Capabilities::SUDO),
    ("update", Capabilities::UPDATE),
    ("patch", Capabilities::PATCH),
    ("scan", Capabilities::SCAN),
];

/// The mounts that the token may use, and the listed ones. Without a token, only the listed ones, with less
/// detail.
pub(crate) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let table = context.unsealed()?.mounts().current();
    let Some(caller) = &context.caller else { return Ok(listed(&table)) };
    let acl = &caller.acl;
    let mut secret = mount_table(&table, |path| {
        table.get(path).is_some_and(|mount| mount.tune.is_listed) || may_use(acl, path)
    });
    for (path, told) in [("cubbyhole", cubbyhole()), ("sys", system())] {
        if may_use(acl, path) {
            secret.insert(format!("{path}/"), told);
        }
    }
    let methods = table.auth().all();
    let shown =
        methods.iter().filter(|(path, mount)| mount.tune.is_listed || may_use(acl, &format!("auth/{path}")));
    let auth: Map<String, Value> =
        shown.map(|(path, mount)| (format!("{path}/"), methods::told(mount))).collect();
    Ok(Answer::system(json!({ "auth": auth, "secret": secret })))
}

/// The mounts that every client sees.
fn listed(table: &MountTable) -> Answer {
    let mounts = table.iter().filter(|(_, mount)| mount.tune.is_listed);
    let secret: Map<String, Value> = mounts
        .map(|(path, mount)| {
            let options = json!({ "version": mount.kv_version.to_string() });
            (
                format!("{path}/"),
                json!({ "type": "kv", "description": mount.description, "options": options }),
            )
        })
        .collect();
    let methods = table.auth().all();
    let methods = methods.iter().filter(|(_, mount)| mount.tune.is_listed);
    let auth: Map<String, Value> = methods
        .map(|(path, mount)| {
            (
                format!("{path}/"),
                json!({ "type": mount.kind, "description": mount.description, "options": {} }),
            )
        })
        .collect();
    Answer::system(json!({ "auth": auth, "secret": secret }))
}

/// The mount that a path lies in. A client without the right to use it does not learn whether it exists.
pub(crate) async fn one(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = context.name.trim_end_matches('/');
    let (acl, table) = (&context.caller()?.acl, context.unsealed()?.mounts().current());
    let nothing = || {
        if !acl.is_root() {
            return ApiError::PermissionDenied;
        }
        // By these words the command line knows that a mount is missing. OpenBao answers root as all others.
        ApiError::bad_request(format!("nothing is mounted at {path:?}"))
    };
    let (mount, place, told) = mount_of(&table, path).ok_or_else(nothing)?;
    if !may_use(acl, &mount) {
        return Err(ApiError::PermissionDenied);
    }
    let mut told = told;
    if let Some(fields) = told.as_object_mut() {
        fields.insert("path".to_owned(), format!("{place}/").into());
    }
    Ok(Answer::system(told))
}

/// The mount of a path: its path in the API, its path among its kind, and the answer about it.
fn mount_of(table: &MountTable, path: &str) -> Option<(String, String, Value)> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let of_system = |told| Some((first.to_owned(), first.to_owned(), told));
    match first {
        "sys" => of_system(system()),
        "cubbyhole" => of_system(cubbyhole()),
        "auth" => {
            let methods = table.auth().all();
            let is_in = |at: &str| {
                rest.strip_prefix(at).is_some_and(|after| after.is_empty() || after.starts_with('/'))
            };
            let found = methods.iter().filter(|(at, _)| is_in(at)).max_by_key(|(at, _)| at.len());
            found.map(|(at, mount)| (format!("auth/{at}"), at.clone(), methods::told(mount)))
        }
        _ => {
            let (at, mount, _): (&str, &Mount, _) = table.resolve(path)?;
            Some((at.to_owned(), at.to_owned(), mount_answer(mount)))
        }
    }
}

fn may_use(acl: &Acl, path: &str) -> bool {
    acl.allows_anything_below(&format!("{path}/"))
}

/// The rules of all policies of the token together. Patterns with wildcards within are left out, as OpenBao does.
pub(crate) async fn resultant_acl(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let acl = &context.caller()?.acl;
    if acl.is_root() {
        return Ok(Answer::system(json!({ "root": true })));
    }
    let exact: Map<String, Value> = acl.exact_rules().map(told_rule).collect();
    let prefixes: Map<String, Value> = acl.prefix_rules().map(told_rule).collect();
    Ok(Answer::system(json!({ "exact_paths": exact, "glob_paths": prefixes, "root": false })))
}

fn told_rule((path, permissions): (&str, &Permissions)) -> (String, Value) {
    let granted = permissions.capabilities;
    let names = CAPABILITIES.iter().filter(|(_, capability)| granted.has(*capability)).map(|(name, _)| *name);
    let mut names: Vec<&str> = names.collect();
    if names.is_empty() {
        names.push("deny");
    }
    let mut told = Map::from_iter([("capabilities".to_owned(), json!(names))]);
    let mut tell = |name: &str, is_set: bool, value: Value| {
        if is_set {
            told.insert(name.to_owned(), value);
        }
    };
    tell("allowed_parameters", !permissions.allowed.is_empty(), json!(permissions.allowed));
    tell("denied_parameters", !permissions.denied.is_empty(), json!(permissions.denied));
    tell("required_parameters", !permissions.required.is_empty(), json!(permissions.required));
    for (name, time) in
        [("min_wrapping_ttl", permissions.min_wrapping), ("max_wrapping_ttl", permissions.max_wrapping)]
    {
        tell(name, !time.is_zero(), json!(time.as_secs()));
    }
    (path.to_owned(), told.into())
}
