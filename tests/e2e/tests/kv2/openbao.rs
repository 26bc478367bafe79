//! Details for which OpenBao is the reference: compared with its answers.

use keyway_e2e::Answer;
use serde_json::{Value, json};

use super::{MERGE, on_both};

#[test]
fn undeleted_version_lives_as_long_as_a_new_one() {
    on_both(|client| {
        let deletion_time =
            || client.get("secret/metadata/u").json()["data"]["versions"]["1"]["deletion_time"].clone();
        client.post("secret/metadata/u", &json!({ "delete_version_after": "1h" }));
        client.put("u", &json!({ "a": 1 }));
        let first = deletion_time();
        client.post("secret/delete/u", &json!({ "versions": [1] }));
        assert!(deletion_time().as_str() < first.as_str());
        assert_eq!(client.post("secret/undelete/u", &json!({ "versions": [1] })).status, 204);
        assert!(deletion_time().as_str() > first.as_str(), "from now on");
        assert_eq!(client.get("secret/data/u").status, 200);
        client.post("secret/metadata/u", &json!({ "delete_version_after": "0s" }));
        client.post("secret/undelete/u", &json!({ "versions": [1] }));
        assert_eq!(deletion_time(), "", "for ever");
    });
}

#[test]
fn values_are_taken_as_openbao_takes_them() {
    on_both(|client| {
        let first =
            |body: &str| client.server.request("POST", "secret/data/c", &client.keys.root_token, Some(body));
        let no_version = r#"{"data":{},"options":{"cas":null}}"#;
        assert_eq!((first(no_version).status, first(no_version).status), (200, 400), "null is zero");
        assert_eq!(first(r#"{"data":{},"options":null}"#).status, 200);
        let unknown = first(r#"{"data":{},"options":{"csa":1}}"#);
        assert!(unknown.status == 200 && unknown.text.contains("options.csa"), "{}", unknown.text);
        assert_eq!(client.post("secret/delete/c", &json!({ "versions": [-1, true, 99] })).status, 204);
        assert_eq!(client.get("secret/data/c?version=1").status, 404, "true is 1");

        for (metadata, custom) in [
            (
                json!({ "a": 5, "b": 1.5, "c": true, "d": false, "e": "é ü" }),
                json!({ "a": "5", "b": "1.5", "c": "1", "d": "0", "e": "é ü" }),
            ),
            (json!([]), Value::Null),
        ] {
            assert_eq!(client.post("secret/metadata/c", &json!({ "custom_metadata": metadata })).status, 204);
            assert_eq!(client.get("secret/metadata/c").json()["data"]["custom_metadata"], custom);
        }
        let digits = r#"{"custom_metadata":{"a":12345678901234567890123}}"#;
        client.server.request("POST", "secret/metadata/c", &client.keys.root_token, Some(digits));
        let read = client.get("secret/metadata/c").json()["data"]["custom_metadata"]["a"].clone();
        assert_eq!(read, "12345678901234567890123");

        // Nothing to be said makes nothing.
        assert_eq!(client.post("secret/metadata/none", &json!({})).status, 204);
        assert_eq!(client.patch("secret/metadata/none", MERGE, "{}").status, 204);
        assert_eq!(client.get("secret/metadata/none").status, 404);
        let after = |body: &Value| {
            assert_eq!(client.post("secret/metadata/c", body).status, 204, "{body}");
            client.get("secret/metadata/c").json()["data"]["delete_version_after"].clone()
        };
        assert_eq!(after(&json!({ "delete_version_after": "1m" })), "1m0s");
        assert_eq!(after(&json!({ "delete_version_after": null })), "1m0s", "only a patch takes it back");
        assert_eq!(after(&json!({ "delete_version_after": "" })), "0s");
        // A mount may take the limits of its secrets away.
        assert_eq!(client.post("secret/config", &json!({ "delete_version_after": "-1s" })).status, 204);
    });
}

#[test]
fn metadata_is_changed_only_as_it_was_read_where_that_is_asked_for() {
    on_both(|client| {
        let change = |path: &str, cas: Option<i64>| {
            let mut body = json!({ "max_versions": 3 });
            if let Some(cas) = cas {
                body["metadata_cas"] = cas.into();
            }
            let answer = client.post(&format!("secret/metadata/{path}"), &body);
            (answer.status, answer.json()["errors"][0].as_str().unwrap_or_default().to_owned())
        };
        let count = |path: &str| {
            client.get(&format!("secret/metadata/{path}")).json()["data"]["current_metadata_version"].clone()
        };
        let (done, mismatch, required) = (
            (204, String::new()),
            (400, "metadata check-and-set parameter does not match the current version".to_owned()),
            (400, "metadata check-and-set parameter required for this call".to_owned()),
        );
        client.put("m", &json!({}));
        assert_eq!(count("m"), 0);
        assert_eq!(
            (change("m", Some(0)), change("m", Some(0)), change("m", Some(1))),
            (done.clone(), mismatch.clone(), done.clone())
        );
        assert_eq!((change("m", Some(-1)), change("m", None)), (mismatch, done.clone()));
        client.put("m", &json!({}));
        assert_eq!(count("m"), 3, "writes of values do not count");
        let new = (400, "metadata_cas must be 0 when creating new metadata".to_owned());
        assert_eq!((change("n", Some(1)), change("n", Some(0))), (new, done.clone()));

        assert_eq!(client.post("secret/metadata/m", &json!({ "metadata_cas_required": "True" })).status, 204);
        assert_eq!((change("m", None), change("m", Some(4))), (required.clone(), done.clone()));
        assert_eq!(client.patch("secret/metadata/m", MERGE, r#"{"max_versions":1}"#).status, 400);
        let patch = r#"{"metadata_cas":5,"metadata_cas_required":null}"#;
        assert_eq!(client.patch("secret/metadata/m", MERGE, patch).status, 204);
        assert_eq!(change("m", None), done);
        assert_eq!(client.post("secret/config", &json!({ "metadata_cas_required": true })).status, 204);
        assert_eq!((change("m", None), change("new", None)), (required.clone(), required));
        assert_eq!((change("m", Some(7)), change("new", Some(0))), (done.clone(), done));
        let refused = client.post("secret/config", &json!({ "metadata_cas": 1 }));
        assert!(refused.status == 400 && refused.error().contains("metadata_cas"), "{}", refused.text);
    });
}

#[test]
fn paths_that_name_no_secret_are_answered_and_touch_nothing() {
    on_both(|client| {
        let root = &client.keys.root_token;
        let made = json!({ "type": "kv", "options": { "version": "1" } });
        assert_eq!(client.post("sys/mounts/plain", &made).status, 204);
        client.put("x", &json!({ "a": 1 }));
        client.post("plain/x", &json!({ "a": 1 }));
        client.post("cubbyhole/x", &json!({ "a": 1 }));
        let send = |method: &str, path: &str| {
            let headers = [("X-Vault-Token", root.as_str()), ("Content-Type", MERGE)];
            let body = r#"{"data":{"b":2},"versions":[1],"max_versions":1}"#;
            client.server.request_with(method, path, &headers, (method != "GET").then_some(body))
        };
        for folder in ["secret/data/x/", "secret/metadata/x/", "plain/x/", "cubbyhole/x/"] {
            assert_eq!(send("GET", folder).status, 404, "{folder}");
            assert_eq!(send("DELETE", folder).status, 204, "{folder}");
            let written = send("POST", folder);
            assert_eq!(
                (written.status, written.error()),
                (400, "cannot write to a path ending in '/'".to_owned()),
                "{folder}"
            );
        }
        for folder in ["delete", "undelete", "destroy"] {
            assert_eq!(send("POST", &format!("secret/{folder}/x/")).status, 400, "{folder}");
        }
        assert_eq!(send("PATCH", "secret/data/x/").status, 400);
        for there in ["secret/data/x", "plain/x", "cubbyhole/x"] {
            assert_eq!(client.get(there).status, 200, "{there}");
        }
        assert_eq!(client.get("secret/metadata/x").json()["data"]["current_version"], 1);

        for (method, command) in [
            ("GET", "get"),
            ("LIST", "list"),
            ("SCAN", "scan"),
            ("POST", "put"),
            ("PATCH", "patch"),
            ("DELETE", "delete"),
        ] {
            let hint = send(method, "secret/x");
            let warning = hint.json()["warnings"][0].as_str().unwrap_or_default().to_owned();
            assert!(
                hint.status == 404 && warning.contains(&format!("'bao kv {command}'")),
                "{method}: {}",
                hint.text
            );
        }
        let hint = send("GET", "secret/data");
        assert!(hint.status == 404 && hint.text.contains("Non-listing operations"), "{}", hint.text);
        assert_eq!(send("LIST", "secret/data/x").status, 405);
    });
}

#[test]
fn scan_names_all_secrets_below_a_folder_in_parts_too() {
    on_both(|client| {
        let root = &client.keys.root_token;
        let made = json!({ "type": "kv", "options": { "version": "1" } });
        assert_eq!(client.post("sys/mounts/plain", &made).status, 204);
        let all = ["a", "a-b", "a/x", "b/c/d", "b/c/e", "f"];
        for name in all {
            assert_eq!(client.put(name, &json!({})).status, 200);
            assert_eq!(client.post(&format!("plain/{name}"), &json!({ "a": 1 })).status, 204);
        }
        for base in ["secret/metadata", "plain"] {
            let keys =
                |answer: &Answer| answer.json()["data"]["keys"].as_array().cloned().unwrap_or_default();
            let scan =
                |path: &str| keys(&client.server.request("SCAN", &format!("{base}{path}"), root, None));
            assert_eq!(scan(""), all, "{base}");
            assert_eq!(scan("/b"), ["c/d", "c/e"], "{base}");
            assert_eq!(keys(&client.get(&format!("{base}/b/?scan=true"))), ["c/d", "c/e"], "{base}");
            let none = client.server.request("SCAN", &format!("{base}/none"), root, None);
            assert_eq!((none.status, &none.json()["data"]), (200, &json!({})), "{base}");
            for limit in 1..=7 {
                let (mut names, mut after) = (Vec::new(), String::new());
                loop {
                    let part = scan(&format!("?limit={limit}&after={after}"));
                    assert!(part.len() <= limit);
                    let Some(last) = part.last() else { break };
                    after = last.as_str().unwrap().replace('/', "%2F");
                    names.extend(part);
                }
                assert_eq!(names, all, "{base}, limit {limit}");
            }
        }
        assert_eq!(client.get("secret/metadata?list=true&scan=true").status, 400);
        for no_scan in ["secret/data/a", "cubbyhole"] {
            assert_eq!(client.server.request("SCAN", no_scan, root, None).status, 405, "{no_scan}");
        }
        let details =
            client.server.request("SCAN", "secret/detailed-metadata/b", root, None).json()["data"].clone();
        assert_eq!(details["keys"], json!(["c/d", "c/e"]));
        assert_eq!(details["key_info"]["c/d"]["current_version"], 1);
        let details =
            client.server.request("LIST", "secret/detailed-metadata", root, None).json()["data"].clone();
        assert_eq!(
            (&details["key_info"]["b/"], &details["key_info"]["f"]["current_version"]),
            (&json!({}), &json!(1))
        );
        assert_eq!(client.get("secret/detailed-metadata/f").status, 405);
        // Its own capability, and no other's.
        for (capability, status) in [("scan", 200), ("list", 403)] {
            let policy = format!("path \"secret/metadata/b/*\" {{\n  capabilities = [\"{capability}\"]\n}}");
            client.post("sys/policies/acl/p", &json!({ "policy": policy }));
            let made = client
                .post("auth/token/create", &json!({ "policies": ["p"], "no_default_policy": true }))
                .json();
            let token = made["auth"]["client_token"].as_str().unwrap();
            assert_eq!(
                client.server.request("SCAN", "secret/metadata/b", token, None).status,
                status,
                "{capability}"
            );
        }
    });
}
