//! What the holders of the shares do together, over HTTP: other keys, and a root token.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use keyway_e2e::{Answer, Keys, Server, Site, config};
use serde_json::{Value, json};

/// A server whose holders of shares need no token.
fn site() -> (Site, Server, Keys) {
    site_with("[seal]\nopen_ceremonies = true\n")
}

fn site_with(more: &str) -> (Site, Server, Keys) {
    let site = Site::new("sqlite");
    site.configure(&format!("{}\n{more}", config("sqlite")));
    let server = site.start();
    let keys = server.init(3, 2);
    assert!(server.unseal(&keys.shares[0]));
    assert!(!server.unseal(&keys.shares[1]));
    (site, server, keys)
}

fn give(server: &Server, path: &str, nonce: &str, share: &str) -> Answer {
    server.post(path, "", &json!({ "key": share, "nonce": nonce }))
}

fn begin(server: &Server, path: &str, body: &Value) -> String {
    let begun = server.post(path, "", body);
    assert_eq!(begun.status, 200, "{}", begun.text);
    begun.json()["nonce"].as_str().unwrap().to_owned()
}

fn shares(answer: &Answer) -> Vec<String> {
    let keys = answer.json()["keys"].clone();
    keys.as_array().unwrap().iter().map(|share| share.as_str().unwrap().to_owned()).collect()
}

#[test]
fn old_shares_are_in_force_until_the_new_ones_were_given_back_and_dead_behind_that() {
    let (site, server, keys) = site();
    let token = &keys.root_token;
    assert_eq!(server.post("secret/data/a", token, &json!({ "data": { "n": 1 } })).status, 200);
    let nonce = begin(&server, "sys/rekey/init", &json!({ "secret_shares": 5, "secret_threshold": 3 }));
    let again = server.post("sys/rekey/init", "", &json!({}));
    assert_eq!((again.status, again.error().contains("in progress")), (400, true));
    // Wrong shares do not change the progress.
    let wrong = format!("{}00", &keys.shares[0][..64]);
    assert_eq!(give(&server, "sys/rekey/update", &nonce, &wrong).status, 400);
    assert_eq!(give(&server, "sys/rekey/update", "other", &keys.shares[0]).status, 400);
    for _ in 0..2 {
        let going = give(&server, "sys/rekey/update", &nonce, &keys.shares[0]).json();
        assert_eq!((going["progress"].clone(), going["required"].clone()), (json!(1), json!(2)));
    }
    let made = give(&server, "sys/rekey/update", &nonce, &keys.shares[2]);
    let told = made.json();
    assert_eq!((told["complete"].clone(), told["verification_required"].clone()), (json!(true), json!(true)));
    let (new, verification) = (shares(&made), told["verification_nonce"].as_str().unwrap().to_owned());
    assert_eq!(new.len(), 5);
    // Killed now, nothing has changed.
    server.kill();
    let server = site.start();
    assert_eq!(server.post("sys/unseal", "", &json!({ "key": new[0] })).status, 400);
    assert!(server.unseal(&keys.shares[1]));
    assert!(!server.unseal(&keys.shares[2]));
    assert_eq!(give(&server, "sys/rekey/verify", &verification, &new[0]).status, 400);
    // Once more, to the end.
    let nonce = begin(&server, "sys/rekey/init", &json!({ "secret_shares": 5, "secret_threshold": 3 }));
    give(&server, "sys/rekey/update", &nonce, &keys.shares[0]);
    let made = give(&server, "sys/rekey/update", &nonce, &keys.shares[1]);
    let (new, told) = (shares(&made), made.json());
    let verification = told["verification_nonce"].as_str().unwrap();
    assert_eq!(give(&server, "sys/rekey/verify", verification, &keys.shares[0]).status, 400, "an old share");
    for (number, share) in new.iter().take(2).enumerate() {
        let going = give(&server, "sys/rekey/verify", verification, share).json();
        assert_eq!((going["progress"].clone(), going["complete"].clone()), (json!(number + 1), json!(false)));
    }
    let done = give(&server, "sys/rekey/verify", verification, &new[4]).json();
    assert_eq!(done["complete"], true);
    assert_eq!(server.get("secret/data/a", token).json()["data"]["data"]["n"], 1);
    assert_eq!(server.post("secret/data/a", token, &json!({ "data": { "n": 2 } })).status, 200);
    assert!(server.terminate());
    let server = site.start();
    for old in &keys.shares {
        let refused = server.post("sys/unseal", "", &json!({ "key": old }));
        assert_eq!((refused.status, refused.error().contains("not an unseal share")), (400, true));
    }
    for (number, share) in new[1..4].iter().enumerate() {
        assert_eq!(server.unseal(share), number < 2);
    }
    assert_eq!(server.get("secret/data/a", token).json()["data"]["data"]["n"], 2);
    assert_eq!(server.get("sys/seal-status", "").json()["n"], 5);
}

#[test]
fn client_that_wants_no_verification_has_its_shares_in_force_at_once() {
    let (_site, server, keys) = site();
    let body = json!({ "secret_shares": 1, "secret_threshold": 1, "require_verification": false });
    let refused = server.post("sys/rekey/init", "", &body);
    assert_eq!(
        (refused.status, refused.error().contains("sudo")),
        (403, true),
        "a stranger cannot choose that"
    );
    let begun = server.post("sys/rekey/init", &keys.root_token, &body).json();
    let nonce = begun["nonce"].as_str().unwrap();
    give(&server, "sys/rekey/update", nonce, &keys.shares[0]);
    let stranger = server.request("DELETE", "sys/rekey/init", "", None);
    assert_eq!(stranger.status, 403, "nor give up what the holders have begun");
    let made = give(&server, "sys/rekey/update", nonce, &keys.shares[1]);
    assert_eq!(made.json()["verification_required"], false);
    // Whose answer was lost asks again, with a share that has led to it.
    assert_eq!(give(&server, "sys/rekey/update", nonce, &keys.shares[2]).status, 400);
    assert_eq!(shares(&give(&server, "sys/rekey/update", nonce, &keys.shares[0])), shares(&made));
    assert_eq!(server.get("sys/rekey/init", "").json()["started"], false);
    assert_eq!(server.post("sys/seal", &keys.root_token, &json!({})).status, 204);
    assert_eq!(server.post("sys/unseal", "", &json!({ "key": keys.shares[0] })).status, 400);
    assert!(!server.unseal(&shares(&made)[0]));
    for refused in [
        json!({ "secret_shares": 5, "secret_threshold": 6 }),
        json!({ "pgp_keys": ["x"], "secret_shares": 1, "secret_threshold": 1 }),
        json!({ "backup": true }),
        json!({ "secret_shares": -1 }),
    ] {
        assert_eq!(server.post("sys/rekey/init", "", &refused).status, 400, "{refused}");
    }
}

#[test]
fn holders_of_the_shares_make_a_root_token_that_only_the_pad_uncovers() {
    let (_site, server, keys) = site();
    let revoked = server.post("auth/token/revoke-self", &keys.root_token, &json!({}));
    assert_eq!(revoked.status, 204);
    assert_eq!(server.get("sys/mounts", &keys.root_token).status, 403, "the root token is revoked");
    assert_eq!(server.post("sys/generate-root/attempt", "", &json!({ "otp": "short" })).status, 400);
    assert_eq!(server.post("sys/generate-root/attempt", "", &json!({ "pgp_key": "x" })).status, 400);
    let begun = server.post("sys/generate-root/attempt", "", &json!({})).json();
    let (nonce, pad) = (begun["nonce"].as_str().unwrap(), begun["otp"].as_str().unwrap().to_owned());
    assert_eq!(begun["otp_length"], pad.len());
    let status = server.get("sys/generate-root/attempt", "").json();
    assert_eq!((status["started"].clone(), status["otp"].clone()), (json!(true), json!("")));
    give(&server, "sys/generate-root/update", nonce, &keys.shares[0]);
    assert_eq!(server.request("DELETE", "sys/generate-root/attempt", "", None).status, 403);
    let done = give(&server, "sys/generate-root/update", nonce, &keys.shares[1]).json();
    assert_eq!((done["complete"].clone(), done["progress"].clone()), (json!(true), json!(2)));
    let hidden = done["encoded_token"].as_str().unwrap();
    let hidden = data_encoding::BASE64_NOPAD.decode(hidden.as_bytes()).unwrap();
    let token: Vec<u8> = hidden.iter().zip(pad.bytes()).map(|(byte, pad)| byte ^ pad).collect();
    let token = String::from_utf8(token).unwrap();
    assert_eq!(server.get("sys/mounts", &token).status, 200);
    assert_eq!(server.get("sys/generate-root/attempt", "").json()["started"], false);
    // A seal ends ceremonies in progress.
    let begun = server.post("sys/generate-root/attempt", "", &json!({})).json();
    assert_eq!(server.post("sys/seal", &token, &json!({})).status, 204);
    let refused =
        give(&server, "sys/generate-root/update", begun["nonce"].as_str().unwrap(), &keys.shares[0]);
    assert_eq!(refused.status, 503);
}

/// The ceremonies' paths: what begins one, and what takes a share.
const CEREMONIES: [(&str, &str); 4] = [
    ("sys/rekey/init", "sys/rekey/update"),
    ("sys/rotate/root/init", "sys/rotate/root/update"),
    ("sys/generate-root/attempt", "sys/generate-root/update"),
    ("sys/generate-root-token/attempt", "sys/generate-root-token/update"),
];

#[test]
fn ceremonies_ask_for_a_token_that_may_unless_the_configuration_opens_them() {
    let (_site, server, keys) = site_with("");
    let root = &keys.root_token;
    let token = |rules: &str| {
        assert_eq!(server.post("sys/policies/acl/p", root, &json!({ "policy": rules })).status, 204);
        let made = server.post("auth/token/create", root, &json!({ "policies": ["p"] })).json();
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let powerless = token("path \"x\" { capabilities = [\"read\"] }");
    for (begins, takes) in CEREMONIES {
        for token in ["", &powerless, "kw.unknown"] {
            let share = json!({ "key": keys.shares[0], "nonce": "x" });
            for answer in [
                server.get(begins, token),
                server.post(begins, token, &json!({})),
                server.request("DELETE", begins, token, None),
                server.post(takes, token, &share),
            ] {
                assert_eq!(
                    (answer.status, answer.error().contains("permission denied")),
                    (403, true),
                    "{begins}"
                );
            }
        }
        assert_eq!(server.get(begins, root).json()["started"], false, "{begins}");
    }
    // The policy decides, and the shares do not need to be the token's.
    let holder = token("path \"sys/generate-root/*\" { capabilities = [\"read\", \"update\"] }");
    let begun = server.post("sys/generate-root/attempt", &holder, &json!({})).json();
    let nonce = begun["nonce"].as_str().unwrap();
    for (number, share) in keys.shares.iter().take(2).enumerate() {
        let body = json!({ "key": share, "nonce": nonce });
        let given = server.post("sys/generate-root/update", &holder, &body).json();
        assert_eq!(given["complete"], number == 1, "{given}");
    }
    // To unseal needs none.
    assert_eq!(server.post("sys/seal", root, &json!({})).status, 204);
    assert!(server.unseal(&keys.shares[0]) && !server.unseal(&keys.shares[1]));
}

#[test]
fn administrator_takes_the_place_of_a_ceremony_that_has_no_shares() {
    let (_site, server, keys) = site();
    let root = &keys.root_token;
    for (begins, takes) in CEREMONIES {
        let strangers = begin(&server, begins, &json!({}));
        assert_eq!(server.post(begins, "", &json!({})).status, 400, "{begins}: another stranger waits");
        let own = server.post(begins, root, &json!({}));
        assert_eq!(own.status, 200, "{begins}: {}", own.text);
        let own = own.json()["nonce"].as_str().unwrap().to_owned();
        assert_ne!(own, strangers);
        assert_eq!(give(&server, takes, &strangers, &keys.shares[0]).status, 400);
        assert_eq!(give(&server, takes, &own, &keys.shares[0]).status, 200);
        let late = server.post(begins, root, &json!({}));
        assert_eq!(
            (late.status, late.error().contains("in progress")),
            (400, true),
            "{begins}: it has a share"
        );
        assert_eq!(server.request("DELETE", begins, root, None).status, 204);
    }
}

#[test]
fn beginning_and_giving_up_ceremonies_are_attempts() {
    let (_site, server, _) =
        site_with("[seal]\nopen_ceremonies = true\n\n[limits]\nclient_attempts_per_minute = 10\n");
    // Two attempts have unsealed.
    let statuses: Vec<u16> = (0..12)
        .map(|number| match number % 2 {
            0 => server.post("sys/generate-root/attempt", "", &json!({})).status,
            _ => server.request("DELETE", "sys/generate-root/attempt", "", None).status,
        })
        .collect();
    assert!(statuses.starts_with(&[200, 204, 200, 204]) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(server.get("sys/generate-root/attempt", "").status, 200, "to look is none");
}

#[test]
fn verification_begins_again_under_another_nonce_with_the_same_shares() {
    let (_site, server, keys) = site();
    let root = &keys.root_token;
    for path in ["sys/rekey/verify", "sys/rotate/root/verify"] {
        assert_eq!(server.get(path, "").status, 400);
        assert_eq!(server.request("DELETE", path, root, None).status, 400);
    }
    let nonce = begin(&server, "sys/rekey/init", &json!({ "secret_shares": 3, "secret_threshold": 2 }));
    let early = server.get("sys/rekey/verify", "");
    assert_eq!((early.status, early.json()["started"].clone()), (200, json!(false)));
    give(&server, "sys/rekey/update", &nonce, &keys.shares[0]);
    let made = give(&server, "sys/rekey/update", &nonce, &keys.shares[1]);
    let (new, first) = (shares(&made), made.json()["verification_nonce"].clone());
    give(&server, "sys/rekey/verify", first.as_str().unwrap(), &new[0]);
    assert_eq!(server.get("sys/rekey/verify", "").json()["progress"], 1);
    assert_eq!(server.request("DELETE", "sys/rekey/verify", "", None).status, 403, "a stranger");
    let again = server.request("DELETE", "sys/rekey/verify", root, None);
    assert_eq!(again.status, 200, "{}", again.text);
    let told = again.json();
    assert_eq!((told["progress"].clone(), told["started"].clone()), (json!(0), json!(true)));
    assert!(told["nonce"].is_string() && told["nonce"] != first, "{told}");
    assert_eq!(give(&server, "sys/rekey/verify", first.as_str().unwrap(), &new[0]).status, 400);
    let nonce = told["nonce"].as_str().unwrap();
    give(&server, "sys/rekey/verify", nonce, &new[2]);
    assert_eq!(give(&server, "sys/rekey/verify", nonce, &new[0]).json()["complete"], true);
    for path in ["sys/rekey/backup", "sys/rotate/root/backup"] {
        let none = server.get(path, root);
        assert_eq!((none.status, none.error().contains("no backed-up keys found")), (400, true));
        assert_eq!(server.request("DELETE", path, root, None).status, 204);
        assert_eq!(server.get(path, "").status, 403);
    }
}
