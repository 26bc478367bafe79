//! KV version 2: the routes under a mount, as Vault's clients expect them.
//!
//! [`data`] reads and writes, [`versions`] deletes, undeletes and destroys, [`metadata`] has a secret's
//! metadata, [`config`] the mount's settings, [`subkeys`] the shape of a secret without its values.

mod config;
mod data;
mod metadata;
mod secret;
mod settings;
mod subkeys;
mod versions;

use keyway_core::secrets::Fate;

use self::secret::{engine, secret};
use super::{
    action::Action::{Delete, List, Patch, Read, Scan, Write},
    answer::Answer,
    error::ApiError,
    given::PART,
    route::{RequestContext, Route, Table},
    unsupported,
};

/// The routes of a mount, after its path.
pub(super) static ROUTES: Table = Table {
    base: "kv/",
    routes: &[
        Route::new(Read, "config", |at| Box::pin(config::read(at))),
        Route::new(Write, "config", |at| Box::pin(config::write(at))).refusing(unsupported::KV_CONFIG),
        Route::new(Read, "data/{path}", |at| Box::pin(data::read(at)))
            .of_secret()
            .query(&["version"])
            .reading_secret(),
        Route::new(Write, "data/{path}", |at| Box::pin(data::write(at)))
            .of_secret()
            .refusing(unsupported::DATA)
            .with_value()
            .creating(|at| Box::pin(exists(at))),
        Route::new(Patch, "data/{path}", |at| Box::pin(data::patch(at)))
            .of_secret()
            .refusing(unsupported::DATA)
            .with_value(),
        Route::new(Delete, "data/{path}", |at| Box::pin(data::delete(at))).of_secret(),
        Route::new(Write, "delete/{path}", |at| Box::pin(versions::alter(at, Fate::Delete))).of_secret(),
        Route::new(Write, "undelete/{path}", |at| Box::pin(versions::alter(at, Fate::Undelete))).of_secret(),
        Route::new(Write, "destroy/{path}", |at| Box::pin(versions::alter(at, Fate::Destroy))).of_secret(),
        Route::new(Read, "metadata/{path}", |at| Box::pin(metadata::read(at))).of_secret().reading_secret(),
        Route::new(List, "metadata/{path}", |at| Box::pin(metadata::list(at))).query(PART),
        Route::new(Scan, "metadata/{path}", |at| Box::pin(metadata::scan(at))).query(PART),
        Route::new(Write, "metadata/{path}", |at| Box::pin(metadata::write(at)))
            .of_secret()
            .creating(|at| Box::pin(exists(at))),
        Route::new(Patch, "metadata/{path}", |at| Box::pin(metadata::patch(at))).of_secret(),
        Route::new(Delete, "metadata/{path}", |at| Box::pin(metadata::delete(at))).of_secret(),
        Route::new(List, "detailed-metadata/{path}", |at| Box::pin(metadata::list_detailed(at))).query(PART),
        Route::new(Scan, "detailed-metadata/{path}", |at| Box::pin(metadata::list_detailed(at))).query(PART),
        Route::new(Read, "subkeys/{path}", |at| Box::pin(subkeys::read(at)))
            .of_secret()
            .query(&["version", "depth"])
            .reading_secret(),
        Route::new(Read, "{path}", |at| Box::pin(hint(at))),
        Route::new(List, "{path}", |at| Box::pin(hint(at))),
        Route::new(Scan, "{path}", |at| Box::pin(hint(at))),
        Route::new(Write, "{path}", |at| Box::pin(hint(at))).of_secret(),
        Route::new(Patch, "{path}", |at| Box::pin(hint(at))).of_secret(),
        Route::new(Delete, "{path}", |at| Box::pin(hint(at))),
    ],
};

/// What to use instead of a path that has none of the words which version 2 puts before the name of a secret; in OpenBao's words.
async fn hint(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
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
async fn exists(at: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(engine(at).await?.metadata(&secret(at)?).await?.is_some())
}
