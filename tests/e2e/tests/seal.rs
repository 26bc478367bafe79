//! Initialisation, unsealing, sealing.

use std::time::Duration;

use keyway_api::{Action, route::Access, tables};
use keyway_e2e::{Site, config, within};
use serde_json::json;

#[test]
fn three_of_five_shares_unseal_and_two_do_not() {
    let site = Site::new("sqlite");
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 501);
    assert_eq!(server.get("secret/data/a", "kw.x").status, 503);
    // Vault's own command line asks for it, and fails if it is missing.
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
            // Sealed already, or not unsealed yet, is well; either way the last word is below.
            scope.spawn(|| {
                let sealed = server.post("sys/seal", &keys.root_token, &json!({}));
                assert_eq!(sealed.status, 204, "{}", sealed.text);
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

#[test]
fn sealing_a_sealed_server_succeeds_for_everybody_and_changes_nothing() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init(3, 2);
    assert!(server.unseal(&keys.shares[0]));
    for token in ["", "kw.unknown", &keys.root_token] {
        let sealed = server.post("sys/seal", token, &json!({}));
        assert_eq!((sealed.status, sealed.text.as_str()), (204, ""));
    }
    let status = server.get("sys/seal-status", "").json();
    assert_eq!((&status["sealed"], &status["progress"]), (&json!(true), &json!(1)), "a share was lost");
    assert!(!server.unseal(&keys.shares[1]));
    for token in ["", "kw.unknown"] {
        assert_eq!(server.post("sys/seal", token, &json!({})).status, 403, "it is unsealed now");
    }
    assert_eq!(server.get("sys/seal-status", "").json()["sealed"], false);
}

#[test]
fn sealed_server_says_so_by_one_text_on_every_route() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    assert_eq!(server.post("sys/seal", &keys.root_token, &json!({})).status, 204);
    let mut asked = 0;
    for table in tables() {
        for route in table.routes.iter().filter(|route| !matches!(route.access, Access::Open(_))) {
            if (route.pattern, route.action) == ("sys/seal", Action::Write) {
                continue;
            }
            let method = match route.action {
                Action::Read => "GET",
                Action::Write => "POST",
                Action::Patch => "PATCH",
                Action::Delete => "DELETE",
                Action::List => "LIST",
                Action::Scan => "SCAN",
            };
            let base = match table.base {
                "" | "cubbyhole/" => table.base,
                "approle/" => "auth/approle/",
                _ => "secret/",
            };
            let path = format!("{base}{}", route.pattern.replace("{name}", "x").replace("{path}", "x"));
            for token in ["", "kw.unknown", &keys.root_token] {
                let answer = server.request(method, &path, token, None);
                let text = "{\"errors\":[\"Vault is sealed\"]}";
                assert_eq!((answer.status, answer.text.as_str()), (503, text), "{method} {path}");
            }
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked}");
    for path in ["sys/none", "none", "secret/data/a", "auth/approle/login"] {
        assert_eq!(server.get(path, "").json()["errors"], json!(["Vault is sealed"]), "{path}");
    }
}

#[test]
fn store_that_was_never_opened_is_not_said_to_hold_a_cluster() {
    let site = Site::new("sqlite");
    let server = site.start();
    server.init_and_unseal();
    let health = || server.get("sys/health", "").json();
    assert_eq!(health()["initialized"], true);
    std::fs::rename(site.path("data/keyway.db"), site.path("away")).unwrap();
    within(Duration::from_secs(30), || server.get("sys/health", "").status == 503);
    assert_eq!(health()["initialized"], true, "it was seen");
    drop(server);
    site.configure(&config("sqlite").replace("plugin = \"sqlite\"", "plugin = \"none\""));
    let server = site.start();
    let health = server.get("sys/health", "");
    assert_eq!((health.status, &health.json()["initialized"]), (503, &json!(false)), "{}", health.text);
}

#[test]
fn parameters_of_health_that_are_none_are_refused() {
    let site = Site::new("memory");
    let server = site.start();
    for wrong in [
        "standbyok=x",
        "perfstandbyok=x",
        "standbyok=2",
        "standbyok=yes",
        "activecode=x",
        "activecode=",
        "sealedcode=99",
        "uninitcode=1000",
        "standbycode=-1",
        "activecode=100",
        "drsecondarycode=x",
        "performancestandbycode=200.5",
    ] {
        let answer = server.get(&format!("sys/health?{wrong}"), "");
        let name = wrong.split('=').next().unwrap();
        assert_eq!((answer.status, answer.error().contains(name)), (400, true), "{wrong}: {}", answer.text);
    }
    for right in ["standbyok", "standbyok=", "standbyok=true", "perfstandbyok=F", "activecode=299", "other=x"]
    {
        assert_eq!(server.get(&format!("sys/health?{right}"), "").status, 501, "{right}");
    }
    assert_eq!(server.get("sys/health?uninitcode=299", "").status, 299);
}
