//! `auth/token`: making tokens, asking about them, prolonging and revoking them; and the roles that they are made by.

mod create;
mod manage;
mod roles;

use crate::{
    action::Action::{Delete, List, Read, Write},
    route::{Route, Table},
    unsupported,
};

/// The routes of tokens.
pub(crate) static ROUTES: Table = Table {
    base: "",
    routes: &[
        Route::new(Write, "auth/token/create", |at| Box::pin(create::create(at)))
            .refusing(unsupported::TOKEN),
        Route::new(Write, "auth/token/create-orphan", |at| Box::pin(create::create_orphan(at)))
            .refusing(unsupported::TOKEN),
        Route::new(Write, "auth/token/create/{name}", |at| Box::pin(create::create_by_role(at)))
            .refusing(unsupported::TOKEN)
            .folding_case(),
        Route::new(Read, "auth/token/lookup-self", |at| Box::pin(manage::lookup_self(at))),
        Route::new(Write, "auth/token/lookup-self", |at| Box::pin(manage::lookup_self(at))).without_fields(),
        Route::new(Read, "auth/token/lookup", |at| Box::pin(manage::lookup_self(at))),
        Route::new(Write, "auth/token/lookup", |at| Box::pin(manage::lookup(at))),
        Route::new(Write, "auth/token/lookup-accessor", |at| Box::pin(manage::lookup_accessor(at))),
        Route::new(Write, "auth/token/renew-self", |at| Box::pin(manage::renew_self(at))),
        Route::new(Write, "auth/token/renew", |at| Box::pin(manage::renew(at))),
        Route::new(Write, "auth/token/renew-accessor", |at| Box::pin(manage::renew_accessor(at))),
        Route::new(Write, "auth/token/revoke-self", |at| Box::pin(manage::revoke_self(at))).without_fields(),
        Route::new(Write, "auth/token/revoke", |at| Box::pin(manage::revoke(at))),
        Route::new(Write, "auth/token/revoke-accessor", |at| Box::pin(manage::revoke_accessor(at))),
        Route::new(Write, "auth/token/revoke-orphan", |at| Box::pin(manage::revoke_orphan(at))).sudo(),
        Route::new(List, "auth/token/accessors", |at| Box::pin(manage::accessors(at))).sudo(),
        Route::new(Write, "auth/token/tidy", |at| Box::pin(manage::tidy(at))).without_fields(),
        Route::new(List, "auth/token/roles", |at| Box::pin(roles::list(at))),
        Route::new(Read, "auth/token/roles/{name}", |at| Box::pin(roles::read(at))).folding_case(),
        Route::new(Write, "auth/token/roles/{name}", |at| Box::pin(roles::write(at)))
            .refusing(unsupported::TOKEN_ROLE)
            .folding_case()
            .creating(|at| Box::pin(roles::exists(at))),
        Route::new(Delete, "auth/token/roles/{name}", |at| Box::pin(roles::delete(at))).folding_case(),
    ],
};
