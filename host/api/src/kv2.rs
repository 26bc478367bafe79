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
        Route::new(Read, "config", |context| Box::pin(config::read(context))),
        Route::new(Write, "config", |context| Box::pin(config::write(context)))
            .refusing(unsupported::KV_CONFIG),
        Route::new(Read, "data/{path}", |context| Box::pin(data::read(context)))
            .of_secret()
            .query(&["version"])
            .reading_secret(),
        Route::new(Write, "data/{path}", |context| Box::pin(data::write(context)))
            .of_secret()
            .refusing(unsupported::DATA)
            .with_value()
            .creating(|context| Box::pin(exists(context))),
        Route::new(Patch, "data/{path}", |context| Box::pin(data::patch(context)))
            .of_secret()
            .refusing(unsupported::DATA)
            .with_value(),
        Route::new(Delete, "data/{path}", |context| Box::pin(data::delete(context))).of_secret(),
        Route::new(Write, "delete/{path}", |context| Box::pin(versions::alter(context, Fate::Delete)))
            .of_secret(),
        Route::new(Write, "undelete/{path}", |context| Box::pin(versions::alter(context, Fate::Undelete)))
            .of_secret(),
        Route::new(Write, "destroy/{path}", |context| Box::pin(versions::alter(context, Fate::Destroy)))
            .of_secret(),
        Route::new(Read, "metadata/{path}", |context| Box::pin(metadata::read(context)))
            .of_secret()
            .reading_secret(),
        Route::new(List, "metadata/{path}", |context| Box::pin(metadata::list(context))).query(PART),
        Route::new(Scan, "metadata/{path}", |context| Box::pin(metadata::scan(context))).query(PART),
        Route::new(Write, "metadata/{path}", |context| Box::pin(metadata::write(context)))
            .of_secret()
            .creating(|context| Box::pin(exists(context))),
        Route::new(Patch, "metadata/{path}", |context| Box::pin(metadata::patch(context))).of_secret(),
        Route::new(Delete, "metadata/{path}", |context| Box::pin(metadata::delete(context))).of_secret(),
        Route::new(List, "detailed-metadata/{path}", |context| Box::pin(metadata::list_detailed(context)))
            .query(PART),
        Route::new(Scan, "detailed-metadata/{path}", |context| Box::pin(metadata::list_detailed(context)))
            .query(PART),
        Route::new(Read, "subkeys/{path}", |context| Box::pin(subkeys::read(context)))
            .of_secret()
            .query(&["version", "depth"])
            .reading_secret(),
        Route::new(Read, "{path}", |context| Box::pin(hint(context))),
        Route::new(List, "{path}", |context| Box::pin(hint(context))),
        Route::new(Scan, "{path}", |context| Box::pin(hint(context))),
        Route::new(Write, "{path}", |context| Box::pin(hint(context))).of_secret(),
        Route::new(Patch, "{path}", |context| Box::pin(hint(context))).of_secret(),
        Route::new(Delete, "{path}", |context| Box::pin(hint(context))),
    ],
};

/// What to use instead of a path that has none of the words which version 2 puts before the name of a secret;
/// in OpenBao's words.
async fn hint(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let command = match context.call.action {
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
async fn exists(context: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(engine(context).await?.metadata(&secret(context)?).await?.is_some())
}
