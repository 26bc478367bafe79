//! KV version 2: what is under a mount, as Vault's clients expect it.
//!
//! [`data`] reads and writes, [`versions`] deletes, undeletes and destroys, [`metadata`] is what is known of a secret,
//! [`config`] what its mount says, [`subkeys`] the shape of a secret without its values.

mod config;
mod data;
mod given;
mod metadata;
mod settings;
mod subkeys;
mod versions;

use axum::{body::Body, response::Response};
use serde::Serialize;

use super::{Call, answer, error::ApiError};
use crate::{
    core::Unsealed,
    mounts::Mount,
    secrets::{Engine, Fate, Found, SecretPath},
};

/// What an endpoint of a mount works on.
struct Mounted<'a> {
    unsealed: &'a Unsealed,
    /// The path of the mount.
    at: &'a str,
    mount: &'a Mount,
    engine: Engine<'a>,
}

pub(super) async fn dispatch(call: &Call, body: Body) -> Result<Response, ApiError> {
    let core = &call.core;
    let unsealed = core.authorised(call.request(), call.token.as_ref()).await?;
    let path = call.path.as_str();
    let table = unsealed.mounts().current();
    let Some((at, mount, rest)) = table.resolve(path) else {
        return Err(ApiError::NoRoute(format!("no handler for route {path:?}: nothing is mounted there")));
    };
    let engine = core.engine(&unsealed, mount, call.request()).await?;
    let mounted = Mounted { unsealed: &unsealed, at, mount, engine };
    let (part, rest) = rest.split_once('/').unwrap_or((rest, ""));
    call.route.is(route(part));
    let secret = || SecretPath::parse(rest).map_err(ApiError::bad_request);
    match part {
        "config" if rest.is_empty() => config::dispatch(call, body, &mounted).await,
        "data" => data::dispatch(call, body, &mounted.engine, &secret()?).await,
        "delete" => versions::dispatch(call, body, &mounted.engine, &secret()?, Fate::Delete).await,
        "undelete" => versions::dispatch(call, body, &mounted.engine, &secret()?, Fate::Undelete).await,
        "destroy" => versions::dispatch(call, body, &mounted.engine, &secret()?, Fate::Destroy).await,
        "metadata" => metadata::dispatch(call, body, &mounted.engine, rest).await,
        "subkeys" => subkeys::dispatch(call, &mounted.engine, &secret()?).await,
        _ => Err(ApiError::NoRoute(format!(
            "unsupported path {path:?}: a secret of this mount is under {at}/data/"
        ))),
    }
}

/// The endpoint for the measurements.
fn route(part: &str) -> &'static str {
    match part {
        "config" => "kv/config",
        "data" => "kv/data",
        "delete" => "kv/delete",
        "undelete" => "kv/undelete",
        "destroy" => "kv/destroy",
        "metadata" => "kv/metadata",
        "subkeys" => "kv/subkeys",
        _ => "none",
    }
}

/// What is told of a version.
#[derive(Serialize)]
struct VersionAnswer<'a> {
    created_time: &'a str,
    custom_metadata: Option<&'a std::collections::BTreeMap<String, String>>,
    deletion_time: &'a str,
    destroyed: bool,
    version: u64,
}

impl<'a> VersionAnswer<'a> {
    fn new(found: &'a Found) -> Self {
        Self {
            created_time: &found.metadata.created_time,
            custom_metadata: found.custom.as_ref(),
            deletion_time: &found.metadata.deletion_time,
            destroyed: found.metadata.destroyed,
            version: found.version,
        }
    }
}

/// 404 with what is known of the version.
fn deleted(call: &Call, data: &'static str, found: &Found) -> Response {
    let metadata = VersionAnswer::new(found);
    answer::kv_deleted(call.id, serde_json::json!({ data: null, "metadata": metadata }))
}

/// The version that the query asks for; zero and nothing are the current one.
fn requested_version(call: &Call) -> Result<Option<u64>, ApiError> {
    let Some(text) = call.query("version") else { return Ok(None) };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(ApiError::bad_request(format!("{text:?} is not the number of a version"))),
    }
}
