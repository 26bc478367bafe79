//! Initialisation, unsealing, sealing.

use keyway_e2e::Site;
use serde_json::json;

#[test]
fn three_of_five_shares_unseal_and_two_do_not() {
    let site = Site::new("sqlite");
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 501);
    assert_eq!(server.get("secret/data/a", "kw.x").status, 503);
    // Vault's own command line asks for it, and fails where it is missing.
    assert_eq!(server.get("sys/leader", "").json()["ha_enabled"], false);
    let keys = server.init(5, 3);
    assert_eq!(keys.shares.len(), 5);
    assert!(keys.root_token.starts_with("kw."));
    assert_eq!(server.get("sys/health", "").status, 503);

    let again = server.post("sys/init", "", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
    assert_eq!(again.status, 400);
    assert!(again.error().contains("already initialised, but never unsealed"), "{}", again.text);

    assert!(server.unseal(&keys.shares[4]));
    // A repeated share changes nothing, a wrong one is refused, and neither touches the progress.
    assert!(server.unseal(&keys.shares[4]));
    let wrong = server.post("sys/unseal", "", &json!({ "key": "00".repeat(33) }));
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    let garbage = server.post("sys/unseal", "", &json!({ "key": "no share" }));
    assert_eq!(garbage.status, 400, "{}", garbage.text);
    assert!(server.unseal(&keys.shares[1]));
    let status = server.get("sys/seal-status", "").json();
    assert_eq!((&status["progress"], &status["t"], &status["n"]), (&json!(2), &json!(3), &json!(5)));
    assert_eq!(server.get("secret/data/a", &keys.root_token).status, 503);
    assert!(!server.unseal(&keys.shares[0]));
    assert_eq!(server.get("sys/health", "").status, 200);
    assert_eq!(server.get("secret/data/a", &keys.root_token).status, 404);

    let written = server.post("secret/data/a", &keys.root_token, &json!({ "data": { "k": "v" } }));
    assert_eq!(written.status, 200, "{}", written.text);
    assert_eq!(server.post("sys/seal", "", &json!({})).status, 403);
    assert_eq!(server.post("sys/seal", &keys.root_token, &json!({})).status, 204);
    assert_eq!(server.get("secret/data/a", &keys.root_token).status, 503);
    // Unsealed again with other shares, and everything is there.
    for share in &keys.shares[2..5] {
        server.unseal(share);
    }
    assert_eq!(server.get("secret/data/a", &keys.root_token).json()["data"]["data"]["k"], "v");
    assert!(server.terminate());
}

#[test]
fn reset_forgets_the_progress() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init(3, 2);
    server.unseal(&keys.shares[0]);
    let reset = server.post("sys/unseal", "", &json!({ "reset": true })).json();
    assert_eq!(reset["progress"], 0);
    assert!(server.unseal(&keys.shares[1]));
    assert!(!server.unseal(&keys.shares[2]));
}

#[test]
fn two_initialisations_at_a_time_make_one_cluster() {
    let site = Site::new("sqlite");
    let server = site.start();
    let body = json!({ "secret_shares": 1, "secret_threshold": 1 });
    let answers: Vec<(u16, serde_json::Value)> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let answer = server.post("sys/init", "", &body);
                    (answer.status, answer.json())
                })
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.join().ok()).collect()
    });
    let winners: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(
        (winners.len(), answers.iter().filter(|(status, _)| *status == 400).count()),
        (1, 7),
        "{answers:?}"
    );
    // And the winner's keys are the cluster's.
    let made = &winners[0].1;
    assert!(!server.unseal(made["keys"][0].as_str().unwrap()));
    assert_eq!(server.get("secret/data/a", made["root_token"].as_str().unwrap()).status, 404);
}

#[test]
fn unsealing_and_sealing_at_a_time_end_as_the_last_word_says() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init(1, 1);
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| server.unseal(&keys.shares[0]));
            }
            // Sealed already, or not unsealed yet, is 503; either way the last word is below.
            scope.spawn(|| {
                let sealed = server.post("sys/seal", &keys.root_token, &json!({}));
                assert!([204, 503].contains(&sealed.status), "{}", sealed.text);
            });
        });
        server.unseal(&keys.shares[0]);
        assert_eq!(server.post("sys/seal", &keys.root_token, &json!({})).status, 204);
        let status = server.get("sys/seal-status", "").json();
        assert_eq!((&status["sealed"], &status["progress"]), (&json!(true), &json!(0)));
    }
}

#[test]
fn what_is_not_supported_is_refused_and_not_ignored() {
    let site = Site::new("memory");
    let server = site.start();
    let pgp = json!({ "secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["x"] });
    assert_eq!(server.post("sys/init", "", &pgp).status, 400);
    for counts in [json!({ "secret_shares": 0 }), json!({ "secret_shares": 3, "secret_threshold": 1 })] {
        assert_eq!(server.post("sys/init", "", &counts).status, 400, "{counts}");
    }
    server.init_and_unseal();
}
