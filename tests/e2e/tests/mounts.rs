//! Several backends and mounts side by side, made by configuration and through the API.

use std::{fs, time::Duration};

use keyway_e2e::{Keys, Server, Site, config};
use serde_json::json;

fn two_backends() -> (Site, Server, Keys) {
    let site = Site::new("sqlite");
    site.configure(&format!(
        "{}\n[backends.second]\nplugin = \"sqlite\"\nconfig = {{ path = \"second.db\" }}\n\n\
         [backends.scratch]\nplugin = \"memory\"\n\n[mounts.\"team a/kv\"]\nbackend = \"second\"\n",
        config("sqlite")
    ));
    let server = site.start();
    let keys = server.init_and_unseal();
    (site, server, keys)
}

#[test]
fn mounts_on_three_backends_keep_their_secrets_apart() {
    let (site, server, keys) = two_backends();
    let token = &keys.root_token;
    let made = json!({ "type": "kv", "description": "for a while", "options": { "version": 2, "backend": "scratch" } });
    assert_eq!(server.post("sys/mounts/tmp/kv", token, &made).status, 204);
    let made = json!({ "type": "kv-v2" });
    assert_eq!(server.request("PUT", "sys/mounts/tmp/inner/", token, Some(&made.to_string())).status, 204);
    let mounts = ["secret", "team%20a/kv", "tmp/kv", "tmp/inner"];
    for mount in mounts {
        let body = json!({ "data": { "in": mount } });
        assert_eq!(server.post(&format!("{mount}/data/a"), token, &body).status, 200, "{mount}");
    }
    for mount in mounts {
        let read = server.get(&format!("{mount}/data/a"), token);
        assert_eq!(read.json()["data"]["data"]["in"], mount, "{}", read.text);
    }
    let listed = server.get("sys/mounts", token).json();
    assert_eq!(listed["data"]["tmp/kv/"]["backend"], "scratch");
    assert_eq!(listed["tmp/inner/"]["backend"], "main");
    assert_eq!(listed["data"]["team a/kv/"]["options"]["version"], "2");
    assert_eq!(server.get("sys/mounts/tmp/kv", token).json()["data"]["description"], "for a while");
    let ui = server.get("sys/internal/ui/mounts/tmp/inner/data/a", token).json();
    assert_eq!(ui["data"]["path"], "tmp/inner/");

    // Over a restart: what the API made is in the store, and what was in memory is gone.
    assert!(server.terminate());
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(server.get("tmp/inner/data/a", token).status, 200);
    assert_eq!(server.get("team%20a/kv/data/a", token).status, 200);
    assert_eq!(server.get("tmp/kv/data/a", token).status, 404);
}

#[test]
fn unmounted_secrets_leave_the_store_and_the_path_is_free() {
    let (site, server, keys) = two_backends();
    let token = &keys.root_token;
    let made = json!({ "type": "kv-v2", "options": { "backend": "second" } });
    assert_eq!(server.post("sys/mounts/gone", token, &made).status, 204);
    server.post("gone/data/a", token, &json!({ "data": { "a": 1 } }));
    let uuid = server.get("sys/mounts/gone", token).json()["data"]["uuid"].as_str().unwrap().to_owned();
    let keyspaces = || -> i64 {
        let database = rusqlite::Connection::open(site.path("data/second.db")).unwrap();
        database
            .query_row("SELECT count(*) FROM spaces WHERE name = ?1", [format!("mount-{uuid}")], |row| {
                row.get(0)
            })
            .unwrap()
    };
    assert_eq!(keyspaces(), 1);
    assert_eq!(server.request("DELETE", "sys/mounts/gone", token, None).status, 204);
    assert_eq!(server.get("gone/data/a", token).status, 404);
    assert_eq!(server.request("DELETE", "sys/mounts/gone", token, None).status, 204, "again");
    keyway_e2e::within(Duration::from_secs(30), || keyspaces() == 0);
    assert_eq!(server.post("sys/mounts/gone", token, &made).status, 204);
    assert_eq!(server.get("gone/data/a", token).status, 404, "another mount");

    let configured = server.request("DELETE", "sys/mounts/secret", token, None);
    assert_eq!(configured.status, 400);
    assert!(configured.error().contains("configuration"), "{}", configured.text);
}

#[test]
fn mounts_that_cannot_be_are_refused_with_a_reason() {
    let (_site, server, keys) = two_backends();
    let token = &keys.root_token;
    for (path, body, reason) in [
        ("secret", json!({ "type": "kv-v2" }), "already in use at secret/"),
        ("secret/data/x", json!({ "type": "kv-v2" }), "path is already in use at secret/"),
        ("sys/x", json!({ "type": "kv-v2" }), "reserved"),
        ("x", json!({ "type": "kv", "options": { "version": "3" } }), "no such version of kv"),
        ("x", json!({ "type": "kv-v2", "options": { "version": 1 } }), "no such version of kv"),
        ("x", json!({ "type": "pki" }), "no secrets engine"),
        (
            "x",
            json!({ "type": "kv-v2", "options": { "backend": "none" } }),
            "there are: main, scratch, second",
        ),
        ("x", json!({ "type": "kv-v2", "local": true }), "local is not supported"),
        (
            "x",
            json!({ "type": "kv-v2", "config": { "allowed_response_headers": ["x"] } }),
            "allowed_response_headers is not supported",
        ),
        ("x", json!({ "type": "kv-v2", "options": { "colour": "red" } }), "colour is not supported"),
        ("x", json!({}), "lacks one"),
    ] {
        let refused = server.post(&format!("sys/mounts/{path}"), token, &body);
        assert!(refused.status == 400 && refused.error().contains(reason), "{path} {body}: {}", refused.text);
    }
    let usual =
        json!({ "type": "kv-v2", "local": false, "seal_wrap": false, "config": { "default_lease_ttl": "" } });
    assert_eq!(server.post("sys/mounts/x", token, &usual).status, 204);
    assert_eq!(server.post("sys/mounts/y", "", &json!({ "type": "kv-v2" })).status, 403);
    assert_eq!(server.request("DELETE", "sys/mounts/x", "kw.wrong", None).status, 403);
    assert_eq!(server.get("sys/mounts/none", token).status, 400);
}

#[test]
fn lost_store_is_told_from_a_new_one_and_forgotten_by_the_word() {
    let site = Site::new("sqlite");
    let server = site.start();
    server.init_and_unseal();
    assert!(server.terminate());
    for name in ["keyway.db", "keyway.db-wal", "keyway.db-shm"] {
        // The last two are gone after an orderly end.
        let _gone = fs::remove_file(site.path("data").join(name));
    }
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 503);
    let status = server.get("sys/seal-status", "");
    assert!(status.status == 503 && status.error().contains("the store is lost"), "{}", status.text);
    let init = server.post("sys/init", "", &json!({}));
    assert!(init.status == 503 && init.error().contains("--forget-store"), "{}", init.text);
    let text = init.error();
    let cluster = text.split_whitespace().find(|word| word.len() == 37 && word.ends_with(',')).unwrap();
    let cluster = cluster.trim_end_matches(',').to_owned();
    drop(server);

    let config = site.config();
    let wrong = site.run(&[
        "server",
        "--config",
        config.to_str().unwrap(),
        "--forget-store",
        "00000000-0000-4000-8000-000000000000",
    ]);
    assert_eq!(wrong.status.code(), Some(5), "{}", String::from_utf8_lossy(&wrong.stderr));
    let server = site.start_with(&["--forget-store", &cluster]);
    server.init_and_unseal();
    assert!(server.terminate());
    let again = site.run(&["server", "--config", config.to_str().unwrap(), "--forget-store", &cluster]);
    assert_eq!(again.status.code(), Some(5), "an option that was left in place destroys nothing");
}

#[test]
fn mount_of_version_1_is_upgraded_though_the_server_is_killed() {
    const SECRETS: usize = 150;
    let site = Site::new("sqlite");
    let mut server = site.start();
    let keys = server.init_and_unseal();
    let token = &keys.root_token;
    let version = |version: &str| json!({ "options": { "version": version } });
    let made = json!({ "type": "kv", "options": { "version": "1" } });
    assert_eq!(server.post("sys/mounts/old", token, &made).status, 204);
    for secret in 0..SECRETS {
        assert_eq!(server.post(&format!("old/s/{secret}"), token, &json!({ "n": secret })).status, 204);
    }
    let tune = |server: &Server, to: &str| server.post("sys/mounts/old/tune", token, &version(to));
    assert_eq!(tune(&server, "3").error(), "invalid version provided: 3");
    assert_eq!(tune(&server, "1").status, 204);
    let begun = tune(&server, "2");
    assert!(begun.status == 200 && begun.text.contains("from version 1 to version 2"), "{}", begun.text);
    // Killed while it is done, as far as that goes, and gone on with after unsealing.
    server.kill();
    server = site.start();
    server.unseal(&keys.shares[0]);
    keyway_e2e::within(Duration::from_secs(60), || {
        let answer = server.get("old/config", token);
        let waits = answer.text.contains("Upgrading from non-versioned to versioned data");
        assert!(answer.status == 200 || (answer.status == 400 && waits), "{}", answer.text);
        answer.status == 200
    });
    for secret in 0..SECRETS {
        let read = server.get(&format!("old/data/s/{secret}"), token);
        let (data, version) = (&read.json()["data"]["data"], &read.json()["data"]["metadata"]["version"]);
        assert_eq!((data, version), (&json!({ "n": secret }), &json!(1)), "{}", read.text);
    }
    let names = server.request("SCAN", "old/metadata", token, None).json()["data"]["keys"].clone();
    assert_eq!(names.as_array().unwrap().len(), SECRETS);
    assert_eq!(server.get("sys/mounts/old/tune", token).json()["data"]["options"]["version"], "2");
    assert_eq!(tune(&server, "1").error(), "cannot downgrade mount from version 2");
    assert_eq!(tune(&server, "2").status, 204);
}

#[test]
fn mounts_are_shown_to_those_who_may_use_them_and_to_all_if_they_say_so() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let listed = json!({ "listing_visibility": "unauth" });
    for (path, body) in [
        ("sys/mounts/bm/bar/bar/baz", json!({ "type": "kv-v2" })),
        ("sys/mounts/seen", json!({ "type": "kv", "description": "d", "config": listed })),
        ("sys/auth/machines", json!({ "type": "approle", "description": "m", "config": listed })),
        ("sys/auth/hidden", json!({ "type": "approle" })),
    ] {
        assert_eq!(server.post(path, &root, &body).status, 204, "{path}");
    }
    let told = server.get("sys/internal/ui/mounts", "");
    assert_eq!(told.status, 200, "{}", told.text);
    let seen = json!({ "type": "kv", "description": "d", "options": { "version": "1" } });
    let machines = json!({ "type": "approle", "description": "m", "options": {} });
    let expected = json!({ "auth": { "machines/": machines }, "secret": { "seen/": seen } });
    assert_eq!(told.json()["data"], expected);
    assert_eq!(server.get("sys/internal/ui/mounts", "kw.wrong").status, 403);

    let token = |rules: &str, default: bool| {
        assert_eq!(server.post("sys/policies/acl/ui", &root, &json!({ "policy": rules })).status, 204);
        let asked = json!({ "policies": ["ui"], "no_default_policy": !default });
        server.post("auth/token/create", &root, &asked).json()["auth"]["client_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let shown = |token: &str| {
        let told = server.get("sys/internal/ui/mounts", token).json();
        let names = |kind: &str| told["data"][kind].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        (names("secret"), names("auth"))
    };
    let one = |path: &str, token: &str| server.get(&format!("sys/internal/ui/mounts/{path}"), token);
    let deep = token("path \"bm/+/+/*\" { capabilities = [\"read\"] }", false);
    assert_eq!(
        shown(&deep),
        (vec!["bm/bar/bar/baz/".to_owned(), "seen/".to_owned()], vec!["machines/".to_owned()])
    );
    assert_eq!(one("bm/bar/bar/baz/data/a", &deep).json()["data"]["path"], "bm/bar/bar/baz/");
    for path in ["seen", "secret", "sys", "auth/token", "auth/machines", "cubbyhole", "bm", "none"] {
        assert_eq!(one(path, &deep).status, 403, "{path}");
    }
    let above = token("path \"bm/+/+\" { capabilities = [\"read\"] }", false);
    assert_eq!(one("bm/bar/bar/baz", &above).status, 403);

    let usual = token("path \"auth/hidden/role/+\" { capabilities = [\"read\"] }", true);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let both = (names(&["cubbyhole/", "seen/", "sys/"]), names(&["hidden/", "machines/", "token/"]));
    assert_eq!(shown(&usual), both);
    for (path, place, kind) in [
        ("sys", "sys/", "system"),
        ("sys/mounts", "sys/", "system"),
        ("cubbyhole/a", "cubbyhole/", "cubbyhole"),
        ("auth/token", "token/", "token"),
        ("auth/token/create", "token/", "token"),
        ("auth/hidden/login", "hidden/", "approle"),
    ] {
        let told = one(path, &usual).json();
        assert_eq!((&told["data"]["path"], &told["data"]["type"]), (&json!(place), &json!(kind)), "{path}");
    }
    for path in ["auth", "auth/none", "none"] {
        assert_eq!((one(path, &root).status, one(path, &usual).status), (400, 403), "{path}");
    }
}

#[test]
fn resultant_acl_has_the_rules_of_all_policies_of_a_token() {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let path = "sys/internal/ui/resultant-acl";
    assert_eq!(server.get(path, &root).json()["data"], json!({ "root": true }));
    let rules = "path \"y\" { capabilities = [\"sudo\", \"update\", \"scan\", \"patch\", \"create\", \"delete\", \"list\", \"read\"] \
                 min_wrapping_ttl = \"5500ms\" max_wrapping_ttl = \"2h\" denied_parameters { q = [1] } \
                 allowed_parameters { A = [\"x\"] } required_parameters = [\"r\"] } \
                 path \"none\" { } path \"a/+/b\" { capabilities = [\"read\"] } path \"a/*\" { capabilities = [\"list\"] } \
                 path \"sys/internal/*\" { capabilities = [\"read\"] }";
    assert_eq!(server.post("sys/policies/acl/p", &root, &json!({ "policy": rules })).status, 204);
    let asked = json!({ "policies": ["p"], "no_default_policy": true });
    let made = server.post("auth/token/create", &root, &asked).json();
    let told = server.get(path, made["auth"]["client_token"].as_str().unwrap()).json();
    let all = ["create", "delete", "list", "read", "sudo", "update", "patch", "scan"];
    let y = json!({ "capabilities": all, "min_wrapping_ttl": 5, "max_wrapping_ttl": 7200,
        "allowed_parameters": { "a": ["x"] }, "denied_parameters": { "q": [1] }, "required_parameters": ["r"] });
    let exact = json!({ "none": { "capabilities": ["deny"] }, "y": y });
    let globs = json!({ "a/": { "capabilities": ["list"] }, "sys/internal/": { "capabilities": ["read"] } });
    assert_eq!(told["data"], json!({ "exact_paths": exact, "glob_paths": globs, "root": false }));
    let default = server.post("auth/token/create", &root, &json!({ "policies": ["default"] })).json();
    assert_eq!(server.get(path, default["auth"]["client_token"].as_str().unwrap()).status, 200);
    assert_eq!(server.get(path, "").status, 403);
}
