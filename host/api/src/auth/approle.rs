//! `auth/approle`: roles, secret ids and logging in.

mod method;
mod roles;
mod secret_ids;

use keyway_common::clock::Time;
use keyway_core::approle::login::Credentials;
use serde::Deserialize;

use self::method::approles;
use super::auth;
use crate::{
    action::Action::{Delete, List, Read, Write},
    answer::Answer,
    error::ApiError,
    given::Text,
    route::{Endpoint, RequestContext, Route, Table},
    unsupported,
};

/// One setting of a role, by the last part of the path.
const fn reads(pattern: &'static str) -> Route {
    const RUN: Endpoint = |context| Box::pin(roles::read_field(context));
    Route::new(Read, pattern, RUN).folding_case()
}

const fn writes(pattern: &'static str) -> Route {
    const RUN: Endpoint = |context| Box::pin(roles::write_field(context));
    Route::new(Write, pattern, RUN).folding_case()
}

const fn deletes(pattern: &'static str) -> Route {
    const RUN: Endpoint = |context| Box::pin(roles::reset_field(context));
    Route::new(Delete, pattern, RUN).folding_case()
}

/// The routes of an AppRole, after its path.
pub(crate) static ROUTES: Table = Table {
    base: "approle/",
    routes: &[
        Route::new(Write, "login", |context| Box::pin(login(context)))
            .open("a role id and a secret id are what is shown")
            .attempt()
            .wrappable(),
        Route::new(List, "role", |context| Box::pin(roles::list(context))),
        Route::new(Read, "role/{name}", |context| Box::pin(roles::read(context))).folding_case(),
        Route::new(Write, "role/{name}", |context| Box::pin(roles::write(context)))
            .refusing(unsupported::APPROLE)
            .folding_case()
            .creating(|context| Box::pin(roles::exists(context))),
        Route::new(Delete, "role/{name}", |context| Box::pin(roles::delete(context))).folding_case(),
        Route::new(Read, "role/{name}/role-id", |context| Box::pin(roles::read_role_id(context)))
            .folding_case(),
        Route::new(Write, "role/{name}/role-id", |context| Box::pin(roles::write_role_id(context)))
            .folding_case(),
        Route::new(Write, "role/{name}/secret-id", |context| Box::pin(secret_ids::make(context)))
            .folding_case(),
        Route::new(List, "role/{name}/secret-id", |context| Box::pin(secret_ids::list(context)))
            .folding_case(),
        Route::new(Write, "role/{name}/custom-secret-id", |context| {
            Box::pin(secret_ids::make_custom(context))
        })
        .folding_case(),
        Route::new(Write, "role/{name}/secret-id/lookup", |context| Box::pin(secret_ids::lookup(context)))
            .folding_case(),
        Route::new(Write, "role/{name}/secret-id/destroy", |context| Box::pin(secret_ids::destroy(context)))
            .folding_case(),
        Route::new(Delete, "role/{name}/secret-id/destroy", |context| Box::pin(secret_ids::destroy(context)))
            .with_fields()
            .folding_case(),
        Route::new(Write, "role/{name}/secret-id-accessor/lookup", |context| {
            Box::pin(secret_ids::lookup_accessor(context))
        })
        .folding_case(),
        Route::new(Write, "role/{name}/secret-id-accessor/destroy", |context| {
            Box::pin(secret_ids::destroy_accessor(context))
        })
        .folding_case(),
        Route::new(Delete, "role/{name}/secret-id-accessor/destroy", |context| {
            Box::pin(secret_ids::destroy_accessor(context))
        })
        .with_fields()
        .folding_case(),
        Route::new(Write, "tidy/secret-id", |context| Box::pin(secret_ids::tidy(context))).without_fields(),
        reads("role/{name}/policies"),
        writes("role/{name}/policies"),
        deletes("role/{name}/policies"),
        reads("role/{name}/bind-secret-id"),
        writes("role/{name}/bind-secret-id"),
        deletes("role/{name}/bind-secret-id"),
        reads("role/{name}/secret-id-num-uses"),
        writes("role/{name}/secret-id-num-uses"),
        deletes("role/{name}/secret-id-num-uses"),
        reads("role/{name}/secret-id-ttl"),
        writes("role/{name}/secret-id-ttl"),
        deletes("role/{name}/secret-id-ttl"),
        reads("role/{name}/secret-id-bound-cidrs"),
        writes("role/{name}/secret-id-bound-cidrs"),
        deletes("role/{name}/secret-id-bound-cidrs"),
        reads("role/{name}/bound-cidr-list"),
        writes("role/{name}/bound-cidr-list"),
        deletes("role/{name}/bound-cidr-list"),
        Route::new(Read, "role/{name}/local-secret-ids", |context| Box::pin(roles::read_local(context)))
            .folding_case(),
        reads("role/{name}/token-bound-cidrs"),
        writes("role/{name}/token-bound-cidrs"),
        deletes("role/{name}/token-bound-cidrs"),
        reads("role/{name}/token-num-uses"),
        writes("role/{name}/token-num-uses"),
        deletes("role/{name}/token-num-uses"),
        reads("role/{name}/token-ttl"),
        writes("role/{name}/token-ttl"),
        deletes("role/{name}/token-ttl"),
        reads("role/{name}/token-max-ttl"),
        writes("role/{name}/token-max-ttl"),
        deletes("role/{name}/token-max-ttl"),
        reads("role/{name}/period"),
        writes("role/{name}/period"),
        deletes("role/{name}/period"),
    ],
};

#[derive(Deserialize)]
struct LoginRequest {
    role_id: Option<Text>,
    secret_id: Option<Text>,
}

async fn login(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: LoginRequest = context.json()?;
    let role_id = request.role_id.as_ref().and_then(Text::filled).map(str::trim).filter(|id| !id.is_empty());
    let role_id = role_id.ok_or_else(|| ApiError::bad_request("missing role_id"))?;
    let shown = Credentials {
        role_id,
        secret_id: request
            .secret_id
            .as_ref()
            .and_then(Text::filled)
            .map(str::trim)
            .filter(|id| !id.is_empty()),
        address: context.call.peer.map(|peer| peer.ip()),
    };
    let (path, _) = context.auth()?;
    let given = approles(context)?.login(path, shown, context.unsealed()?.mounts().current()).await?;
    Ok(Answer::token(auth(&given.token, &given.entry, Time::now()), given.warnings))
}
