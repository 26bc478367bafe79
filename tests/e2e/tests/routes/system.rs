//! What the system's endpoints answer where clients of Vault and OpenBao rely on it.

use keyway_e2e::Answer;
use serde_json::{Value, json};

use crate::{World, world};

fn post(world: &World, path: &str, body: Value) -> Answer {
    world.send("POST", path, &world.root, Some(&body))
}

fn get(world: &World, path: &str) -> Value {
    world.send("GET", path, &world.root, None).json()
}

#[test]
fn an_empty_limit_leaves_a_mount_as_it_is_and_system_lifts_it() {
    let (_site, world) = world();
    for path in ["mounts/secret", "auth/approle"] {
        let tune = format!("sys/{path}/tune");
        let limits = || {
            let told = get(&world, &tune);
            (told["data"]["default_lease_ttl"].clone(), told["data"]["max_lease_ttl"].clone())
        };
        post(&world, &tune, json!({ "default_lease_ttl": "5m", "max_lease_ttl": "10m" }));
        assert_eq!(limits(), (json!(300), json!(600)));
        // What `bao secrets tune -description=…` sends.
        let sent = json!({ "default_lease_ttl": "", "max_lease_ttl": "", "description": "d", "force_no_cache": false });
        assert_eq!(post(&world, &tune, sent).status, 204);
        assert_eq!(limits(), (json!(300), json!(600)), "{path}: a limit was lifted");
        assert_eq!(
            post(&world, &tune, json!({ "default_lease_ttl": "system", "max_lease_ttl": "system" })).status,
            204
        );
        assert_eq!(limits(), (json!(2_764_800), json!(2_764_800)));
    }
}

#[test]
fn a_body_of_null_is_an_empty_object() {
    let (_site, world) = world();
    for (path, status) in [("auth/token/create", 200), ("sys/wrapping/unwrap", 400), ("approle/login", 404)] {
        let sent = world.send("POST", path, &world.root, Some(&Value::Null));
        assert_eq!(sent.status, status, "{path}: {}", sent.text);
    }
    assert_eq!(world.send("POST", "auth/token/create", &world.root, Some(&json!([]))).status, 400);
}

#[test]
fn the_root_namespace_is_accepted_and_others_are_refused() {
    let (_site, world) = world();
    for (namespace, status) in
        [("", 200), ("root", 200), ("root/", 200), ("/", 200), ("team", 400), ("root/a", 400)]
    {
        let headers = [("X-Vault-Token", world.root.as_str()), ("X-Vault-Namespace", namespace)];
        let answer = world.server.request_with("GET", "sys/mounts", &headers, None);
        assert_eq!(answer.status, status, "{namespace:?}: {}", answer.text);
    }
}

#[test]
fn a_moved_mount_or_auth_method_has_a_status_and_wrong_moves_are_refused() {
    let (_site, world) = world();
    for (from, to) in [("plain", "moved"), ("auth/approle", "auth/machines")] {
        let moved = post(&world, "sys/remount", json!({ "from": from, "to": to }));
        let id = moved.json()["migration_id"].as_str().unwrap().to_owned();
        let status = get(&world, &format!("sys/remount/status/{id}"));
        let expected = json!({ "source_mount": format!("{from}/"), "target_mount": format!("{to}/"), "status": "success" });
        assert_eq!(status["data"]["migration_info"], expected);
    }
    for (from, to, error) in [
        ("moved", "moved", "path is already in use at moved/"),
        ("auth/machines", "auth/machines/", "path is already in use at auth/machines/"),
        ("moved", " there", "'to' path cannot contain"),
        ("moved ", "there", "'from' path cannot contain"),
        ("", "there", "both 'from' and 'to'"),
        ("nowhere", "there", "nowhere/"),
    ] {
        let refused = post(&world, "sys/remount", json!({ "from": from, "to": to }));
        assert!(
            refused.status == 400 && refused.error().contains(error),
            "{from:?} {to:?}: {}",
            refused.text
        );
    }
    assert!(get(&world, "sys/mounts")["data"]["moved/"].is_object());
}

#[test]
fn policies_count_their_versions_and_check_them_if_asked() {
    let (_site, world) = world();
    let text = r#"path "a" { capabilities = ["read"] }"#;
    let write = |name: &str, fields: Value| {
        let mut body = json!({ "policy": text });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        post(&world, &format!("sys/policies/acl/{name}"), body)
    };
    for (fields, status, error) in [
        (json!({ "cas": 1 }), 400, "check-and-set parameter 1 did not match the current version 0"),
        (json!({ "cas": 0 }), 204, ""),
        (json!({ "cas": 0 }), 400, "check-and-set parameter 0 did not match the current version 1"),
        (json!({ "cas": -1 }), 400, "check-and-set parameter set to -1 on existing entry"),
        (json!({ "cas": "1" }), 204, ""),
        (json!({ "cas_required": true }), 400, "check-and-set parameter required for this call"),
        (json!({ "cas_required": true, "cas": 2 }), 204, ""),
        (json!({}), 400, "check-and-set parameter required for this call"),
    ] {
        let written = write("p", fields.clone());
        assert_eq!((written.status, written.error().as_str()), (status, error), "{fields}: {}", written.text);
    }
    let read = get(&world, "sys/policies/acl/p");
    assert_eq!((&read["data"]["version"], &read["data"]["cas_required"]), (&json!(3), &json!(true)));
    assert!(read["data"]["modified"].as_str().unwrap().ends_with('Z'));
    assert_eq!(get(&world, "sys/policy/p")["data"]["rules"], text);
    // The built-in policy is the first version of `default`.
    let version = || get(&world, "sys/policies/acl/default")["data"]["version"].clone();
    assert_eq!((write("default", json!({ "cas": 0 })).status, version()), (400, json!(1)));
    assert_eq!((write("default", json!({ "cas": 1 })).status, version()), (204, json!(2)));
}

#[test]
fn mounts_are_described_as_openbao_describes_them() {
    let (_site, world) = world();
    let builtin = |path: &str| get(&world, &format!("sys/mounts/{path}"))["data"].clone();
    assert_ne!(builtin("sys")["uuid"], builtin("cubbyhole")["uuid"]);
    assert_eq!(get(&world, "sys/mounts/cubbyhole/tune")["data"]["max_lease_ttl"], 2_764_800);
    let methods = get(&world, "sys/auth");
    assert_eq!(
        (&methods["data"]["approle/"]["options"], &methods["data"]["token/"]["options"]),
        (&json!({}), &Value::Null)
    );
    for visibility in ["unauth", "hidden"] {
        post(&world, "sys/mounts/secret/tune", json!({ "listing_visibility": visibility }));
        assert_eq!(get(&world, "sys/mounts/secret/tune")["data"]["listing_visibility"], visibility);
    }
    post(&world, "sys/mounts/secret/tune", json!({ "listing_visibility": "" }));
    assert!(get(&world, "sys/mounts")["data"]["secret/"]["config"].get("listing_visibility").is_none());
}

#[test]
fn a_wrapping_token_that_was_tried_elsewhere_opens_nothing() {
    let (_site, world) = world();
    let wrapped = || {
        let headers = [("X-Vault-Token", world.root.as_str()), ("X-Vault-Wrap-TTL", "60")];
        let made = world.server.request_with("POST", "sys/wrapping/wrap", &headers, Some("{\"a\":1}"));
        made.json()["wrap_info"]["token"].as_str().unwrap().to_owned()
    };
    for (method, path) in [
        ("GET", "auth/token/lookup-self"),
        ("GET", "cubbyhole/response"),
        ("GET", "secret/data/a"),
        ("GET", "none/at/all"),
        // It takes no use of other tokens.
        ("GET", "sys/internal/ui/mounts/secret"),
    ] {
        let token = wrapped();
        assert_eq!(world.send("GET", "sys/wrapping/lookup", &token, None).status, 200);
        assert_eq!(world.send(method, path, &token, None).status, 403, "{path}");
        assert_eq!(world.send("POST", "sys/wrapping/unwrap", &token, None).status, 400, "{path}");
    }
    assert_eq!(world.send("POST", "sys/wrapping/unwrap", &wrapped(), None).status, 200);
}
