//! The system's endpoints: [`seal`] (init, unseal, seal, rotate), [`mounts`], [`backends`], [`health`], [`metrics`].

mod backends;
mod health;
mod metrics;
mod mounts;
mod seal;

use super::route::{
    Action::{Delete, Read, Write},
    Route, Table,
};

/// The level of Vault's protocol that is spoken: clients switch features on by it. Keyway's own version stands beside it.
const VAULT_LEVEL: &str = "1.15.0";

/// The routes of the system.
pub(super) static ROUTES: Table = Table {
    base: "",
    routes: &[
        Route::new(Read, "sys/health", |at| Box::pin(health::health(at)))
            .open("it is for whoever watches the server"),
        Route::new(Read, "sys/seal-status", |at| Box::pin(seal::status(at)))
            .open("a sealed server can check no token"),
        Route::new(Read, "sys/leader", |at| Box::pin(seal::leader(at)))
            .open("clients ask before they have a token"),
        Route::new(Read, "sys/init", |at| Box::pin(seal::is_initialised(at))).open("there is no token yet"),
        Route::new(Write, "sys/init", |at| Box::pin(seal::init(at))).open("there is no token yet"),
        Route::new(Write, "sys/unseal", |at| Box::pin(seal::unseal(at))).open("a share is what is shown"),
        Route::new(Write, "sys/seal", |at| Box::pin(seal::seal(at))),
        Route::new(Write, "sys/rotate", |at| Box::pin(seal::rotate(at))),
        Route::new(Read, "sys/metrics", |at| Box::pin(metrics::metrics(at))),
        Route::new(Read, "sys/backends", |at| Box::pin(backends::all(at))),
        Route::new(Read, "sys/backends/{name}", |at| Box::pin(backends::one(at))),
        Route::new(Read, "sys/internal/ui/mounts", |at| Box::pin(mounts::all_for_ui(at))),
        Route::new(Read, "sys/internal/ui/mounts/{path}", |at| Box::pin(mounts::one_for_ui(at))),
        Route::new(Read, "sys/mounts", |at| Box::pin(mounts::all(at))),
        Route::new(Read, "sys/mounts/{path}", |at| Box::pin(mounts::one(at))),
        Route::new(Write, "sys/mounts/{path}", |at| Box::pin(mounts::make(at))),
        Route::new(Delete, "sys/mounts/{path}", |at| Box::pin(mounts::take_away(at))),
    ],
};
