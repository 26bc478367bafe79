//! Tokens when many ask at a time, when they die, and when the server is killed meanwhile.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod policies;

use std::{
    thread,
    time::{Duration, SystemTime},
};

use keyway_e2e::{Server, Site, within};
use serde_json::{Value, json};

fn create(server: &Server, token: &str, body: &Value) -> Value {
    let made = server.post("auth/token/create", token, body);
    assert_eq!(made.status, 200, "{}", made.text);
    made.json()["auth"].clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Runs something many times at once; what each answered.
fn at_once<T: Send>(times: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let run = &run;
    thread::scope(|scope| {
        let running: Vec<_> = (0..times).map(|number| scope.spawn(move || run(number))).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn token_with_five_uses_is_used_five_times_by_concurrent_requests() {
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        let server = site.start();
        let root = server.init_and_unseal().root_token;
        for _ in 0..4 {
            let made = create(&server, &root, &json!({ "policies": ["default"], "num_uses": 5 }));
            let token = text(&made["client_token"]);
            let answers = at_once(50, |_| server.get("auth/token/lookup-self", &token).status);
            assert_eq!(answers.iter().filter(|status| **status == 200).count(), 5, "{plugin}: {answers:?}");
            assert!(answers.iter().all(|status| matches!(status, 200 | 403)), "{plugin}: {answers:?}");
        }
        // A request that is refused is a use, too.
        let made = create(&server, &root, &json!({ "policies": ["default"], "num_uses": 2 }));
        let token = text(&made["client_token"]);
        assert_eq!(server.get("sys/mounts", &token).status, 403);
        assert_eq!(server.get("auth/token/lookup-self", &token).status, 200);
        assert_eq!(server.get("auth/token/lookup-self", &token).status, 403);
    }
}

#[test]
fn wrapping_is_opened_by_one_of_all_who_try() {
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        let server = site.start();
        let root = server.init_and_unseal().root_token;
        let secret = json!({ "data": { "password": "correct horse" } });
        assert_eq!(server.post("secret/data/app", &root, &secret).status, 200);
        let wrapped = server.request_with(
            "GET",
            "secret/data/app",
            &[("X-Vault-Token", &root), ("X-Vault-Wrap-TTL", "1m")],
            None,
        );
        assert!(!wrapped.text.contains("horse"), "{}", wrapped.text);
        let wrapped = wrapped.json();
        assert!(wrapped["data"].is_null() && wrapped["auth"].is_null());
        let token = text(&wrapped["wrap_info"]["token"]);
        let answers = at_once(20, |number| match number % 2 {
            0 => server.post("sys/wrapping/unwrap", &token, &json!({})),
            _ => server.post("sys/wrapping/unwrap", &root, &json!({ "token": token })),
        });
        let opened: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(opened.len(), 1, "{plugin}");
        assert_eq!(opened[0].json()["data"]["data"]["password"], "correct horse");
        let refused = answers.iter().filter(|answer| answer.status != 200);
        assert!(refused.clone().all(|answer| answer.status == 400), "{plugin}");
        let again = server.post("sys/wrapping/unwrap", &root, &json!({ "token": token }));
        assert_eq!((again.status, again.error().contains("wrapping token is not valid")), (400, true));
    }
}

#[test]
fn revoking_a_parent_of_ten_thousand_and_dying_leaves_no_child_alive() {
    const CHILDREN: usize = 10_000;
    const MAKERS: usize = 16;
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let root = &keys.root_token;
    let parent = create(&server, root, &json!({ "policies": ["root"], "ttl": "1h" }));
    let parent = text(&parent["client_token"]);
    let children = at_once(MAKERS, |_| -> Vec<String> {
        let body = json!({ "policies": ["default"] });
        (0..CHILDREN / MAKERS).map(|_| text(&create(&server, &parent, &body)["client_token"])).collect()
    });
    let children = children.concat();
    assert_eq!(server.get("auth/token/lookup-self", &children[0]).status, 200);
    assert_eq!(server.post("auth/token/revoke", root, &json!({ "token": parent })).status, 204);
    // The server is tidying their records now. It is killed somewhere in between.
    thread::sleep(Duration::from_millis(20));
    server.kill();
    let server = site.start();
    assert!(!server.unseal(&keys.shares[0]));
    let alive = at_once(MAKERS, |number| {
        let mine = children.iter().skip(number).step_by(MAKERS);
        mine.filter(|child| server.get("auth/token/lookup-self", child).status != 403).count()
    });
    assert_eq!(alive.iter().sum::<usize>(), 0);
    // Tidying removes the rest. The accessor of a token that is gone stays for an hour.
    let tidied = server.post("auth/token/tidy", root, &json!({}));
    assert_eq!(tidied.status, 202);
    within(Duration::from_secs(120), || {
        let left = server.request("LIST", "auth/token/accessors", root, None).json();
        let left = left["data"]["keys"].as_array().unwrap().len();
        left <= 2
    });
}

#[test]
fn tokens_die_of_age_of_their_parents_and_with_their_auth_method() {
    let site = Site::new("sqlite");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let is_alive = |token: &str| server.get("auth/token/lookup-self", token).status == 200;
    let short =
        text(&create(&server, &root, &json!({ "policies": ["default"], "ttl": "1s" }))["client_token"]);
    within(Duration::from_secs(20), || !is_alive(&short));
    let rules = json!({ "policy": "path \"auth/token/create\" { capabilities = [\"update\"] }" });
    assert_eq!(server.post("sys/policies/acl/maker", &root, &rules).status, 204);
    let maker = text(
        &create(&server, &root, &json!({ "policies": ["maker", "default"], "ttl": "2s" }))["client_token"],
    );
    let child = text(&create(&server, &maker, &json!({ "ttl": "1h" }))["client_token"]);
    assert!(is_alive(&child));
    within(Duration::from_secs(20), || !is_alive(&maker));
    assert!(!is_alive(&child), "it lives as long as its parent");
    // A token with a limited number of uses creates no child token.
    let maker = create(&server, &root, &json!({ "policies": ["maker"], "num_uses": 2 }));
    let refused = server.post("auth/token/create", &text(&maker["client_token"]), &json!({}));
    assert_eq!(refused.status, 400, "{}", refused.text);
    // Orphans outlive the parent that was revoked alone.
    let parent = text(&create(&server, &root, &json!({ "policies": ["maker", "default"] }))["client_token"]);
    let child = text(&create(&server, &parent, &json!({}))["client_token"]);
    let grandchild = text(&create(&server, &child, &json!({}))["client_token"]);
    assert_eq!(server.post("auth/token/revoke-orphan", &root, &json!({ "token": parent })).status, 204);
    assert!(!is_alive(&parent) && is_alive(&child) && is_alive(&grandchild));
    assert_eq!(server.post("auth/token/revoke", &root, &json!({ "token": child })).status, 204);
    assert!(!is_alive(&child) && !is_alive(&grandchild));
    // A removed auth method revokes its tokens, even if another method takes its path.
    let approle = json!({ "type": "approle" });
    assert_eq!(server.post("sys/auth/machines", &root, &approle).status, 204);
    let role = json!({ "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.0/8", "::1"] });
    assert_eq!(server.post("auth/machines/role/r", &root, &role).status, 204);
    let id = server.get("auth/machines/role/r/role-id", &root).json()["data"]["role_id"].clone();
    let login = server.post("auth/machines/login", "", &json!({ "role_id": id }));
    let token = text(&login.json()["auth"]["client_token"]);
    assert!(is_alive(&token));
    assert_eq!(server.request("DELETE", "sys/auth/machines", &root, None).status, 204);
    assert!(!is_alive(&token));
    assert_eq!(server.post("sys/auth/machines", &root, &approle).status, 204);
    assert!(!is_alive(&token));
    assert_eq!(server.post("auth/machines/login", "", &json!({ "role_id": id })).status, 400);
}

#[test]
fn root_policy_spelled_otherwise_is_not_granted() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let rules = json!({ "policy": "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"list\", \"sudo\"] }" });
    assert_eq!(server.post("sys/policies/acl/nearly", &root, &rules).status, 204);
    assert_eq!(server.post("auth/token/roles/any", &root, &json!({})).status, 204);
    let nearly = text(&create(&server, &root, &json!({ "policies": ["nearly"] }))["client_token"]);
    for spelled in [
        "root",
        "ROOT",
        "Root",
        " root",
        "root ",
        "\troot",
        "root\n",
        "ro\u{200b}ot",
        "r\u{43e}ot",
        "root,root",
    ] {
        for path in ["auth/token/create", "auth/token/create-orphan", "auth/token/create/any"] {
            let made = server.post(path, &nearly, &json!({ "policies": [spelled] }));
            let policies = made.json()["auth"]["policies"].clone();
            let is_root = policies.as_array().is_some_and(|policies| policies.contains(&"root".into()));
            assert!(made.status >= 400 || !is_root, "{path} {spelled:?}: {}", made.text);
        }
        let role = json!({ "allowed_policies": [spelled] });
        let _taken_or_not = server.post("auth/token/roles/mine", &nearly, &role);
        let made = server.post("auth/token/create/mine", &nearly, &json!({}));
        let policies = made.json()["auth"]["policies"].to_string();
        assert!(!policies.contains("\"root\""), "{spelled:?}: {}", made.text);
        let written = server.post(&format!("sys/policies/acl/{}", encoded(spelled)), &nearly, &rules);
        assert!(matches!(written.status, 204 | 400), "{}", written.text);
    }
    let told = server.get("sys/policies/acl/root", &root).json();
    assert_eq!(told["data"]["policy"], "", "root has no rules, and keeps none");
}

/// A path's segment, percent-encoded.
fn encoded(segment: &str) -> String {
    segment.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn renewal_asks_role_and_mount_as_they_are_now() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let write = |path: &str, body: Value| {
        let answer = server.post(path, &root, &body);
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", answer.text);
        answer.json()
    };
    // The remaining lifetime after a renewal, or the reason of a refusal; and the warning.
    let renew = |token: &str, increment: u64| {
        let answer =
            server.post("auth/token/renew", &root, &json!({ "token": token, "increment": increment }));
        let told = answer.json();
        let left = told["auth"]["lease_duration"].as_u64();
        (left.ok_or_else(|| answer.error()), told["warnings"][0].as_str().unwrap_or_default().to_owned())
    };
    let silent = |left: u64| (Ok(left), String::new());
    write("auth/token/roles/r", json!({ "token_period": 600, "allowed_policies": "default" }));
    let token = text(&write("auth/token/create/r", json!({}))["auth"]["client_token"]);
    write("auth/token/roles/r", json!({ "token_period": 60 }));
    assert_eq!(renew(&token, 0), silent(60), "a changed period");
    write("auth/token/roles/r", json!({ "token_period": 0 }));
    assert_eq!(renew(&token, 100), silent(100), "none any more");
    write("auth/token/roles/r", json!({ "token_explicit_max_ttl": 50 }));
    let (left, warning) = renew(&token, 100);
    assert!(
        matches!(left, Ok(1..=50)) && warning.starts_with("TTL of \"1m40s\" exceeded the effective"),
        "{warning}"
    );
    assert_eq!(server.request("DELETE", "auth/token/roles/r", &root, None).status, 204);
    let gone = renew(&token, 100).0.unwrap_err();
    assert!(gone.contains("original token role \"r\" could not be found, not renewing"), "{gone}");
    assert_eq!(server.get("auth/token/lookup-self", &token).status, 200, "it lives to its end");

    // The mount bounds periods, and tokens that were there before it was tuned.
    let long =
        text(&create(&server, &root, &json!({ "policies": ["default"], "ttl": "10h" }))["client_token"]);
    let periodic =
        text(&create(&server, &root, &json!({ "policies": ["default"], "period": "10h" }))["client_token"]);
    write("sys/auth/token/tune", json!({ "max_lease_ttl": "1h" }));
    let capped = |what: &str, value: &str| {
        format!(
            "{what} of \"10h\" exceeded the effective max_ttl of \"1h\"; {value} value is capped accordingly"
        )
    };
    let (left, warning) = renew(&long, 36_000);
    assert!(
        matches!(left, Ok(3_590..=3_600)) && warning.starts_with("TTL of \"10h\" exceeded"),
        "{left:?} {warning}"
    );
    assert_eq!(renew(&periodic, 0), (Ok(3_600), capped("period", "period")));
    let made = write("auth/token/create", json!({ "policies": ["default"], "period": "10h" }));
    assert_eq!(made["auth"]["lease_duration"], 3_600);
    assert_eq!(made["warnings"], json!([capped("period", "period")]));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let old_enough = now() + 2;
    within(Duration::from_secs(20), || now() >= old_enough);
    write("sys/auth/token/tune", json!({ "max_lease_ttl": "1s", "default_lease_ttl": "1s" }));
    assert_eq!(renew(&long, 60).0, Err("past the max TTL, cannot renew".to_owned()));
    assert_eq!(server.get("auth/token/lookup-self", &long).status, 200, "it lives as long as it was given");

    write("sys/auth/approle", json!({ "type": "approle" }));
    write("auth/approle/role/a", json!({ "token_ttl": 100, "token_max_ttl": 200, "secret_id_ttl": "2h" }));
    let role = server.get("auth/approle/role/a/role-id", &root).json();
    let secret = write("auth/approle/role/a/secret-id", json!({}));
    assert_eq!(secret["data"]["secret_id_ttl"], 7_200);
    let shown = json!({ "role_id": role["data"]["role_id"], "secret_id": secret["data"]["secret_id"] });
    let token = text(&write("auth/approle/login", shown)["auth"]["client_token"]);
    write("auth/approle/role/a", json!({ "token_ttl": 50 }));
    assert_eq!(renew(&token, 0), silent(50));
    write("auth/approle/role/a", json!({ "token_ttl": 0, "token_max_ttl": 30 }));
    let (left, warning) = renew(&token, 0);
    assert!(
        matches!(left, Ok(1..=30)) && warning.contains("exceeded the effective max_ttl"),
        "{left:?} {warning}"
    );
    write("auth/approle/role/a", json!({ "token_period": 77, "token_max_ttl": 0 }));
    assert_eq!(renew(&token, 5), silent(77));
    assert_eq!(server.request("DELETE", "auth/approle/role/a", &root, None).status, 204);
    let gone = renew(&token, 5).0.unwrap_err();
    assert!(gone.contains("role \"a\" does not exist during renewal"), "{gone}");

    write("sys/auth/approle/tune", json!({ "max_lease_ttl": "1h" }));
    let warned = write("auth/approle/role/b", json!({ "secret_id_ttl": "2h", "token_max_ttl": "2h" }));
    assert!(warned["warnings"][0].as_str().unwrap().starts_with("token_max_ttl is greater than the backend"));
    let secret = write("auth/approle/role/b/secret-id", json!({ "ttl": "90m" }));
    assert_eq!(secret["data"]["secret_id_ttl"], 3_600);
}

#[test]
fn requests_about_tokens_are_answered_as_openbao_answers_them() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let post = |path: &str, token: &str, body: Value| server.post(path, token, &body);
    // A request that names no token is about the one that it shows.
    for body in [json!({}), json!({ "token": "" })] {
        assert_eq!(post("auth/token/lookup", &root, body).json()["data"]["id"], json!(root));
    }
    // An accessor that is unknown is told to those alone who may ask.
    let own = text(&create(&server, &root, &json!({ "policies": ["default"] }))["client_token"]);
    for path in ["auth/token/lookup-accessor", "auth/token/renew-accessor", "sys/capabilities-accessor"] {
        let body = || json!({ "accessor": "nothing", "paths": ["a"] });
        let answer = post(path, &root, body());
        assert_eq!((answer.status, answer.error().contains("invalid accessor")), (400, true), "{path}");
        assert_eq!(post(path, &own, body()).status, 403, "{path}");
    }
    let revoked = post("auth/token/revoke-accessor", &root, json!({ "accessor": "nothing" }));
    assert_eq!(revoked.json()["warnings"], json!(["No token found with this accessor"]));
    // An empty header does not hide the other one.
    let bearer = format!("Bearer {root}");
    for (token, status) in [("", 200), (" ", 200), ("kw.unknown", 403)] {
        let headers = [("X-Vault-Token", token), ("Authorization", bearer.as_str())];
        assert_eq!(
            server.request_with("GET", "auth/token/lookup-self", &headers, None).status,
            status,
            "{token:?}"
        );
    }
    // A wrapping is looked at with its own token, and stays as it is.
    let headers = [("X-Vault-Token", root.as_str()), ("X-Vault-Wrap-TTL", "1m")];
    let wrapped = server.request_with("GET", "sys/mounts", &headers, None).json();
    let token = text(&wrapped["wrap_info"]["token"]);
    for answer in [
        server.get("sys/wrapping/lookup", &token),
        server.get(&format!("sys/wrapping/lookup?token={token}"), ""),
        post("sys/wrapping/lookup", &token, json!({})),
        post("sys/wrapping/lookup", &root, json!({ "token": token })),
    ] {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["data"]["creation_path"], "sys/mounts");
    }
    assert_eq!(server.get("sys/wrapping/lookup", &root).status, 400);
    assert_eq!(post("sys/wrapping/unwrap", &token, json!({})).status, 200);

    let made = |body: Value| post("auth/token/create", &root, body);
    for (body, why) in [
        (json!({ "id": "x.y" }), "cannot have a '.'"),
        (json!({ "type": "batch" }), "not supported"),
        (json!({ "num_uses": "many" }), "num_uses"),
        (json!({ "renewable": "yes" }), "renewable"),
        (json!({ "ttl": true }), "ttl"),
        (json!({ "meta": "" }), "meta"),
    ] {
        let answer = made(body.clone());
        assert_eq!((answer.status, answer.error().contains(why)), (400, true), "{body}: {}", answer.text);
    }
    let weak = made(json!({
        "num_uses": "0x3", "renewable": "F", "no_parent": 1, "ttl": "60", "meta": "a=b", "policies": "default", "display_name": 5,
    }));
    let weak = weak.json()["auth"].clone();
    assert_eq!(
        (&weak["num_uses"], &weak["renewable"], &weak["orphan"]),
        (&json!(3), &json!(false), &json!(true))
    );
    assert_eq!((&weak["lease_duration"], &weak["metadata"]), (&json!(60), &json!({ "a": "b" })));

    // Of an old and a new name the new one counts.
    let both = json!({ "period": 5, "token_period": "6", "token_type": "service", "token_strictly_bind_ip": "False" });
    let warned = post("auth/token/roles/r", &root, both).json();
    let warning = "Both 'token_period' and deprecated 'period' value supplied, ignoring the deprecated value";
    assert_eq!(warned["warnings"], json!([warning]));
    let role = server.get("auth/token/roles/r", &root).json()["data"].clone();
    assert_eq!((&role["token_period"], &role["token_type"]), (&json!(6), &json!("service")));
    for refused in [
        json!({ "token_type": "default-batch" }),
        json!({ "token_type": "default" }),
        json!({ "token_strictly_bind_ip": true }),
        json!({ "token_bound_cidrs": [""] }),
    ] {
        assert_eq!(post("auth/token/roles/r", &root, refused.clone()).status, 400, "{refused}");
    }
    assert_eq!(post("sys/auth/approle", &root, json!({ "type": "approle" })).status, 204);
    let both = json!({ "policies": "a", "token_policies": "b", "bound_cidr_list": "10.0.0.0/8", "token_type": "default-service" });
    let warned = post("auth/approle/role/r", &root, both).json();
    assert_eq!(warned["warnings"], json!(["default-service has no useful meaning; adjusting to service"]));
    let role = server.get("auth/approle/role/r", &root).json()["data"].clone();
    assert_eq!((&role["token_policies"], &role["token_type"]), (&json!(["b"]), &json!("service")));
    let old = server.get("auth/approle/role/r/bound-cidr-list", &root).json();
    assert_eq!(old["data"]["bound_cidr_list"], json!(["10.0.0.0/8"]));
    assert!(old["warnings"][0].as_str().unwrap().contains("deprecated"));
    for refused in [json!({ "token_type": "batch" }), json!({ "token_strictly_bind_ip": "1" })] {
        assert_eq!(post("auth/approle/role/r", &root, refused.clone()).status, 400, "{refused}");
    }
    let secret = post("auth/approle/role/r/secret-id", &root, json!({ "metadata": "a=b,c=d" })).json();
    let known = post(
        "auth/approle/role/r/secret-id/lookup",
        &root,
        json!({ "secret_id": secret["data"]["secret_id"] }),
    );
    assert_eq!(known.json()["data"]["metadata"], json!({ "a": "b", "c": "d" }));
}
