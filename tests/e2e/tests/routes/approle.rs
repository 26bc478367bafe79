//! The requests of AppRole.

use keyway_api::Action::{Delete, List, Read, Write};
use serde_json::json;

use crate::case::{Case, case};

pub(crate) fn cases() -> Vec<Case> {
    let accessor = || json!({ "secret_id_accessor": "$SECRETID" });
    let mut cases = vec![
        case(Write, "approle/login", "auth/approle/login", 400)
            .body(json!({ "role_id": "none", "secret_id": "none" })),
        case(List, "approle/role", "auth/approle/role", 200).role(),
        case(Read, "approle/role/{name}", "auth/approle/role/R", 200).seen("auth/approle/role/r").role(),
        case(Write, "approle/role/{name}", "auth/approle/role/new", 204)
            .body(json!({ "token_ttl": "1h" }))
            .creating(),
        case(Delete, "approle/role/{name}", "auth/approle/role/r", 204).role(),
        case(Read, "approle/role/{name}/role-id", "auth/approle/role/r/role-id", 200).role(),
        case(Write, "approle/role/{name}/role-id", "auth/approle/role/r/role-id", 204)
            .role()
            .body(json!({ "role_id": "mine" })),
        case(Write, "approle/role/{name}/secret-id", "auth/approle/role/r/secret-id", 200)
            .role()
            .body(json!({})),
        case(List, "approle/role/{name}/secret-id", "auth/approle/role/r/secret-id", 200).secret_id(),
        case(Write, "approle/role/{name}/custom-secret-id", "auth/approle/role/r/custom-secret-id", 200)
            .role()
            .body(json!({ "secret_id": "my own" })),
        case(Write, "approle/role/{name}/secret-id/lookup", "auth/approle/role/r/secret-id/lookup", 200)
            .secret_id()
            .body(json!({ "secret_id": "$SECRETID" })),
        case(Write, "approle/role/{name}/secret-id/destroy", "auth/approle/role/r/secret-id/destroy", 204)
            .secret_id()
            .body(json!({ "secret_id": "$SECRETID" })),
        case(Delete, "approle/role/{name}/secret-id/destroy", "auth/approle/role/r/secret-id/destroy", 204)
            .secret_id()
            .body(json!({ "secret_id": "$SECRETID" })),
        case(
            Write,
            "approle/role/{name}/secret-id-accessor/lookup",
            "auth/approle/role/r/secret-id-accessor/lookup",
            200,
        )
        .secret_id_accessor()
        .body(accessor()),
        case(
            Write,
            "approle/role/{name}/secret-id-accessor/destroy",
            "auth/approle/role/r/secret-id-accessor/destroy",
            204,
        )
        .secret_id_accessor()
        .body(accessor()),
        case(
            Delete,
            "approle/role/{name}/secret-id-accessor/destroy",
            "auth/approle/role/r/secret-id-accessor/destroy",
            204,
        )
        .secret_id_accessor()
        .body(accessor()),
        case(Read, "approle/role/{name}/local-secret-ids", "auth/approle/role/r/local-secret-ids", 200)
            .role(),
        case(Write, "approle/tidy/secret-id", "auth/approle/tidy/secret-id", 202),
    ];
    for (route, path, body) in [
        (
            "approle/role/{name}/policies",
            "auth/approle/role/r/policies",
            json!({ "token_policies": "default" }),
        ),
        (
            "approle/role/{name}/bind-secret-id",
            "auth/approle/role/r/bind-secret-id",
            json!({ "bind_secret_id": true }),
        ),
        (
            "approle/role/{name}/secret-id-num-uses",
            "auth/approle/role/r/secret-id-num-uses",
            json!({ "secret_id_num_uses": 3 }),
        ),
        (
            "approle/role/{name}/secret-id-ttl",
            "auth/approle/role/r/secret-id-ttl",
            json!({ "secret_id_ttl": "1h" }),
        ),
        (
            "approle/role/{name}/secret-id-bound-cidrs",
            "auth/approle/role/r/secret-id-bound-cidrs",
            json!({ "secret_id_bound_cidrs": ["127.0.0.0/8"] }),
        ),
        (
            "approle/role/{name}/bound-cidr-list",
            "auth/approle/role/r/bound-cidr-list",
            json!({ "bound_cidr_list": "127.0.0.0/8" }),
        ),
        (
            "approle/role/{name}/token-bound-cidrs",
            "auth/approle/role/r/token-bound-cidrs",
            json!({ "token_bound_cidrs": "127.0.0.0/8" }),
        ),
        (
            "approle/role/{name}/token-num-uses",
            "auth/approle/role/r/token-num-uses",
            json!({ "token_num_uses": "3" }),
        ),
        ("approle/role/{name}/token-ttl", "auth/approle/role/r/token-ttl", json!({ "token_ttl": 60 })),
        (
            "approle/role/{name}/token-max-ttl",
            "auth/approle/role/r/token-max-ttl",
            json!({ "token_max_ttl": "1h" }),
        ),
        ("approle/role/{name}/period", "auth/approle/role/r/period", json!({ "period": "1h" })),
    ] {
        cases.push(case(Read, route, path, 200).role());
        cases.push(case(Write, route, path, 204).role().body(body));
        cases.push(case(Delete, route, path, 204).role());
    }
    cases
}
