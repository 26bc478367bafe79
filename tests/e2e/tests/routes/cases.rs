//! A request for each route.

use crate::{
    approle,
    case::{Case, case},
};
use keyway_api::Action::{Delete, List, Patch, Read, Scan, Write};
use serde_json::{Value, json};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = sys();
    cases.extend(rekeying(["sys/rekey/init", "sys/rekey/update", "sys/rekey/verify", "sys/rekey/backup"]));
    cases.extend(root("sys/generate-root/attempt", "sys/generate-root/update"));
    // The names that OpenBao has given them.
    cases.extend(rekeying([
        "sys/rotate/root/init",
        "sys/rotate/root/update",
        "sys/rotate/root/verify",
        "sys/rotate/root/backup",
    ]));
    cases.extend(root("sys/generate-root-token/attempt", "sys/generate-root-token/update"));
    cases.extend(access());
    cases.extend(tokens());
    cases.extend(approle::cases());
    cases.extend(secrets());
    cases
}

fn no_share() -> Value {
    json!({ "key": "no share", "nonce": "n" })
}

fn rekeying([init, update, verify, backup]: [&'static str; 4]) -> Vec<Case> {
    vec![
        case(Read, init, init, 200),
        case(Write, init, init, 200).body(json!({ "secret_shares": 1, "secret_threshold": 1 })),
        case(Delete, init, init, 204),
        case(Write, update, update, 400).body(no_share()),
        case(Read, verify, verify, 400),
        case(Write, verify, verify, 400).body(no_share()),
        case(Delete, verify, verify, 400),
        case(Read, backup, backup, 400),
        case(Delete, backup, backup, 204),
    ]
}

fn root(attempt: &'static str, update: &'static str) -> Vec<Case> {
    vec![
        case(Read, attempt, attempt, 200),
        case(Write, attempt, attempt, 200).body(json!({})),
        case(Delete, attempt, attempt, 204),
        case(Write, update, update, 400).body(no_share()),
    ]
}

fn sys() -> Vec<Case> {
    let kv = || json!({ "type": "kv-v2" });
    vec![
        case(Read, "sys/health", "sys/health", 200),
        case(Read, "sys/seal-status", "sys/seal-status", 200),
        case(Read, "sys/leader", "sys/leader", 200),
        case(Read, "sys/init", "sys/init", 200),
        case(Write, "sys/init", "sys/init", 400).body(json!({})),
        case(Write, "sys/unseal", "sys/unseal", 400).body(json!({ "reset": true })),
        case(Write, "sys/seal", "sys/seal", 204).last(),
        case(Write, "sys/rotate", "sys/rotate", 204),
        case(Write, "sys/rotate/keyring", "sys/rotate/keyring", 204),
        case(Read, "sys/key-status", "sys/key-status", 200),
        case(Read, "sys/metrics", "sys/metrics", 200),
        case(Read, "sys/host-info", "sys/host-info", 200),
        case(Read, "sys/ha-status", "sys/ha-status", 200),
        case(Read, "sys/in-flight-req", "sys/in-flight-req", 200),
        case(List, "sys/version-history", "sys/version-history", 200),
        case(Read, "sys/plugins/catalog", "sys/plugins/catalog", 200),
        case(List, "sys/plugins/catalog/{path}", "sys/plugins/catalog/secret", 200),
        case(Read, "sys/plugins/catalog/{path}", "sys/plugins/catalog/secret/kv", 200),
        case(Read, "sys/backends", "sys/backends", 200),
        case(Read, "sys/backends/{name}", "sys/backends/main", 200),
        case(Write, "sys/backends/{name}/swap", "sys/backends/main/swap", 200)
            .body(json!({ "migrate": true })),
        // There is no former version.
        case(Write, "sys/backends/{name}/rollback", "sys/backends/main/rollback", 400)
            .body(json!({ "migrate": true })),
        // There is no newer format.
        case(Write, "sys/backends/{name}/upgrade", "sys/backends/main/upgrade", 400),
        case(Read, "sys/internal/ui/mounts", "sys/internal/ui/mounts", 200),
        case(Read, "sys/internal/ui/mounts/{path}", "sys/internal/ui/mounts/secret/a", 200),
        case(Read, "sys/internal/ui/resultant-acl", "sys/internal/ui/resultant-acl", 200),
        case(Read, "sys/mounts", "sys/mounts", 200),
        case(Read, "sys/mounts/{path}/tune", "sys/mounts/secret/tune", 200),
        case(Write, "sys/mounts/{path}/tune", "sys/mounts/secret/tune", 204)
            .body(json!({ "description": "d" })),
        case(Read, "sys/mounts/{path}", "sys/mounts/secret", 200),
        case(Write, "sys/mounts/{path}", "sys/mounts/made", 204).body(kv()),
        case(Delete, "sys/mounts/{path}", "sys/mounts/gone", 204).after("POST", "sys/mounts/gone", kv()),
        case(Write, "sys/remount", "sys/remount", 200).body(json!({ "from": "here", "to": "there" })).after(
            "POST",
            "sys/mounts/here",
            kv(),
        ),
        case(Read, "sys/remount/status/{name}", "sys/remount/status/none", 404),
        case(Read, "sys/reencrypt", "sys/reencrypt", 200),
        case(Write, "sys/reencrypt", "sys/reencrypt", 200),
        case(Delete, "sys/reencrypt", "sys/reencrypt", 204),
        case(Read, "sys/unseal-password", "sys/unseal-password", 200),
        // The configuration allows none.
        case(Write, "sys/unseal-password", "sys/unseal-password", 400)
            .body(json!({ "password": "correct horse battery" })),
        case(Delete, "sys/unseal-password", "sys/unseal-password", 204),
        case(Read, "sys/audit", "sys/audit", 200),
        // 400: the configuration does not let the API add devices, and there are none.
        case(Write, "sys/audit/{path}", "sys/audit/a", 400).body(json!({ "type": "file" })),
        case(Delete, "sys/audit/{path}", "sys/audit/a", 204),
        case(Write, "sys/audit-hash/{path}", "sys/audit-hash/a", 400).body(json!({ "input": "x" })),
        case(Read, "sys/auth", "sys/auth", 200),
        case(Read, "sys/auth/{path}/tune", "sys/auth/token/tune", 200),
        case(Write, "sys/auth/{path}/tune", "sys/auth/token/tune", 204)
            .body(json!({ "default_lease_ttl": "1h" })),
        case(Read, "sys/auth/{path}", "sys/auth/token", 200),
        case(Write, "sys/auth/{path}", "sys/auth/machines", 204).body(json!({ "type": "approle" })),
        case(Delete, "sys/auth/{path}", "sys/auth/off", 204).after(
            "POST",
            "sys/auth/off",
            json!({ "type": "approle" }),
        ),
    ]
}

fn access() -> Vec<Case> {
    let policy = || json!({ "policy": "path \"a\" { capabilities = [\"read\"] }" });
    let spike = || json!({ "spiffe_id_pattern": "spiffe://example.org/a", "path_pattern": "a/*", "permissions": ["read"] });
    let paths = || json!({ "paths": ["secret/data/a"] });
    vec![
        case(Read, "sys/policy", "sys/policy", 200),
        case(List, "sys/policy", "sys/policy", 200),
        case(List, "sys/policy/{path}", "sys/policy/Team", 200).seen("sys/policy/team").after(
            "POST",
            "sys/policy/team/a",
            policy(),
        ),
        case(Read, "sys/policy/{path}", "sys/policy/default", 200),
        case(Write, "sys/policy/{path}", "sys/policy/p", 204).body(policy()),
        case(Delete, "sys/policy/{path}", "sys/policy/P", 204).seen("sys/policy/p"),
        case(List, "sys/policies/acl", "sys/policies/acl", 200),
        case(List, "sys/policies/acl/{path}", "sys/policies/acl/team", 200).after(
            "POST",
            "sys/policies/acl/Team/b",
            policy(),
        ),
        case(Read, "sys/policies/acl/{path}", "sys/policies/acl/DEFAULT", 200)
            .seen("sys/policies/acl/default"),
        case(Write, "sys/policies/acl/{path}", "sys/policies/acl/Team/P", 204)
            .seen("sys/policies/acl/team/p")
            .body(policy()),
        case(Delete, "sys/policies/acl/{path}", "sys/policies/acl/p", 204),
        case(Read, "sys/policies/spike/{path}", "sys/policies/spike/s", 200).after(
            "POST",
            "sys/policies/spike/s",
            spike(),
        ),
        case(Write, "sys/policies/spike/{path}", "sys/policies/spike/s", 204).body(spike()),
        case(Write, "sys/capabilities", "sys/capabilities", 200)
            .token()
            .body(json!({ "token": "$TOKEN", "paths": ["secret/data/a"] })),
        case(Write, "sys/capabilities-self", "sys/capabilities-self", 200).body(paths()),
        case(Write, "sys/capabilities-accessor", "sys/capabilities-accessor", 200)
            .accessor()
            .body(json!({ "accessor": "$ACCESSOR", "paths": ["secret/data/a"] })),
        // It must be wrapped, and this one does not ask for that.
        case(Write, "sys/wrapping/wrap", "sys/wrapping/wrap", 400).body(json!({ "a": 1 })),
        case(Write, "sys/wrapping/unwrap", "sys/wrapping/unwrap", 200)
            .wrapping()
            .body(json!({ "token": "$WRAPPING" })),
        case(Write, "sys/wrapping/lookup", "sys/wrapping/lookup", 200)
            .wrapping()
            .body(json!({ "token": "$WRAPPING" })),
        case(Read, "sys/wrapping/lookup", "sys/wrapping/lookup?token=$WRAPPING", 200).wrapping(),
        case(Write, "sys/wrapping/rewrap", "sys/wrapping/rewrap", 200)
            .wrapping()
            .body(json!({ "token": "$WRAPPING" })),
        case(Write, "sys/leases/lookup", "sys/leases/lookup", 400).body(json!({ "lease_id": "none" })),
        case(List, "sys/leases/lookup/{path}", "sys/leases/lookup/auth", 200),
        case(Write, "sys/leases/renew", "sys/leases/renew", 400).body(json!({ "lease_id": "none" })),
        case(Write, "sys/leases/renew/{path}", "sys/leases/renew/none", 400).body(json!({})),
        case(Write, "sys/renew", "sys/renew", 400).body(json!({ "lease_id": "none" })),
        case(Write, "sys/renew/{path}", "sys/renew/none", 400).body(json!({})),
        case(Write, "sys/leases/revoke", "sys/leases/revoke", 204).body(json!({ "lease_id": "none" })),
        case(Write, "sys/leases/revoke/{path}", "sys/leases/revoke/none", 204).body(json!({})),
        case(Write, "sys/revoke", "sys/revoke", 204).body(json!({ "lease_id": "none" })),
        case(Write, "sys/leases/revoke-prefix/{path}", "sys/leases/revoke-prefix/none", 204),
        case(Write, "sys/leases/revoke-force/{path}", "sys/leases/revoke-force/none", 204),
        case(Write, "sys/leases/tidy", "sys/leases/tidy", 202),
    ]
}

fn tokens() -> Vec<Case> {
    let token = || json!({ "token": "$TOKEN" });
    let accessor = || json!({ "accessor": "$ACCESSOR" });
    vec![
        case(Write, "auth/token/create", "auth/token/create", 200).body(json!({})),
        case(Write, "auth/token/create-orphan", "auth/token/create-orphan", 200).body(json!({})),
        case(Write, "auth/token/create/{name}", "auth/token/create/r", 200)
            .after("POST", "auth/token/roles/r", json!({}))
            .body(json!({})),
        case(Read, "auth/token/lookup-self", "auth/token/lookup-self", 200),
        case(Write, "auth/token/lookup-self", "auth/token/lookup-self", 200).body(json!({})),
        case(Read, "auth/token/lookup", "auth/token/lookup", 200),
        case(Write, "auth/token/lookup", "auth/token/lookup", 200).token().body(token()),
        case(Write, "auth/token/lookup-accessor", "auth/token/lookup-accessor", 200)
            .accessor()
            .body(accessor()),
        case(Write, "auth/token/renew-self", "auth/token/renew-self", 200).body(json!({})),
        case(Write, "auth/token/renew", "auth/token/renew", 200).token().body(token()),
        case(Write, "auth/token/renew-accessor", "auth/token/renew-accessor", 200)
            .accessor()
            .body(accessor()),
        case(Write, "auth/token/revoke-self", "auth/token/revoke-self", 204).body(json!({})),
        case(Write, "auth/token/revoke", "auth/token/revoke", 204).token().body(token()),
        case(Write, "auth/token/revoke-accessor", "auth/token/revoke-accessor", 204)
            .accessor()
            .body(accessor()),
        case(Write, "auth/token/revoke-orphan", "auth/token/revoke-orphan", 204).token().body(token()),
        case(List, "auth/token/accessors", "auth/token/accessors", 200),
        case(Write, "auth/token/tidy", "auth/token/tidy", 202),
        case(List, "auth/token/roles", "auth/token/roles", 200).after(
            "POST",
            "auth/token/roles/r",
            json!({}),
        ),
        case(Read, "auth/token/roles/{name}", "auth/token/roles/r", 200).after(
            "POST",
            "auth/token/roles/r",
            json!({}),
        ),
        case(Write, "auth/token/roles/{name}", "auth/token/roles/New", 204)
            .seen("auth/token/roles/new")
            .body(json!({ "orphan": true }))
            .creating(),
        case(Delete, "auth/token/roles/{name}", "auth/token/roles/r", 204),
    ]
}

fn secrets() -> Vec<Case> {
    let versions = || json!({ "versions": [1] });
    let mut cases = vec![
        case(Read, "kv/config", "secret/config", 200),
        case(Write, "kv/config", "secret/config", 204).body(json!({ "max_versions": 5 })),
        case(Read, "kv/data/{path}", "secret/data/s", 200).secret(),
        case(Write, "kv/data/{path}", "secret/data/new", 200).body(json!({ "data": { "a": 1 } })).creating(),
        case(Patch, "kv/data/{path}", "secret/data/s", 200).secret().body(json!({ "data": { "b": 1 } })),
        case(Delete, "kv/data/{path}", "secret/data/s", 204).secret(),
        case(Write, "kv/delete/{path}", "secret/delete/s", 204).secret().body(versions()),
        case(Write, "kv/undelete/{path}", "secret/undelete/s", 204).secret().body(versions()),
        case(Write, "kv/destroy/{path}", "secret/destroy/s", 204).secret().body(versions()),
        case(Read, "kv/metadata/{path}", "secret/metadata/s", 200).secret(),
        case(List, "kv/metadata/{path}", "secret/metadata", 200).secret(),
        case(Scan, "kv/metadata/{path}", "secret/metadata", 200).secret(),
        case(Write, "kv/metadata/{path}", "secret/metadata/s", 204)
            .body(json!({ "max_versions": 5 }))
            .creating(),
        case(Patch, "kv/metadata/{path}", "secret/metadata/s", 204)
            .secret()
            .body(json!({ "max_versions": 5 })),
        case(Delete, "kv/metadata/{path}", "secret/metadata/s", 204).secret(),
        case(List, "kv/detailed-metadata/{path}", "secret/detailed-metadata", 200).secret(),
        case(Scan, "kv/detailed-metadata/{path}", "secret/detailed-metadata", 200).secret(),
        case(Read, "kv/subkeys/{path}", "secret/subkeys/s", 200).secret(),
        // Every other path has a hint.
        case(Read, "kv/{path}", "secret/s", 404),
        case(List, "kv/{path}", "secret/s", 404),
        case(Scan, "kv/{path}", "secret/s", 404),
        case(Write, "kv/{path}", "secret/s", 404).body(json!({ "a": 1 })),
        case(Patch, "kv/{path}", "secret/s", 404).body(json!({ "a": 1 })),
        case(Delete, "kv/{path}", "secret/s", 404),
        case(Read, "kv1/{path}", "plain/p/s", 200).plain(),
        case(List, "kv1/{path}", "plain/p", 200).plain(),
        case(Scan, "kv1/{path}", "plain/p", 200).plain(),
        case(Write, "kv1/{path}", "plain/new", 204).body(json!({ "a": 1 })).creating(),
        case(Delete, "kv1/{path}", "plain/p/s", 204).plain(),
    ];
    // 404: each token has its own cubbyhole, and this one is empty.
    cases.extend([
        case(Read, "cubbyhole/{path}", "cubbyhole/c", 404),
        case(List, "cubbyhole/{path}", "cubbyhole/c", 404),
        case(Write, "cubbyhole/{path}", "cubbyhole/c", 204).body(json!({ "a": 1 })).creating(),
        case(Delete, "cubbyhole/{path}", "cubbyhole/c", 204),
    ]);
    cases
}
