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
    const RUN: Endpoint = |at| Box::pin(roles::read_field(at));
    Route::new(Read, pattern, RUN).folding_case()
}

const fn writes(pattern: &'static str) -> Route {
    const RUN: Endpoint = |at| Box::pin(roles::write_field(at));
    Route::new(Write, pattern, RUN).folding_case()
}

const fn deletes(pattern: &'static str) -> Route {
    const RUN: Endpoint = |at| Box::pin(roles::reset_field(at));
    Route::new(Delete, pattern, RUN).folding_case()
}

/// The routes of an AppRole, after its path.
pub(crate) static ROUTES: Table = Table {
    base: "approle/",
    routes: &[
        Route::new(Write, "login", |at| Box::pin(login(at)))
            .open("a role id and a secret id are what is shown")
            .attempt()
            .wrappable(),
        Route::new(List, "role", |at| Box::pin(roles::list(at))),
        Route::new(Read, "role/{name}", |at| Box::pin(roles::read(at))).folding_case(),
        Route::new(Write, "role/{name}", |at| Box::pin(roles::write(at)))
            .refusing(unsupported::APPROLE)
            .folding_case()
            .creating(|at| Box::pin(roles::exists(at))),
        Route::new(Delete, "role/{name}", |at| Box::pin(roles::delete(at))).folding_case(),
        Route::new(Read, "role/{name}/role-id", |at| Box::pin(roles::read_role_id(at))).folding_case(),
        Route::new(Write, "role/{name}/role-id", |at| Box::pin(roles::write_role_id(at))).folding_case(),
        Route::new(Write, "role/{name}/secret-id", |at| Box::pin(secret_ids::make(at))).folding_case(),
        Route::new(List, "role/{name}/secret-id", |at| Box::pin(secret_ids::list(at))).folding_case(),
        Route::new(Write, "role/{name}/custom-secret-id", |at| Box::pin(secret_ids::make_custom(at)))
            .folding_case(),
        Route::new(Write, "role/{name}/secret-id/lookup", |at| Box::pin(secret_ids::lookup(at)))
            .folding_case(),
        Route::new(Write, "role/{name}/secret-id/destroy", |at| Box::pin(secret_ids::destroy(at)))
            .folding_case(),
        Route::new(Delete, "role/{name}/secret-id/destroy", |at| Box::pin(secret_ids::destroy(at)))
            .with_fields()
            .folding_case(),
        Route::new(Write, "role/{name}/secret-id-accessor/lookup", |at| {
            Box::pin(secret_ids::lookup_accessor(at))
        })
        .folding_case(),
        Route::new(Write, "role/{name}/secret-id-accessor/destroy", |at| {
            Box::pin(secret_ids::destroy_accessor(at))
        })
        .folding_case(),
        Route::new(Delete, "role/{name}/secret-id-accessor/destroy", |at| {
            Box::pin(secret_ids::destroy_accessor(at))
        })
        .with_fields()
        .folding_case(),
        Route::new(Write, "tidy/secret-id", |at| Box::pin(secret_ids::tidy(at))).without_fields(),
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
        Route::new(Read, "role/{name}/local-secret-ids", |at| Box::pin(roles::read_local(at))).folding_case(),
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

async fn login(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: LoginRequest = at.json()?;
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
        address: at.call.peer.map(|peer| peer.ip()),
    };
    let (path, _) = at.auth()?;
    let given = approles(at)?.login(path, shown, at.unsealed()?.mounts().current()).await?;
    Ok(Answer::token(auth(&given.token, &given.entry, Time::now()), given.warnings))
}
