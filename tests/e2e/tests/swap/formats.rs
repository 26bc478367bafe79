//! Data formats: a version that knows a newer format opens the store as it is. The upgrade is a separate step
//! after a backup, and only that backup leads back.

use std::{fs, path::PathBuf};

use keyway_e2e::{
    Keys, Server, Site,
    load::Load,
    plugins::{self, said},
};
use rusqlite::Connection;
use serde_json::{Value, json};

/// A server with a store of format 1 and a plugin that knows no other, with a version at hand that knows format 2.
fn begin(dies_at: Option<&str>) -> (Site, Server, Keys) {
    let site = plugins::site();
    let old = plugins::patched(&plugins::read("sqlite"), "\"data_format\":2", "\"data_format\":1");
    plugins::put(&site, "sqlite", &old);
    plugins::lock(&site);
    fs::create_dir(site.path("data")).unwrap();
    make_store(&site);
    let step = format!("KEYWAY_DIES_AT={}", dies_at.unwrap_or_default());
    let server = site.start_under(&["env", &step], &[]);
    let keys = server.init_and_unseal();
    plugins::ship(&site, "libkeyway_sqlite-1.1.0.so", &plugins::version("sqlite", "1.1.0"));
    plugins::lock(&site);
    (site, server, keys)
}

/// An empty one of format 1. The library that stands for the old version is the new one beneath, and would
/// make one of format 2.
fn make_store(site: &Site) {
    let store = Connection::open(site.path("data/keyway.db")).unwrap();
    store.execute_batch(include_str!("../../../faults/fixtures/format-1.sql")).unwrap();
    store.execute_batch("DELETE FROM records; DELETE FROM keyspaces").unwrap();
}

fn post(server: &Server, token: &str, what: &str) -> Value {
    let answer = server.post(&format!("sys/backends/main/{what}"), token, &json!({}));
    assert_eq!(answer.status, 200, "{what}: {}", answer.text);
    answer.json()["data"].clone()
}

#[test]
fn format_is_upgraded_behind_a_backup_and_never_by_itself() {
    let (site, server, keys) = begin(None);
    let token = keys.root_token.as_str();
    let load = Load::begin(&server.address, token, 8);
    load.go_on(50);
    let swapped = post(&server, token, "swap");
    let versions = |done: &Value| (done["from"]["version"].clone(), done["to"]["version"].clone());
    assert_eq!(versions(&swapped), (json!("1.0.0"), json!("1.1.0")), "{swapped}");
    assert_eq!(swapped["to"]["data_format"], 1, "opening migrates nothing: {swapped}");
    load.go_on(50);
    // As long as the format is the old one, the way back is open.
    let back = post(&server, token, "rollback");
    assert_eq!(versions(&back), (json!("1.1.0"), json!("1.0.0")), "{back}");
    load.go_on(50);
    post(&server, token, "swap");
    let upgraded = post(&server, token, "upgrade");
    assert_eq!((&upgraded["from_data_format"], &upgraded["to_data_format"]), (&json!(1), &json!(2)));
    load.go_on(50);
    let outcome = load.end();
    assert_eq!(outcome.failures, [""; 0]);
    let backup = PathBuf::from(upgraded["backup"].as_str().unwrap());
    assert!(backup.starts_with(site.path("data/backups")), "{upgraded}");
    assert!(upgraded["backup_records"].as_u64().unwrap() > 10, "{upgraded}");

    let again = server.post("sys/backends/main/upgrade", token, &json!({}));
    assert!(again.error().contains("newest already"), "{}", again.text);
    let refused = server.post("sys/backends/main/rollback", token, &json!({}));
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.error().contains("it knows data formats up to 1, and the store is in format 2"));
    assert!(refused.error().contains(backup.to_str().unwrap()), "{}", refused.text);
    assert_eq!(server.get("sys/backends/main", token).json()["data"]["version"], "1.1.0");
    outcome.check(10, |path, version| read(&server, token, path, version));

    // Nor does a start take a version that cannot read the store, even if the newer file is gone.
    assert!(server.terminate());
    fs::remove_file(site.path("plugins/libkeyway_sqlite-1.1.0.so")).unwrap();
    let server = site.start();
    server.unseal(&keys.shares[0]);
    let backend = server.get("sys/backends/main", token).json()["data"].clone();
    assert_eq!((&backend["version"], &backend["health"]["writable"]), (&json!("1.1.0"), &json!(true)));
    assert!(backend["fallback"].as_str().unwrap().contains("data formats up to 1"), "{backend}");
    assert!(server.terminate());
}

#[test]
fn store_goes_back_over_an_upgrade_by_its_backup_or_its_copy() {
    let (site, server, keys) = begin(None);
    let token = keys.root_token.as_str();
    assert_eq!(server.post("secret/data/before", token, &json!({ "data": { "value": 1 } })).status, 200);
    let body = json!({ "upgrade": true });
    let swapped = server.post("sys/backends/main/swap", token, &body).json()["data"].clone();
    assert_eq!(swapped["upgrade"]["to_data_format"], 2, "{swapped}");
    let backup = swapped["upgrade"]["backup"].as_str().unwrap().to_owned();
    assert_eq!(server.post("secret/data/behind", token, &json!({ "data": { "value": 2 } })).status, 200);
    let restore = |more: &[&str]| {
        let words = ["backend", "restore", "main", &backup, "--config", "keyway.toml"];
        site.run(&[&words[..], more].concat())
    };
    let refused = said(&restore(&[]));
    assert!(refused.contains("in use by process"), "{refused}");
    assert!(server.terminate());
    let refused = said(&restore(&[]));
    assert!(refused.contains("only with --replace"), "{refused}");
    let away = |to: &str| {
        fs::create_dir(site.path(to)).unwrap();
        for file in ["keyway.db", "keyway.db-wal", "keyway.db-shm"] {
            // An error is ignored: not all of these files exist.
            let _none = fs::rename(site.path("data").join(file), site.path(to).join(file));
        }
    };
    // Back to the records, with the new version and its format.
    away("upgraded");
    let restored = restore(&[]);
    assert!(restored.status.success(), "{}", said(&restored));
    let check = |version: &str| {
        let server = site.start();
        server.unseal(&keys.shares[0]);
        let backend = server.get("sys/backends/main", token).json()["data"].clone();
        assert_eq!((&backend["version"], &backend["fallback"]), (&json!(version), &Value::Null), "{backend}");
        assert_eq!(read(&server, token, "before", 0)["data"]["value"], 1);
        assert_eq!(server.get("secret/data/behind", token).status, 404);
        assert!(server.terminate());
    };
    check("1.1.0");
    // Back to the old version, by the copy that the plugin has made of its file.
    away("restored");
    fs::copy(site.path("data/keyway.db.format-1"), site.path("data/keyway.db")).unwrap();
    let pinned = plugins::configuration(&site).replace("\"sqlite\"", "\"sqlite@=1.0.0\"");
    site.configure(&pinned);
    let adopted = site.run(&["backend", "adopt", "main", "--config", "keyway.toml"]);
    assert!(said(&adopted).contains("sqlite 1.0.0"), "{}", said(&adopted));
    check("1.0.0");
}

#[test]
fn server_killed_at_any_step_of_an_upgrade_serves_one_complete_store() {
    for (step, format) in [("backed up", 1), ("upgraded", 2)] {
        let (site, server, keys) = begin(Some(step));
        let token = keys.root_token.as_str();
        post(&server, token, "swap");
        let load = Load::begin(&server.address, token, 4);
        load.go_on(40);
        let upgraded = server.try_post("sys/backends/main/upgrade", token, &json!({}));
        assert!(upgraded.is_err(), "{step}: the server lives");
        let outcome = load.end();
        drop(server);
        let server = site.start();
        server.unseal(&keys.shares[0]);
        let backend = server.get("sys/backends/main", token).json()["data"].clone();
        assert_eq!(backend["capabilities"]["data_format"], format, "{step}: {backend}");
        outcome.check_after_a_crash(10, |path, version| read(&server, token, path, version));
        assert!(server.terminate());
    }
}

fn read(server: &Server, token: &str, path: &str, version: u64) -> Value {
    server.get(&format!("secret/data/{path}?version={version}"), token).json()["data"].clone()
}
