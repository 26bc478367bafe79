//! The catalog of plugins, read-only: the built-in ones, and the storage plugins of the backends. The
//! configuration says which files may be plugins.

use std::collections::BTreeMap;

use keyway_core::mounts::auth::APPROLE;
use serde_json::{Map, Value, json};

use crate::{answer::Answer, error::ApiError, route::RequestContext};

const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"), "+builtin");
/// The kinds of plugins that clients ask for; Keyway's own is `storage`.
const KINDS: [&str; 4] = ["auth", "database", "secret", "storage"];

struct Plugin {
    kind: &'static str,
    name: String,
    version: String,
    is_builtin: bool,
    sha256: String,
}

fn plugins(context: &RequestContext<'_>) -> Vec<Plugin> {
    let builtin = |kind, name: &str| Plugin {
        kind,
        name: name.to_owned(),
        version: VERSION.to_owned(),
        is_builtin: true,
        sha256: String::new(),
    };
    // One plugin may serve several backends.
    let mut loaded = BTreeMap::new();
    for storage in context.call.core.backends() {
        let Ok(open) = storage.generation() else { continue };
        let (plugin, descriptor) = (open.plugin(), open.plugin().descriptor());
        let (name, version) = (descriptor.name.clone(), descriptor.version.to_string());
        let digest = plugin.digest().map(|digest| digest.to_string());
        loaded.insert((name, version), digest);
    }
    let loaded = loaded.into_iter().map(|((name, version), digest)| Plugin {
        kind: "storage",
        name,
        version: format!("v{version}"),
        is_builtin: digest.is_none(),
        sha256: digest.unwrap_or_default(),
    });
    [builtin("auth", APPROLE), builtin("secret", "kv")].into_iter().chain(loaded).collect()
}

impl Plugin {
    fn told(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "version": self.version,
            "builtin": self.is_builtin,
            "sha256": self.sha256,
            "deprecation_status": "supported",
        })
    }
}

fn names<'p>(plugins: &'p [Plugin], kind: &str) -> Vec<&'p str> {
    let mut names: Vec<&str> =
        plugins.iter().filter(|plugin| plugin.kind == kind).map(|plugin| plugin.name.as_str()).collect();
    names.dedup();
    names
}

/// All of them.
pub(crate) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let plugins = plugins(context);
    let mut told: Map<String, Value> =
        KINDS.into_iter().map(|kind| (kind.to_owned(), json!(names(&plugins, kind)))).collect();
    told.insert("detailed".to_owned(), plugins.iter().map(Plugin::told).collect());
    Ok(Answer::system(told))
}

/// The names of one kind.
pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let kind = context.name.trim_end_matches('/');
    if !KINDS.contains(&kind) {
        let kinds = KINDS.join(", ");
        return Err(ApiError::bad_request(format!("{kind:?} is not a type of plugin; there are: {kinds}")));
    }
    Ok(Answer::system(json!({ "keys": names(&plugins(context), kind) })))
}

/// One of them.
pub(crate) async fn one(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (kind, name) = context.name.trim_end_matches('/').split_once('/').ok_or(ApiError::NotFound)?;
    let plugins = plugins(context);
    let mut found = plugins.iter().filter(|plugin| plugin.kind == kind && plugin.name == name);
    let plugin = found.next_back().ok_or(ApiError::NotFound)?;
    let mut told = plugin.told();
    if let Some(fields) = told.as_object_mut() {
        fields.remove("type");
        fields.extend([
            ("args".to_owned(), Value::Null),
            ("command".to_owned(), "".into()),
            ("declarative".to_owned(), false.into()),
            ("oci".to_owned(), false.into()),
        ]);
    }
    Ok(Answer::system(told))
}
