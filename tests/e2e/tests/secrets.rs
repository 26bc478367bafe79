//! Versions, check-and-set, listing, deletion, over HTTP on both backends.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, thread, time::Duration};

use keyway_e2e::{Keys, Server, Site, within};
use serde_json::{Value, json};

const WRITERS: u64 = 64;

fn on_both(test: impl Fn(&Server, &Keys)) {
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        let server = site.start();
        let keys = server.init_and_unseal();
        test(&server, &keys);
        assert!(server.terminate(), "{plugin}");
    }
}

#[test]
fn sixty_four_check_and_set_writers_lose_no_version() {
    on_both(|server, keys| {
        let token = &keys.root_token;
        let keep_all = json!({ "max_versions": WRITERS });
        assert_eq!(server.post("secret/config", token, &keep_all).status, 204);
        let versions: Vec<u64> = thread::scope(|scope| {
            let writers: Vec<_> =
                (0..WRITERS).map(|writer| scope.spawn(move || add_name(server, token, writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let distinct: BTreeSet<u64> = versions.iter().copied().collect();
        assert_eq!(distinct, (1..=WRITERS).collect::<BTreeSet<u64>>(), "each version was given once");
        let metadata = server.get("secret/metadata/shared", token).json()["data"].clone();
        assert_eq!(metadata["current_version"], WRITERS);
        assert_eq!(metadata["versions"].as_object().unwrap().len() as u64, WRITERS);
        // Each version holds all names of the one before and one more: no write overwrote another.
        for version in 1..=WRITERS {
            let data = server.get(&format!("secret/data/shared?version={version}"), token).json();
            assert_eq!(data["data"]["data"]["names"].as_array().unwrap().len() as u64, version);
        }
    });
}

/// Adds a name to the list in the secret; tries until its check-and-set holds.
fn add_name(server: &Server, token: &str, name: u64) -> u64 {
    loop {
        let read = server.get("secret/data/shared", token);
        let (mut names, version) = match read.status {
            404 => (Vec::new(), 0),
            _ => {
                let data = read.json()["data"].clone();
                (
                    data["data"]["names"].as_array().unwrap().clone(),
                    data["metadata"]["version"].as_u64().unwrap(),
                )
            }
        };
        names.push(json!(name));
        let body = json!({ "data": { "names": names }, "options": { "cas": version } });
        let written = server.post("secret/data/shared", token, &body);
        match written.status {
            200 => return written.json()["data"]["version"].as_u64().unwrap(),
            400 => assert_eq!(written.error(), "check-and-set parameter did not match the current version"),
            _ => panic!("{}: {}", written.status, written.text),
        }
    }
}

#[test]
fn versions_deletion_and_listing_as_vault_has_them() {
    on_both(|server, keys| {
        let token = &keys.root_token;
        let put = |path: &str, value: Value| {
            server.post(&format!("secret/data/{path}"), token, &json!({ "data": value }))
        };
        for n in 1..=3 {
            assert_eq!(put("app/db", json!({ "n": n })).json()["data"]["version"], n);
        }
        let version = |n: u64| server.get(&format!("secret/data/app/db?version={n}"), token);
        assert_eq!(version(0).json()["data"]["data"]["n"], 3);
        assert_eq!(version(1).json()["data"]["data"]["n"], 1);
        assert_eq!(version(2).json()["data"]["metadata"]["version"], 2);
        assert_eq!(version(4).status, 404);
        assert_eq!(version(4).json(), json!({ "errors": [] }));
        assert_eq!(server.get("secret/data/app/db?version=x", token).status, 400);

        let cas = |cas: i64| {
            server.post("secret/data/app/db", token, &json!({ "data": {}, "options": { "cas": cas } })).status
        };
        assert_eq!((cas(0), cas(2), cas(4), cas(-1)), (400, 400, 400, 400));

        assert_eq!(server.request("DELETE", "secret/data/app/db", token, None).status, 204);
        assert_eq!(server.request("DELETE", "secret/data/never", token, None).status, 204);
        let deleted = server.get("secret/data/app/db", token);
        assert_eq!((deleted.status, &deleted.json()["data"]["data"]), (404, &Value::Null));
        assert_ne!(deleted.json()["data"]["metadata"]["deletion_time"], "");
        assert_eq!(version(2).status, 200, "older versions stay");
        assert_eq!(cas(3), 200);

        for path in ["app", "app/a", "app/b/c", "app%20x/y", "z"] {
            assert_eq!(put(path, json!({})).status, 200, "{path}");
        }
        let list = |path: &str| server.request("LIST", path, token, None).json()["data"]["keys"].clone();
        assert_eq!(list("secret/metadata"), json!(["app", "app x/", "app/", "z"]));
        assert_eq!(list("secret/metadata/app/"), json!(["a", "b/", "db"]));
        assert_eq!(
            server.get("secret/metadata/app?list=true", token).json()["data"]["keys"],
            json!(["a", "b/", "db"])
        );
        assert_eq!(server.request("LIST", "secret/metadata/none", token, None).status, 404);

        assert_eq!(server.request("DELETE", "secret/metadata/app/db", token, None).status, 204);
        assert_eq!(server.get("secret/metadata/app/db", token).status, 404);
        assert_eq!(version(1).status, 404, "removed with all its versions");
        assert_eq!(put("app/db", json!({ "n": "new" })).json()["data"]["version"], 1);
    });
}

#[test]
fn long_numbers_come_back_digit_for_digit() {
    on_both(|server, keys| {
        let body = r#"{"data":{"int":12345678901234567890123,"real":1.10,"exp":1E400,"neg":-0}}"#;
        let written = server.request("PUT", "secret/data/n", &keys.root_token, Some(body));
        assert_eq!(written.status, 200, "{}", written.text);
        let text = server.get("secret/data/n", &keys.root_token).text;
        assert!(
            text.contains(r#"{"int":12345678901234567890123,"real":1.10,"exp":1E400,"neg":-0}"#),
            "{text}"
        );
    });
}

#[test]
fn command_line_keeps_digits_files_and_exit_codes() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let run = |arguments: &[&str], input: &str| {
        let output = server.cli_with_input(&site, &keys.root_token, arguments, input);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    std::fs::write(site.path("secret.txt"), "from a file\n").unwrap();
    assert_eq!(run(&["kv", "put", "secret/a b/ü", "x=1=2", "y=@secret.txt"], "").0, 0);
    assert_eq!(run(&["kv", "get", "secret/a b/ü", "--field", "x"], "").1, "1=2");
    assert_eq!(run(&["kv", "get", "secret/a b/ü", "--field", "y"], "").1, "from a file\n");
    assert_eq!(run(&["kv", "put", "secret/n", "-"], r#"{"n":12345678901234567890123}"#).0, 0);
    assert_eq!(run(&["kv", "get", "secret/n", "--field", "n"], "").1, "12345678901234567890123");
    assert!(run(&["kv", "get", "secret/n", "--format", "json"], "").1.contains("12345678901234567890123"));
    let (code, _, error) = run(&["kv", "put", "secret/n", "a=1", "--cas", "7"], "");
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("check-and-set"), "{error}");
    assert_eq!(run(&["kv", "get", "secret/none"], "").0, 4);
    assert_eq!(run(&["kv", "get", "secret/n", "--field", "none"], "").0, 4);
    assert_eq!(run(&["kv", "put", "secret/n", "novalue"], "").0, 2);
    assert_eq!(run(&["kv", "delete", "secret/n"], "").0, 0);
    let (code, _, error) = run(&["kv", "get", "secret/n"], "");
    assert_eq!((code, error.contains("deleted")), (4, true), "{error}");
    assert_eq!(run(&["status"], "").0, 0);
    let (code, _, error) = {
        let output = server.cli(&site, "kw.wrong", &["kv", "get", "secret/n"]);
        (output.status.code().unwrap(), (), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!((code, error.contains("KEYWAY_TOKEN")), (5, true), "{error}");
    assert_eq!(run(&["seal"], "").0, 0);
    assert_eq!(run(&["kv", "get", "secret/n"], "").0, 3);
    assert_eq!(run(&["status"], "").0, 3);
    assert_eq!(run(&["unseal"], &format!("{}\n", keys.shares[0])).0, 0);
    let (code, _, error) = run(&["kv", "put", "secret/x", "hunter2"], "");
    assert_eq!((code, error.contains("hunter2")), (2, false), "{error}");
    assert_eq!(run(&["kv", "put", "secret/x", "p=\\@home"], "").0, 0);
    assert_eq!(run(&["kv", "get", "secret/x", "--field", "p"], "").1, "@home");
    assert_eq!(run(&["kv", "get", "secret/x", "--field", "p", "--format", "json"], "").1, "\"@home\"\n");
    let (code, _, error) = run(&["kv", "get", "nowhere/x"], "");
    assert_eq!(code, 4, "{error}");
    assert_eq!(run(&["status", "--address", "http://127.0.0.1:1"], "").0, 6);
    assert_eq!(run(&["status", "--address", "ftp://x"], "").0, 2);
}

#[test]
fn removal_and_writers_at_a_time_never_cost_an_acknowledged_version() {
    on_both(|server, keys| {
        let token = &keys.root_token;
        for round in 0..15 {
            let path = format!("secret/data/r{round}");
            let put = || server.post(&path, token, &json!({ "data": { "x": 1 } }));
            assert_eq!((put().status, put().status), (200, 200));
            thread::scope(|scope| {
                scope.spawn(|| {
                    let removed = server.request("DELETE", &format!("secret/metadata/r{round}"), token, None);
                    assert_eq!(removed.status, 204, "{}", removed.text);
                });
                for _ in 0..3 {
                    scope.spawn(|| assert_eq!(put().status, 200));
                }
            });
            let metadata = server.get(&format!("secret/metadata/r{round}"), token);
            for version in 1..=metadata.json()["data"]["current_version"].as_u64().unwrap_or(0) {
                let read = server.get(&format!("{path}?version={version}"), token);
                assert_eq!(read.status, 200, "version {version}: {}", read.text);
            }
        }
    });
}

#[test]
fn version_1_mount_is_used_by_its_own_paths_and_what_it_has_not_is_refused() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = &keys.root_token;
    let run = |arguments: &[&str]| {
        let output = server.cli(&site, token, arguments);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(run(&["mount", "create", "team/one", "--kv-version", "1"]).0, 0);
    let (code, said, error) = run(&["kv", "put", "team/one/app/db", "user=app", "port=1"]);
    assert_eq!((code, said.as_str()), (0, "team/one/app/db is written.\n"), "{error}");
    let stored = || server.get("team/one/app/db", token).json()["data"].clone();
    assert_eq!(stored(), json!({ "user": "app", "port": "1" }));
    assert_eq!(server.get("team/one/data/app/db", token).status, 404);
    assert_eq!(run(&["kv", "get", "team/one/app/db"]).1, "Field  Value\nuser   app\nport   1\n");
    assert_eq!(run(&["kv", "get", "team/one/app/db", "--field", "user"]).1, "app");
    let (_, told, _) = run(&["kv", "get", "team/one/app/db", "--format", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, json!({ "data": { "user": "app", "port": "1" }, "metadata": null }));
    assert_eq!(run(&["kv", "list", "team/one"]).1, "app/\n");
    assert_eq!(run(&["kv", "list", "team/one/app/"]).1, "db\n");

    for arguments in [
        &["put", "team/one/app/db", "user=x", "--cas", "0"] as &[&str],
        &["patch", "team/one/app/db", "user=x"],
        &["get", "team/one/app/db", "--version", "1"],
        &["delete", "team/one/app/db", "--versions", "1"],
        &["undelete", "team/one/app/db", "--versions", "1"],
        &["destroy", "team/one/app/db", "--versions", "1"],
        &["metadata", "get", "team/one/app/db"],
        &["metadata", "put", "team/one/app/db", "--max-versions", "3"],
        &["metadata", "patch", "team/one/app/db", "--max-versions", "3"],
        &["metadata", "delete", "team/one/app/db"],
        &["diff", "team/one/app/db"],
    ] {
        let (code, said, error) = run(&[&["kv"], arguments].concat());
        assert_eq!((code, said.as_str()), (2, ""), "{arguments:?}: {error}");
        let names_the_way = error.contains("version 1") && error.contains("kv enable-versioning team/one");
        assert!(names_the_way, "{arguments:?}: {error}");
    }
    assert_eq!(stored(), json!({ "user": "app", "port": "1" }));
    assert_eq!(server.request("LIST", "team/one", token, None).json()["data"]["keys"], json!(["app/"]));

    let one_version = json!({ "type": "kv", "options": { "version": "1" } });
    assert_eq!(server.post("sys/mounts/old", token, &one_version).status, 204);
    assert_eq!(run(&["kv", "put", "old/app", "a=b"]).0, 0);
    let (code, said, error) = run(&["kv", "enable-versioning", "old"]);
    assert!(code == 0 && said.starts_with("old keeps versions from now on."), "{said}{error}");
    within(Duration::from_secs(20), || run(&["kv", "get", "old/app", "--version", "1"]).0 == 0);
    assert_eq!(run(&["kv", "patch", "old/app", "c=d"]).0, 0);
    let read = server.get("old/data/app", token).json()["data"].clone();
    assert_eq!((&read["data"], &read["metadata"]["version"]), (&json!({ "a": "b", "c": "d" }), &json!(2)));
    let (code, _, error) = run(&["kv", "enable-versioning", "never"]);
    assert!(code != 0 && error.contains("never"), "{error}");

    let (code, said, _) = run(&["kv", "delete", "team/one/app/db"]);
    assert_eq!((code, said.as_str()), (0, "team/one/app/db is removed.\n"));
    assert_eq!(run(&["kv", "get", "team/one/app/db"]).0, 4);
    assert_eq!(server.get("team/one/app/db", token).status, 404);
    // A cubbyhole has version 1's paths.
    assert_eq!(run(&["kv", "put", "cubbyhole/mine", "a=b"]).0, 0);
    assert_eq!(run(&["kv", "get", "cubbyhole/mine", "--field", "a"]).1, "b");
    assert_eq!(run(&["kv", "list", "cubbyhole"]).1, "mine\n");
    let (code, _, error) = run(&["kv", "metadata", "get", "cubbyhole/mine"]);
    assert!(code == 2 && error.contains("a cubbyhole has no metadata"), "{error}");
    for arguments in [&["get", "team/one"] as &[&str], &["delete", "secret"], &["put", "team/one", "a=b"]] {
        let (code, _, error) = run(&[&["kv"], arguments].concat());
        assert!(code == 2 && error.contains("names a mount"), "{arguments:?}: {error}");
    }
}
