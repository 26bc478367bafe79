//! KV version 2: what is under a mount, as Vault's clients expect it.
//!
//! [`data`] reads and writes, [`versions`] deletes, undeletes and destroys, [`metadata`] is what is known of a secret,
//! [`config`] what its mount says, [`subkeys`] the shape of a secret without its values.

mod config;
mod data;
mod metadata;
mod settings;
mod subkeys;
mod versions;

use keyway_core::secrets::{Engine, Fate, Found, SecretPath};
use serde::Serialize;

use super::{
    Call,
    answer::Answer,
    error::ApiError,
    given::PART,
    route::{
        Action::{Delete, List, Patch, Read, Scan, Write},
        At, Route, Table,
    },
    unsupported,
};

/// The routes of a mount, behind its path.
pub(super) static ROUTES: Table = Table {
    base: "kv/",
    routes: &[
        Route::new(Read, "config", |at| Box::pin(config::read(at))),
        Route::new(Write, "config", |at| Box::pin(config::write(at))).refusing(unsupported::KV_CONFIG),
        Route::new(Read, "data/{path}", |at| Box::pin(data::read(at))).query(&["version"]).reading_secret(),
        Route::new(Write, "data/{path}", |at| Box::pin(data::write(at)))
            .refusing(unsupported::DATA)
            .with_value()
            .creating(|at| Box::pin(exists(at))),
        Route::new(Patch, "data/{path}", |at| Box::pin(data::patch(at)))
            .refusing(unsupported::DATA)
            .with_value(),
        Route::new(Delete, "data/{path}", |at| Box::pin(data::delete(at))),
        Route::new(Write, "delete/{path}", |at| Box::pin(versions::alter(at, Fate::Delete))),
        Route::new(Write, "undelete/{path}", |at| Box::pin(versions::alter(at, Fate::Undelete))),
        Route::new(Write, "destroy/{path}", |at| Box::pin(versions::alter(at, Fate::Destroy))),
        Route::new(Read, "metadata/{path}", |at| Box::pin(metadata::read(at))).reading_secret(),
        Route::new(List, "metadata/{path}", |at| Box::pin(metadata::list(at))).query(PART),
        Route::new(Scan, "metadata/{path}", |at| Box::pin(metadata::scan(at))).query(PART),
        Route::new(Write, "metadata/{path}", |at| Box::pin(metadata::write(at)))
            .creating(|at| Box::pin(exists(at))),
        Route::new(Patch, "metadata/{path}", |at| Box::pin(metadata::patch(at))),
        Route::new(Delete, "metadata/{path}", |at| Box::pin(metadata::delete(at))),
        Route::new(List, "detailed-metadata/{path}", |at| Box::pin(metadata::list_detailed(at))).query(PART),
        Route::new(Scan, "detailed-metadata/{path}", |at| Box::pin(metadata::list_detailed(at))).query(PART),
        Route::new(Read, "subkeys/{path}", |at| Box::pin(subkeys::read(at)))
            .query(&["version", "depth"])
            .reading_secret(),
        Route::new(Read, "{path}", |at| Box::pin(hint(at))),
        Route::new(List, "{path}", |at| Box::pin(hint(at))),
        Route::new(Scan, "{path}", |at| Box::pin(hint(at))),
        Route::new(Write, "{path}", |at| Box::pin(hint(at))),
        Route::new(Patch, "{path}", |at| Box::pin(hint(at))),
        Route::new(Delete, "{path}", |at| Box::pin(hint(at))),
    ],
};

/// The engine of the mount that the request is for.
async fn engine<'a>(at: &'a At<'_>) -> Result<Engine<'a>, ApiError> {
    let engine = at.call.core.engine(at.unsealed()?, at.secrets()?.1, &at.call.work).await?;
    Ok(engine.having_read(at.ahead))
}

/// The secret that the request names.
fn secret(at: &At<'_>) -> Result<SecretPath, ApiError> {
    SecretPath::parse(at.name).map_err(ApiError::bad_request)
}

/// What to use instead of a path that has none of the words which version 2 puts before the name of a secret; in OpenBao's words.
async fn hint(at: &At<'_>) -> Result<Answer, ApiError> {
    let command = match at.call.action {
        Read => "get",
        List => "list",
        Scan => "scan",
        Write => "put",
        Patch => "patch",
        Delete => "delete",
    };
    Ok(Answer::hint(format!(
        "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the \
         OpenBao CLI, use 'bao kv {command}' for this operation."
    )))
}

/// Whether there is such a secret, perhaps one whose versions are all deleted.
async fn exists(at: &At<'_>) -> Result<bool, ApiError> {
    Ok(engine(at).await?.metadata(&secret(at)?).await?.is_some())
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
fn deleted(data: &'static str, found: &Found) -> Answer {
    let metadata = VersionAnswer::new(found);
    Answer::kv_deleted(serde_json::json!({ data: null, "metadata": metadata }))
}

/// The version that the query asks for; zero and nothing are the current one.
fn requested_version(call: &Call) -> Result<Option<u64>, ApiError> {
    let Some(text) = call.query("version") else { return Ok(None) };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(ApiError::bad_request("version: it is not the number of a version")),
    }
}
