//! Devices that are added and removed while the server runs.

use std::{fs, path::Path, time::Duration};

use keyway_e2e::{Site, within};
use serde_json::{Value, json};

use crate::{file, lines, log, put, start, verify};

#[test]
fn devices_are_added_and_removed_where_the_configuration_says_so() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let root = &keys.root_token;
    let added = site.path("trail").join("added.log");
    let options = |path: &Path| json!({ "type": "file", "options": { "file_path": path } });
    let refused = |name: &str, body: &Value, word: &str| {
        let answer = server.post(&format!("sys/audit/{name}"), root, body);
        assert!(answer.status == 400 && answer.error().contains(word), "{}: {}", answer.status, answer.text);
    };
    let database = site.path("data").join("keyway.db");
    refused("b", &options(&database), "holds data");
    fs::write(site.path("notes.txt"), "something else").unwrap();
    refused("b", &options(&site.path("notes.txt")), "something else than an audit log");
    assert_eq!(fs::read_to_string(site.path("notes.txt")).unwrap(), "something else");
    std::os::unix::fs::symlink(site.path("notes.txt"), site.path("link.log")).unwrap();
    refused("b", &options(&site.path("link.log")), "cannot be used");
    refused("b", &options(&log(&site, "a")), "another process writes to it");
    refused("b", &options(&site.path("missing").join("a.log")), "cannot be used");
    refused("b", &json!({ "type": "syslog" }), "syslog");
    refused("b", &json!({ "type": "file", "local": true, "options": { "file_path": added } }), "local");
    refused("a", &options(&added), "already");
    refused("b", &json!({ "type": "socket", "options": { "address": "127.0.0.1:1" } }), "cannot be used");

    assert_eq!(server.post("sys/audit/b", root, &options(&added)).status, 204);
    let all = server.get("sys/audit", root).json();
    assert_eq!(all["data"]["b/"]["options"]["file_path"], json!(added));
    assert_eq!((&all["data"]["a/"]["configured"], &all["b/"]["type"]), (&json!(true), &json!("file")));
    assert_eq!(put(&server, &keys, "x"), 200);
    // Another device may have been the first to accept a line; this one has it a moment later.
    let soon = Duration::from_secs(20);
    let of_x = || lines(&added).iter().filter(|line| line["request"]["path"] == "secret/data/x").count();
    within(soon, || of_x() == 2);
    server.kill();
    let server = site.start();
    let sealed = lines(&added).len();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "y"), 200);
    // It is there again once the server is unsealed.
    within(soon, || lines(&added).len() >= sealed + 2);
    let (holds, said) = verify(&site, &[&added]);
    assert!(holds, "{said}");
    let refused = server.request("DELETE", "sys/audit/a", root, None);
    assert!(refused.status == 400 && refused.error().contains("configuration"), "{}", refused.text);
    assert_eq!(server.request("DELETE", "sys/audit/b", root, None).status, 204);
    assert_eq!(server.request("DELETE", "sys/audit/b", root, None).status, 204);
    // What it was told last is that it was removed.
    let is_last = |line: &Value| line["request"]["path"] == "sys/audit/b" && line["type"] == "response";
    within(soon, || lines(&added).last().is_some_and(is_last));
    let before = lines(&added).len();
    assert_eq!(put(&server, &keys, "z"), 200);
    assert_eq!(lines(&added).len(), before);
}

#[test]
fn api_adds_no_device_unless_the_configuration_says_so() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let body = json!({ "type": "file", "options": { "file_path": site.path("b.log") } });
    let refused = server.post("sys/audit/b", &keys.root_token, &body);
    assert!(refused.status == 400 && refused.error().contains("api = true"), "{}", refused.text);
    assert!(!site.path("b.log").exists());
    assert_eq!(server.get("sys/audit", &keys.root_token).json()["data"], json!({}));
}
