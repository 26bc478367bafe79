//! `auth/token`: making tokens, asking about them, prolonging and revoking them; and the roles that they are
//! made by.

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
        Route::new(Write, "auth/token/create", |context| Box::pin(create::create(context)))
            .refusing(unsupported::TOKEN),
        Route::new(Write, "auth/token/create-orphan", |context| Box::pin(create::create_orphan(context)))
            .refusing(unsupported::TOKEN),
        Route::new(Write, "auth/token/create/{name}", |context| Box::pin(create::create_by_role(context)))
            .refusing(unsupported::TOKEN)
            .folding_case(),
        Route::new(Read, "auth/token/lookup-self", |context| Box::pin(manage::lookup_self(context))),
        Route::new(Write, "auth/token/lookup-self", |context| Box::pin(manage::lookup_self(context)))
            .without_fields(),
        Route::new(Read, "auth/token/lookup", |context| Box::pin(manage::lookup_self(context))),
        Route::new(Write, "auth/token/lookup", |context| Box::pin(manage::lookup(context))),
        Route::new(Write, "auth/token/lookup-accessor", |context| Box::pin(manage::lookup_accessor(context))),
        Route::new(Write, "auth/token/renew-self", |context| Box::pin(manage::renew_self(context))),
        Route::new(Write, "auth/token/renew", |context| Box::pin(manage::renew(context))),
        Route::new(Write, "auth/token/renew-accessor", |context| Box::pin(manage::renew_accessor(context))),
        Route::new(Write, "auth/token/revoke-self", |context| Box::pin(manage::revoke_self(context)))
            .without_fields(),
        Route::new(Write, "auth/token/revoke", |context| Box::pin(manage::revoke(context))),
        Route::new(Write, "auth/token/revoke-accessor", |context| Box::pin(manage::revoke_accessor(context))),
        Route::new(Write, "auth/token/revoke-orphan", |context| Box::pin(manage::revoke_orphan(context)))
            .sudo(),
        Route::new(List, "auth/token/accessors", |context| Box::pin(manage::accessors(context))).sudo(),
        Route::new(Write, "auth/token/tidy", |context| Box::pin(manage::tidy(context))).without_fields(),
        Route::new(List, "auth/token/roles", |context| Box::pin(roles::list(context))),
        Route::new(Read, "auth/token/roles/{name}", |context| Box::pin(roles::read(context))).folding_case(),
        Route::new(Write, "auth/token/roles/{name}", |context| Box::pin(roles::write(context)))
            .refusing(unsupported::TOKEN_ROLE)
            .folding_case()
            .creating(|context| Box::pin(roles::exists(context))),
        Route::new(Delete, "auth/token/roles/{name}", |context| Box::pin(roles::delete(context)))
            .folding_case(),
    ],
};
