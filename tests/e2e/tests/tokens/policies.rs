//! Policies as the server keeps and applies them.

use keyway_e2e::Site;
use serde_json::json;

use crate::{create, text};

#[test]
fn policies_look_at_the_parameters_that_the_endpoint_reads() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let rules = json!({ "path": {
        "auth/token/create": { "capabilities": ["update"], "required_parameters": ["ttl"] },
        "secret/data/*": { "capabilities": ["create", "update", "read"], "denied_parameters": { "options": [] } },
    } });
    let rules = json!({ "policy": rules.to_string() });
    assert_eq!(server.post("sys/policies/acl/bound", &root, &rules).status, 204);
    let token = text(&create(&server, &root, &json!({ "policies": ["bound"] }))["client_token"]);
    assert_eq!(server.post("auth/token/create", &token, &json!({ "ttl": "1m" })).status, 200);
    assert_eq!(server.post("auth/token/create", &token, &json!({})).status, 403);
    // The endpoint does not read the query, nor does the policy.
    assert_eq!(server.request("POST", "auth/token/create?ttl=1m", &token, None).status, 403);
    assert_eq!(server.post("secret/data/a", &token, &json!({ "data": { "n": 1 } })).status, 200);
    let denied = json!({ "data": { "n": 1 }, "options": { "cas": 1 } });
    assert_eq!(server.post("secret/data/a", &token, &denied).status, 403);
    let twice = r#"{"data": {"n": 2}, "Options": {}, "\u006fptions": {"cas": 1}}"#;
    assert!(matches!(server.request("POST", "secret/data/a", &token, Some(twice)).status, 400 | 403));
    // If a header comes twice, the server refuses the request, and ignores neither value.
    let headers = [("X-Vault-Token", root.as_str()), ("X-Vault-Wrap-TTL", ""), ("X-Vault-Wrap-TTL", "60")];
    assert_eq!(server.request_with("GET", "secret/data/a", &headers, None).status, 400);
}

/// GHSA-xp3c-3jw3-4vcr: a narrow rule for the entries of a folder takes precedence over a broad one for all
/// folders.
#[test]
fn lists_of_a_folder_that_is_denied_are_refused() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    for path in ["secret/data/private/a", "secret/data/public/a"] {
        assert_eq!(server.post(path, &root, &json!({ "data": { "n": 1 } })).status, 200);
    }
    let rules = json!({ "policy": "path \"secret/metadata/*\" { capabilities = [\"list\"] }\n\
                                   path \"secret/metadata/private/*\" { capabilities = [\"deny\"] }" });
    assert_eq!(server.post("sys/policies/acl/lister", &root, &rules).status, 204);
    let token = text(&create(&server, &root, &json!({ "policies": ["lister"] }))["client_token"]);
    let list = |path: &str| server.request("LIST", path, &token, None).status;
    assert_eq!((list("secret/metadata/public"), list("secret/metadata/public/")), (200, 200));
    assert_eq!((list("secret/metadata/private"), list("secret/metadata/private/")), (403, 403));
    assert_eq!(server.get("secret/metadata/private/?list=true", &token).status, 403);
    let paths = ["secret/metadata/public/", "secret/metadata/private/", "secret/metadata/private"];
    let told = server.post("sys/capabilities-self", &token, &json!({ "paths": paths })).json();
    let told = paths.map(|path| told["data"][path][0].clone());
    assert_eq!(told, ["list", "deny", "list"]);
}

#[test]
fn policies_are_hcl_1_and_their_names_have_slashes() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let write = |name: &str, text: &str| {
        server.post(&format!("sys/policies/acl/{name}"), &root, &json!({ "policy": text }))
    };
    let policy =
        "\u{feff}path \"secret/data/*\"\n{ capabilities = [\"read\",], denied_parameters { version = [] } },";
    for name in ["Team/App", "team/b/c", "team-d", "e"] {
        assert_eq!(write(name, policy).status, 204, "{name}");
    }
    let keys = |path: &str| server.request("LIST", path, &root, None).json()["data"]["keys"].clone();
    assert_eq!(keys("sys/policies/acl"), json!(["default", "e", "root", "team-d", "team/app", "team/b/c"]));
    assert_eq!(keys("sys/policies/acl/team/"), json!(["team/app", "team/b/c"]));
    assert_eq!(keys("sys/policy/Team/B"), json!(["team/b/c"]));
    assert_eq!(server.request("LIST", "sys/policies/acl/none", &root, None).status, 404);
    for path in ["sys/policies/acl/team/app", "sys/policies/acl/TEAM/App"] {
        let read = server.get(path, &root).json()["data"].clone();
        assert_eq!((&read["name"], &read["policy"]), (&json!("team/app"), &json!(policy)));
    }
    assert_eq!(server.get("sys/policy/team/app", &root).json()["rules"], policy);
    assert_eq!(server.get("sys/policies/acl/team", &root).status, 404);
    assert_eq!((server.get("sys/policies/acl", &root).status, write("", policy).status), (405, 405));
    assert_eq!(write("team/", policy).status, 400);

    assert_eq!(server.post("secret/data/a", &root, &json!({ "data": { "n": 1 } })).status, 200);
    let made = create(&server, &root, &json!({ "policies": ["team/app"], "no_default_policy": true }));
    assert_eq!(made["policies"], json!(["team/app"]));
    let token = text(&made["client_token"]);
    assert_eq!(server.get("secret/data/a", &token).status, 200);
    assert_eq!(server.get("secret/data/a?version=1", &token).status, 403);
    assert_eq!(server.request("DELETE", "sys/policies/acl/Team/APP", &root, None).status, 204);
    assert_eq!(server.get("secret/data/a", &token).status, 403);

    // An error names its line and column; an unsupported feature is named.
    for (text, says) in [
        ("path \"a\" {\n  capabilities = [\"read\"\n}", "line 3, column 1: expected a comma or ]"),
        ("path \"a\" {\n  capabilities = [\"reed\"]\n}", "line 2, column 3: path \"a\": capabilities"),
        ("path \"a\" {\n  expiration = \"2030-01-01T00:00:00Z\"\n}", "expiration: is not supported"),
        ("path \"a\" { control_group { factor \"f\" { } } }", "control_group: is not supported"),
    ] {
        let refused = write("bad", text);
        assert!(refused.status == 400 && refused.error().contains(says), "{}", refused.text);
    }
}
