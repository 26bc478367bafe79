//! Rotation of keys, and initialisations that are repeated.

use keyway_e2e::Site;
use serde_json::json;

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
    // Now that somebody depends on the keys, never again.
    let late = server.post("sys/init", "", &json!({ "repeat": true }));
    assert_eq!((late.status, late.error()), (400, "Keyway is already initialised".to_owned()));
}
