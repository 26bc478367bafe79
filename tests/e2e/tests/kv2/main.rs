//! KV version 2 beyond writes and reads: settings, patches, versions by number, metadata, subkeys and parts
//! of lists. The test of hvac has the ordinary cases; these are requests that hvac does not send.

mod openbao;

use keyway_e2e::{Answer, Keys, Server, Site};
use rusqlite::Connection;
use serde_json::{Value, json};

fn on_both(test: impl Fn(&Client<'_>)) {
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        let server = site.start();
        let keys = server.init_and_unseal();
        test(&Client { server: &server, keys: &keys });
    }
}

struct Client<'a> {
    server: &'a Server,
    keys: &'a Keys,
}

impl Client<'_> {
    fn post(&self, path: &str, body: &Value) -> Answer {
        self.server.post(path, &self.keys.root_token, body)
    }

    fn put(&self, path: &str, data: &Value) -> Answer {
        self.post(&format!("secret/data/{path}"), &json!({ "data": data }))
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(path, &self.keys.root_token)
    }

    fn patch(&self, path: &str, kind: &str, body: &str) -> Answer {
        let headers = [("X-Vault-Token", self.keys.root_token.as_str()), ("Content-Type", kind)];
        self.server.request_with("PATCH", path, &headers, Some(body))
    }
}

const MERGE: &str = "application/merge-patch+json";

#[test]
fn patch_merges_and_keeps_digits() {
    on_both(|client| {
        let body = r#"{"data":{"n":12345678901234567890123,"gone":1,"in":{"a":1.10}}}"#;
        let written = client.server.request("POST", "secret/data/p", &client.keys.root_token, Some(body));
        assert_eq!(written.status, 200);
        let patch = r#"{"data":{"gone":null,"in":{"b":true}},"options":{"cas":1}}"#;
        let patched = client.patch("secret/data/p", "application/merge-patch+json; charset=utf-8", patch);
        assert_eq!(
            (patched.status, &patched.json()["data"]["version"]),
            (200, &json!(2)),
            "{}",
            patched.text
        );
        let read = client.get("secret/data/p");
        assert!(
            read.text.contains(r#"{"n":12345678901234567890123,"in":{"a":1.10,"b":true}}"#),
            "{}",
            read.text
        );
        assert_eq!(client.patch("secret/data/p", MERGE, patch).status, 400, "a stale version");

        for kind in ["application/json", "text/plain", "application/json-patch+json", ""] {
            assert_eq!(client.patch("secret/data/p", kind, r#"{"data":{}}"#).status, 415, "{kind:?}");
        }
        assert_eq!(client.patch("secret/data/p", MERGE, r#"{"data":[]}"#).status, 400);
        assert_eq!(client.patch("secret/data/p", MERGE, "{}").status, 400);
        let missing = client.patch("secret/data/none", MERGE, r#"{"data":{}}"#);
        assert_eq!((missing.status, missing.json()), (404, json!({ "errors": [] })));
        assert_eq!(
            client.server.request("DELETE", "secret/data/p", &client.keys.root_token, None).status,
            204
        );
        let deleted = client.patch("secret/data/p", MERGE, r#"{"data":{}}"#);
        let found = deleted.json()["data"].clone();
        assert_eq!((deleted.status, &found["version"], &found["destroyed"]), (404, &json!(2), &json!(false)));
        assert_ne!(found["deletion_time"], "", "{found}");
        assert_eq!(
            client.get("secret/metadata/p").json()["data"]["current_version"],
            2,
            "nothing was written"
        );
    });
}

#[test]
fn metadata_is_patched_name_by_name() {
    on_both(|client| {
        let patch = r#"{"max_versions":1}"#;
        assert_eq!(client.patch("secret/metadata/m", MERGE, patch).status, 404, "no metadata to patch");
        let made =
            json!({ "custom_metadata": { "a": "1", "b": "2" }, "max_versions": 5, "cas_required": true });
        assert_eq!(client.post("secret/metadata/m", &made).status, 204);
        let patch = r#"{"custom_metadata":{"a":null,"c":"3"},"cas_required":null,"delete_version_after":90}"#;
        assert_eq!(client.patch("secret/metadata/m", MERGE, patch).status, 204);
        let metadata = client.get("secret/metadata/m").json()["data"].clone();
        assert_eq!(metadata["custom_metadata"], json!({ "b": "2", "c": "3" }));
        assert_eq!(metadata["max_versions"], 5);
        assert_eq!(metadata["cas_required"], false);
        assert_eq!(metadata["delete_version_after"], "1m30s");
        assert_eq!(client.patch("secret/metadata/m", "application/json", patch).status, 415);
        assert_eq!(client.patch("secret/metadata/m", MERGE, r#"{"custom_metadata":null}"#).status, 204);
        assert_eq!(client.get("secret/metadata/m").json()["data"]["custom_metadata"], Value::Null);

        for wrong in [
            json!({ "max_versions": "many" }),
            json!({ "max_versions": 1_000_000 }),
            json!({ "cas_required": "yes" }),
            json!({ "delete_version_after": "1 day" }),
            json!({ "custom_metadata": "a=b" }),
            json!({ "custom_metadata": { "a": {} } }),
            json!({ "custom_metadata": { "a": ["x"] } }),
            json!({ "custom_metadata": { "a": "x\u{200b}" } }),
            json!({ "custom_metadata": { "a\t": "x" } }),
            json!({ "delete_version_after": "-1s" }),
            json!({ "delete_version_after": -5 }),
            json!({ "custom_metadata": { "a": null } }),
            json!({ "custom_metadata": { "": "x" } }),
            json!({ "custom_metadata": { "a": "x".repeat(513) } }),
            json!({ "custom_metadata": (0..65).map(|n| (n.to_string(), "x".into())).collect::<serde_json::Map<_, _>>() }),
        ] {
            let answer = client.post("secret/metadata/m", &wrong);
            assert_eq!(answer.status, 400, "{wrong}: {}", answer.text);
        }
    });
}

#[test]
fn list_in_parts_is_the_whole_list() {
    on_both(|client| {
        for path in ["a", "a/x", "a-b", "b", "c/y/z", "c/w", "d"] {
            assert_eq!(client.put(path, &json!({})).status, 200);
        }
        let list = |query: &str| {
            let answer = client.get(&format!("secret/metadata/?list=true{query}"));
            assert!(answer.status == 200 || answer.status == 404, "{}", answer.text);
            answer.json()["data"]["keys"].as_array().cloned().unwrap_or_default()
        };
        let all = ["a", "a-b", "a/", "b", "c/", "d"];
        assert_eq!(list(""), all);
        for limit in 1..=7 {
            let (mut names, mut after) = (Vec::new(), String::new());
            loop {
                let part = list(&format!("&limit={limit}&after={after}"));
                assert!(part.len() <= limit);
                let Some(last) = part.last() else { break };
                after = last.as_str().unwrap().replace('/', "%2F");
                names.extend(part);
            }
            assert_eq!(names, all, "limit {limit}");
        }
        assert_eq!(list("&after=a-a"), ["a-b", "a/", "b", "c/", "d"], "a name that is not there");
        assert_eq!(list("&after=a/x"), ["b", "c/", "d"], "inside a folder");
        assert_eq!(list("&limit=-1").len(), all.len());
        assert_eq!(list("&after=zzz"), Vec::<Value>::new());
        assert_eq!(client.get("secret/metadata/?list=true&limit=x").status, 400);
    });
}

#[test]
fn subkeys_show_names_and_no_values() {
    on_both(|client| {
        client.put("s", &json!({ "a": "hidden", "b": { "c": { "d": 1 } } }));
        let all = client.get("secret/subkeys/s");
        assert_eq!(all.json()["data"]["subkeys"], json!({ "a": null, "b": { "c": { "d": null } } }));
        assert_eq!(all.json()["data"]["metadata"]["version"], 1);
        assert!(!all.text.contains("hidden"));
        let one = client.get("secret/subkeys/s?depth=1&version=1");
        assert_eq!(one.json()["data"]["subkeys"], json!({ "a": null, "b": null }));
        assert_eq!(client.get("secret/subkeys/s?depth=x").status, 400);
        assert_eq!(client.get("secret/subkeys/none").status, 404);
        client.post("secret/destroy/s", &json!({ "versions": [1] }));
        let destroyed = client.get("secret/subkeys/s");
        assert_eq!(
            (destroyed.status, &destroyed.json()["data"]["metadata"]["destroyed"]),
            (404, &json!(true))
        );
    });
}

#[test]
fn ambiguous_and_wrong_bodies_are_refused() {
    on_both(|client| {
        for body in [
            r#"{"data":{"a":1,"a":2}}"#,
            r#"{"data":{"x":{"a":1,"\u0061":2}}}"#,
            r#"{"data":{},"data":{}}"#,
            r#"{"data":{},"options":{"cas":0,"cas":1}}"#,
            r#"{"data":{},"options":{"cas":"one"}}"#,
            r#"{"data":"text"}"#,
            r#"{"data":null}"#,
            "[]",
            "{",
        ] {
            let answer = client.server.request("POST", "secret/data/w", &client.keys.root_token, Some(body));
            assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        }
        for body in [json!({}), json!({ "versions": ["one"] }), json!({ "versions": {} })] {
            assert_eq!(client.post("secret/destroy/w", &body).status, 400, "{body}");
        }
        for (method, path) in [
            ("GET", "secret/delete/w"),
            ("DELETE", "secret/destroy/w"),
            ("POST", "secret/subkeys/w"),
            ("DELETE", "secret/config"),
            ("PATCH", "secret/undelete/w"),
        ] {
            let answer = client.server.request(method, path, &client.keys.root_token, None);
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
        }
        assert_eq!(client.get("secret/metadata/w").status, 404, "nothing was written");
    });
}

#[test]
fn what_vaults_command_line_sends_as_text_is_taken_for_what_it_says() {
    on_both(|client| {
        let settings = json!({ "max_versions": "7", "cas_required": "true", "delete_version_after": "30d" });
        assert_eq!(client.post("secret/config", &settings).status, 204);
        let read = client.get("secret/config").json()["data"].clone();
        assert_eq!(
            read,
            json!({ "max_versions": 7, "cas_required": true, "delete_version_after": "720h0m0s", "metadata_cas_required": false })
        );
        let put = json!({ "data": { "a": 1 }, "options": { "cas": "0" } });
        assert_eq!(client.post("secret/data/t", &put).status, 200);
        let patch = r#"{"data":{"b":2},"options":{"cas":1,"method":"patch"}}"#;
        assert_eq!(client.patch("secret/data/t", MERGE, patch).status, 200);
        assert_eq!(client.post("secret/destroy/t", &json!({ "versions": "1,2" })).status, 204);
        let versions = client.get("secret/metadata/t").json()["data"]["versions"].clone();
        assert!(versions["1"]["destroyed"] == true && versions["2"]["destroyed"] == true, "{versions}");
    });
}

#[test]
fn settings_of_a_mount_outlive_a_restart() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let settings = json!({ "max_versions": 3, "delete_version_after": "48h" });
    assert_eq!(server.post("secret/config", &keys.root_token, &settings).status, 204);
    server.kill();
    let server = site.start();
    server.unseal(&keys.shares[0]);
    let read = server.get("secret/config", &keys.root_token).json()["data"].clone();
    let expected = json!({ "max_versions": 3, "cas_required": false, "delete_version_after": "48h0m0s", "metadata_cas_required": false });
    assert_eq!(read, expected);
}

#[test]
fn pruned_and_destroyed_versions_leave_the_store() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let client = Client { server: &server, keys: &keys };
    client.post("secret/config", &json!({ "max_versions": 2 }));
    let entries = || -> i64 {
        let database = Connection::open(site.path("data/keyway.db")).unwrap();
        let sql = "SELECT count(*) FROM entries WHERE substr(key, 1, 2) = x'762f'";
        database.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    for number in 0..5 {
        client.put("v", &json!({ "n": number }));
    }
    assert_eq!(entries(), 1, "one older version");
    client.post("secret/destroy/v", &json!({ "versions": [4] }));
    assert_eq!(entries(), 0);
    client.post("secret/destroy/v", &json!({ "versions": [5] }));
    client.put("v", &json!({ "n": 6 }));
    assert_eq!(entries(), 0, "a destroyed version is not moved aside");
}
