//! The second way to unseal: a password.

use keyway_e2e::{Server, Site, config};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";

fn allowing() -> String {
    format!("{}\n[seal]\npassword = true\n", config("sqlite"))
}

fn unseal(server: &Server, password: &str) -> u16 {
    server.post("sys/unseal", "", &json!({ "password": password })).status
}

#[test]
fn password_unseals_beside_the_shares_until_it_is_removed_or_the_keys_are_others() {
    let site = Site::new("sqlite");
    site.configure(&allowing());
    let server = site.start();
    let keys = server.init(3, 2);
    assert_eq!(unseal(&server, PASSWORD), 400, "there is none yet");
    for share in &keys.shares[..2] {
        server.unseal(share);
    }
    let root = &keys.root_token;
    assert_eq!(server.get("sys/unseal-password", root).json()["data"]["is_set"], false);
    let set = |text: &str| server.post("sys/unseal-password", root, &json!({ "password": text }));
    assert_eq!(set("short").status, 400);
    assert_eq!(set(PASSWORD).status, 204);
    assert_eq!(server.get("sys/unseal-password", root).json()["data"]["is_set"], true);
    assert_eq!(server.post("secret/data/a", root, &json!({ "data": { "b": "c" } })).status, 200);
    assert_eq!(server.post("sys/rotate", root, &json!({})).status, 204);
    server.kill();

    let server = site.start();
    let refused = server.post("sys/unseal", "", &json!({ "password": "correct horse batterz" }));
    assert!(refused.status == 400 && refused.error().contains("not the password"), "{}", refused.text);
    assert_eq!(server.get("sys/health", "").status, 503);
    let unsealed = server.cli_with_input(&site, "", &["unseal", "--password"], &format!("{PASSWORD}\n"));
    assert!(unsealed.status.success(), "{}", String::from_utf8_lossy(&unsealed.stderr));
    assert_eq!(server.get("secret/data/a", root).json()["data"]["data"]["b"], "c");
    let on_disk = |needle: &str| {
        let data = std::fs::read(site.path("data").join("keyway.db")).unwrap();
        data.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    assert!(!on_disk(PASSWORD) && !site.log_text().contains(PASSWORD));
    // The shares go on unsealing, and sealing forgets what the password has opened.
    assert_eq!(server.post("sys/seal", root, &json!({})).status, 204);
    assert!(server.unseal(&keys.shares[2]) && !server.unseal(&keys.shares[0]));

    // Other keys: the password is gone with the former ones.
    let wanted = json!({ "secret_shares": 1, "secret_threshold": 1, "require_verification": false });
    let begun = server.post("sys/rekey/init", root, &wanted).json();
    let nonce = begun["nonce"].clone();
    let mut rekeyed = json!(null);
    for share in &keys.shares[..2] {
        rekeyed = server.post("sys/rekey/update", root, &json!({ "key": share, "nonce": nonce })).json();
    }
    assert_eq!(rekeyed["complete"], true, "{rekeyed}");
    assert_eq!(server.get("sys/unseal-password", root).json()["data"]["is_set"], false);
    assert_eq!(server.post("sys/seal", root, &json!({})).status, 204);
    assert_eq!(unseal(&server, PASSWORD), 400);
    assert!(!server.unseal(rekeyed["keys"][0].as_str().unwrap()));
    drop(server);

    // Another server, for the number of passwords that a client may try.
    let server = site.start();
    assert!(!server.unseal(rekeyed["keys"][0].as_str().unwrap()));
    let put = |text: &str| server.post("sys/unseal-password", root, &json!({ "password": text })).status;
    assert_eq!(put(PASSWORD), 204);
    assert_eq!(server.request("DELETE", "sys/unseal-password", root, None).status, 204);
    assert_eq!(server.post("sys/seal", root, &json!({})).status, 204);
    assert_eq!(unseal(&server, PASSWORD), 400, "it was removed");
    let many: Vec<u16> = (0..10).map(|_| unseal(&server, PASSWORD)).collect();
    assert!(many.contains(&429), "{many:?}");
}

#[test]
fn password_counts_only_where_the_configuration_says_so() {
    let site = Site::new("sqlite");
    site.configure(&allowing());
    let server = site.start();
    let keys = server.init_and_unseal();
    let root = &keys.root_token;
    let set = server.post("sys/unseal-password", root, &json!({ "password": PASSWORD }));
    assert_eq!(set.status, 204);
    assert!(server.terminate());
    site.configure(&config("sqlite"));
    let server = site.start();
    let refused = server.post("sys/unseal", "", &json!({ "password": PASSWORD }));
    assert!(refused.status == 400 && refused.error().contains("[seal] password = true"), "{}", refused.text);
    assert!(!server.unseal(&keys.shares[0]));
    let refused = server.post("sys/unseal-password", root, &json!({ "password": PASSWORD }));
    assert_eq!(refused.status, 400);
    assert_eq!(server.request("DELETE", "sys/unseal-password", root, None).status, 204);
}
