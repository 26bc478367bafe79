//! Rotation of keys, and initialisations that are repeated.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, time::Duration};

use keyway_e2e::{Server, Site, within};
use serde_json::{Map, Value, json};

#[test]
fn secrets_of_all_keys_stay_readable_over_rotations_and_restarts() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    for number in 0..3 {
        let path = format!("secret/data/s{number}");
        assert_eq!(server.post(&path, &keys.root_token, &json!({ "data": { "n": number } })).status, 200);
        assert_eq!(server.post("sys/rotate", "", &json!({})).status, 403);
        let rotated = server.cli(&site, &keys.root_token, &["rotate"]);
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    }
    server.kill();
    let server = site.start();
    assert_eq!(server.post("sys/rotate", &keys.root_token, &json!({})).status, 503, "sealed");
    assert!(!server.unseal(&keys.shares[0]));
    for number in 0..3 {
        let read = server.get(&format!("secret/data/s{number}"), &keys.root_token);
        assert_eq!(read.json()["data"]["data"]["n"], number, "{}", read.text);
    }
}

#[test]
fn initialisation_whose_shares_were_lost_is_repeated_by_the_word() {
    let site = Site::new("sqlite");
    let server = site.start();
    let lost = server.init(1, 1);
    let refused = server.cli(&site, "", &["init", "--shares", "1", "--threshold", "1"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(5) && text.contains("keyway init --repeat"), "{text}");
    let made =
        server.cli(&site, "", &["init", "--repeat", "--shares", "1", "--threshold", "1", "--format", "json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(server.post("sys/unseal", "", &json!({ "key": lost.shares[0] })).status, 400);
    assert!(!server.unseal(made["keys"][0].as_str().unwrap()));
    assert_eq!(server.get("sys/mounts", &lost.root_token).status, 403);
    assert_eq!(server.get("sys/mounts", made["root_token"].as_str().unwrap()).status, 200);
    // After the first unseal, the initialisation cannot be repeated.
    let late = server.post("sys/init", "", &json!({ "repeat": true }));
    assert_eq!((late.status, late.error()), (400, "Keyway is already initialised".to_owned()));
}

fn reencryption(server: &Server, token: &str) -> Value {
    server.get("sys/reencrypt", token).json()["data"].clone()
}

/// The numbers of the keys that the records of secrets are sealed with, from the file itself.
fn sealing_keys(site: &Site) -> Vec<u32> {
    let database = rusqlite::Connection::open(site.path("data/keyway.db")).unwrap();
    let mut rows = database.prepare("SELECT key, value FROM entries").unwrap();
    let records = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let number = |bytes: &[u8]| bytes.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    let mut keys = Vec::new();
    for record in records {
        let (key, value): (Vec<u8>, Vec<u8>) = record.unwrap();
        if key.starts_with(b"v/") {
            keys.extend(number(&value[1..]));
        } else if key.starts_with(b"m/") {
            let length = number(&value[1..]).unwrap() as usize;
            keys.extend(number(&value[6..]));
            keys.extend(number(&value[5 + length + 1..]));
        }
    }
    keys
}

#[test]
fn reencryption_goes_on_after_kills_and_leaves_nothing_under_the_old_key() {
    const SECRETS: usize = 300;
    let site = Site::new("sqlite");
    let mut server = site.start();
    let keys = server.init_and_unseal();
    let root = &keys.root_token;
    let secrets: Map<String, Value> =
        (0..SECRETS).map(|n| (format!("s{n}"), json!({ "n": n.to_string() }))).collect();
    fs::write(site.path("many.json"), Value::from(secrets).to_string()).unwrap();
    for _ in 0..2 {
        let imported = server.cli(&site, root, &["kv", "import", "many.json", "secret/many"]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
    assert_eq!(server.post("sys/rotate", root, &json!({})).status, 204);
    assert_eq!(server.post("sys/reencrypt", root, &json!({})).json()["data"]["state"], "running");
    // Killed at once, and then after each part: after an unseal it continues by itself where it was.
    for _ in 0..3 {
        let seen = reencryption(&server, root)["seen"].as_u64().unwrap();
        server.kill();
        server = site.start();
        server.unseal(&keys.shares[0]);
        assert!(reencryption(&server, root)["seen"].as_u64().unwrap() >= seen, "it begins where it was");
        within(Duration::from_secs(60), || {
            let now = reencryption(&server, root);
            now["state"] == "done" || now["seen"].as_u64().unwrap() > seen
        });
    }
    within(Duration::from_secs(120), || reencryption(&server, root)["state"] == "done");
    let done = reencryption(&server, root);
    assert_eq!((&done["failed"], &done["key"]), (&json!(0), &json!(2)), "{done}");
    for n in [0, SECRETS / 2, SECRETS - 1] {
        for version in [1, 2] {
            let read = server.get(&format!("secret/data/many/s{n}?version={version}"), root);
            assert_eq!(read.json()["data"]["data"]["n"], n.to_string(), "{}", read.text);
        }
    }
    assert!(server.terminate());
    let keys = sealing_keys(&site);
    assert_eq!(keys.len(), SECRETS * 3, "metadata, the current value and the older one of each");
    assert!(keys.iter().all(|key| *key == 2));
}
