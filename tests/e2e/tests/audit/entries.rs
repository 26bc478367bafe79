//! What the lines say.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use crate::{file, lines, log, start, verify};

#[test]
fn every_request_has_two_lines_and_no_value_is_in_the_clear() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let root = &keys.root_token;
    let body = json!({ "data": { "password": "canary-value", "pin": 271_828_182, "on": true }, "options": { "cas": 0 } });
    assert_eq!(server.post("secret/data/app", root, &body).status, 200);
    assert_eq!(server.get("secret/data/app?version=1", root).status, 200);
    assert_eq!(server.get("secret/data/app", "kw.canary-token").status, 403);
    let policy = json!({ "policy": "path \"secret/data/other\" { capabilities = [\"read\"] }" });
    assert_eq!(server.post("sys/policies/acl/other", root, &policy).status, 204);
    let made = server.post("auth/token/create", root, &json!({ "policies": ["other"] })).json();
    let child = made["auth"]["client_token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("secret/data/app", &child).status, 403);
    let wrapped = server.request_with(
        "GET",
        "secret/data/app",
        &[("X-Vault-Token", root), ("X-Vault-Wrap-TTL", "60")],
        None,
    );
    let wrapping = wrapped.json()["wrap_info"]["token"].as_str().unwrap().to_owned();
    assert_eq!(server.post("sys/wrapping/unwrap", &wrapping, &json!({})).status, 200);
    assert_eq!(server.post("sys/auth/approle", root, &json!({ "type": "approle" })).status, 204);
    assert_eq!(server.post("auth/approle/role/r", root, &json!({})).status, 204);
    let role_id = server.get("auth/approle/role/r/role-id", root).json()["data"]["role_id"].clone();
    let secret_id =
        server.post("auth/approle/role/r/secret-id", root, &json!({})).json()["data"]["secret_id"].clone();
    let login = server.post("auth/approle/login", "", &json!({ "role_id": role_id, "secret_id": secret_id }));
    let logged_in = login.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    server.get("sys/health", "");
    server.get("sys/seal-status", "");

    let text = fs::read_to_string(log(&site, "a")).unwrap();
    let secrets = [
        "canary",
        "271828182",
        root.as_str(),
        &child,
        &wrapping,
        &logged_in,
        secret_id.as_str().unwrap(),
        role_id.as_str().unwrap(),
    ];
    let secrets = secrets.into_iter().chain(keys.shares.iter().map(String::as_str));
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }
    let all = lines(&log(&site, "a"));
    let ids = |kind: &str| -> Vec<&str> {
        all.iter()
            .filter(|line| line["type"] == kind)
            .map(|line| line["request"]["id"].as_str().unwrap())
            .collect()
    };
    assert_eq!(ids("request"), ids("response"), "each request, one after the other");
    assert_eq!(all.len() % 2, 0);
    let of =
        |path: &str| -> Vec<&Value> { all.iter().filter(|line| line["request"]["path"] == path).collect() };
    assert!(
        of("sys/health").is_empty() && of("sys/seal-status").is_empty(),
        "who watches is not written down"
    );
    assert_eq!(of("sys/init").len(), 2, "{all:?}");
    assert!(
        of("sys/unseal").iter().all(|line| line["request"]["data"].is_null()),
        "there is no key to hash with"
    );

    // Comparable through audit-hash, and by value alone.
    let hash = |input: &str| {
        let answer = server.post("sys/audit-hash/a", root, &json!({ "input": input }));
        answer.json()["data"]["hash"].as_str().unwrap().to_owned()
    };
    let app = of("secret/data/app");
    let written = &app[0]["request"]["data"]["data"];
    assert_eq!(written["password"], hash("canary-value"));
    assert_eq!((&written["pin"], &written["on"]), (&json!(hash("271828182")), &json!(hash("true"))));
    let read = &app[3];
    assert_eq!(
        (read["type"].as_str(), &read["response"]["data"]["data"]["password"]),
        (Some("response"), &json!(hash("canary-value")))
    );
    assert_eq!(app[2]["request"]["data"]["version"], hash("1"));
    assert!(read["request"]["data"].is_null(), "said once");
    assert_eq!(read["auth"]["client_token"], hash(root));
    assert_eq!(read["auth"]["policies"], json!(["root"]));
    assert_eq!(read["request"]["mount_point"], "secret/");
    let (unknown, refused) = (&app[4], &app[6]);
    assert_eq!((&unknown["auth"], &unknown["error"]), (&Value::Null, &json!("permission denied")));
    assert_eq!(unknown["request"]["client_token"], hash("kw.canary-token"));
    assert_eq!(
        (&refused["auth"]["policy_results"]["allowed"], &refused["error"]),
        (&json!(false), &json!("permission denied"))
    );
    let wrapping_line = app.iter().find(|line| line["response"]["wrap_info"].is_object()).unwrap();
    assert_eq!(wrapping_line["response"]["wrap_info"]["token"], hash(&wrapping));
    assert!(wrapping_line["response"]["data"].is_null());
    assert_eq!(of("auth/token/create")[1]["response"]["auth"]["client_token"], hash(&child));
    let login = of("auth/approle/login");
    assert_eq!(
        (&login[0]["request"]["data"]["secret_id"], &login[0]["auth"]),
        (&json!(hash(secret_id.as_str().unwrap())), &Value::Null)
    );
    assert_eq!(login[1]["response"]["auth"]["client_token"], hash(&logged_in));
    assert_eq!(server.post("sys/audit-hash/none", root, &json!({ "input": "x" })).status, 400);
    assert_eq!(server.post("sys/audit-hash/a", root, &json!({})).status, 400);
    let mode = fs::metadata(log(&site, "a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds, "{said}");
}

#[test]
fn tokens_at_the_watchers_paths_are_written_down_and_strangers_write_little() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let uses = serde_json::json!({ "num_uses": 2, "policies": ["root"] });
    let made = server.post("auth/token/create", &keys.root_token, &uses).json();
    let limited = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let count =
        |path: &str| lines(&log(&site, "a")).iter().filter(|line| line["request"]["path"] == path).count();
    assert_eq!(server.get("sys/metrics", &limited).status, 200);
    assert_eq!(count("sys/metrics"), 2, "a use of a token is an effect");
    assert_eq!(server.request("PUT", "sys/health", &limited, Some("{}")).status, 405);
    assert_eq!(count("sys/health"), 2);
    assert_eq!(server.get("sys/metrics", &limited).status, 403, "both uses are spent");
    assert_eq!(count("sys/metrics"), 4);

    let length = || fs::metadata(log(&site, "a")).unwrap().len();
    let before = length();
    let query: String = (0..1_500).map(|n| format!("a{n}&")).collect();
    assert_eq!(server.get(&format!("secret/data/x?{query}"), "").status, 403);
    assert!(length() - before < 4_000, "{} bytes", length() - before);
    let before = length();
    let body = format!("[{}]", vec!["1"; 3_000].join(","));
    assert_eq!(server.request("POST", "sys/unseal", "", Some(&body)).status, 400);
    assert!(length() - before < 4_000, "{} bytes", length() - before);
    // Requests with a token may log more, within a bound.
    let before = length();
    let long: serde_json::Map<String, Value> = (0..20_000).map(|n| (format!("\u{1}{n}"), n.into())).collect();
    let body = serde_json::json!({ "data": long });
    assert_eq!(server.post("secret/data/x", &keys.root_token, &body).status, 200);
    assert!(length() - before < 8_000, "{} bytes", length() - before);
    server.kill();
    let server = site.start();
    server.unseal(&keys.shares[0]);
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds, "{said}");
}
