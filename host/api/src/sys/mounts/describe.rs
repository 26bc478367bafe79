//! The answers about mounts.

use keyway_core::mounts::{Mount, MountTable, Tune};
use serde_json::{Map, Value, json};

pub(crate) fn mount_table(mounts: &MountTable, is_told: impl Fn(&str) -> bool) -> Map<String, Value> {
    let told = mounts.iter().filter(|(path, _)| is_told(path));
    told.map(|(path, mount)| (format!("{path}/"), mount_answer(mount))).collect()
}

pub(crate) fn mount_answer(mount: &Mount) -> Value {
    json!({
        "accessor": mount.accessor,
        "config": config(&mount.tune),
        "backend": mount.backend,
        "deprecation_status": "supported",
        "description": mount.description,
        "external_entropy_access": false,
        "local": false,
        "options": { "version": mount.kv_version.to_string() },
        "plugin_version": "",
        "running_plugin_version": env!("CARGO_PKG_VERSION"),
        "running_sha256": "",
        "seal_wrap": false,
        "type": "kv",
        "uuid": mount.uuid,
    })
}

/// What each token keeps for itself is always mounted.
pub(crate) fn cubbyhole() -> Value {
    always_mounted("cubbyhole", 1, "per-token private secret storage", true)
}

pub(crate) fn system() -> Value {
    always_mounted("system", 2, "system endpoints used for control, policy and debugging", false)
}

/// The built-in mount at this path.
pub(crate) fn builtin(path: &str) -> Option<Value> {
    match path {
        "cubbyhole" => Some(cubbyhole()),
        "sys" => Some(system()),
        _ => None,
    }
}

/// `number` tells them apart: their identity is the same in all clusters.
pub(crate) fn always_mounted(kind: &str, number: u128, description: &str, is_local: bool) -> Value {
    json!({
        "accessor": format!("{kind}_builtin"),
        "config": config(&Tune::default()),
        "description": description,
        "external_entropy_access": false,
        "local": is_local,
        "options": null,
        "plugin_version": "",
        "running_plugin_version": env!("CARGO_PKG_VERSION"),
        "running_sha256": "",
        "seal_wrap": false,
        "type": kind,
        "uuid": uuid::Uuid::from_u128(number),
    })
}

/// The settings of a mount, as a part of an answer.
pub(crate) fn config(tune: &Tune) -> Value {
    let mut config = json!({
        "default_lease_ttl": tune.default_lease_ttl,
        "force_no_cache": false,
        "max_lease_ttl": tune.max_lease_ttl,
    });
    if let (Some(visibility), Some(fields)) = (tune.listing_visibility(), config.as_object_mut()) {
        fields.insert("listing_visibility".to_owned(), visibility.into());
    }
    config
}
