//! Versions that do not work: the one that serves, serves on, no request fails, and the answer says why.

use std::time::{Duration, Instant};

use keyway_e2e::{Server, Site, load::Load, plugins, within};

use crate::reload::hang_up;
use serde_json::{Value, json};

/// A flaw of a version, the text of the answer, and whether the swap found it before any request had to wait.
const FLAWS: [(&str, &str, bool); 11] = [
    ("crash", "it crashes the process in which it opens an empty store: SIGABRT", true),
    ("hang", "it has not opened an empty store within 10 s", true),
    ("forgets", "reading a record answers wrongly", true),
    ("hang later", "opening it took longer than 2000 ms", false),
    ("panic", "panic", false),
    ("panic later", "panic", false),
    ("unhealthy", "is open but not healthy: live: true, readable: true, writable: false", false),
    ("unhealthy later", "is open but not healthy", false),
    ("forgets later", "it is another store", false),
    ("newer format", "this version needs format 3", false),
    ("newer format later", "this version needs format 3", false),
];

#[test]
fn version_that_does_not_work_leaves_the_old_one_serving_and_no_request_fails() {
    let site = plugins::site();
    site.configure(&(plugins::configuration(&site) + "\n[swap]\nopen_s = 2\n"));
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    let load = Load::begin(&server.address, &token, 8);
    for (flaw, reason, is_early) in FLAWS {
        plugins::ship(&site, "libkeyway_sqlite-1.1.0.so", &plugins::flawed(flaw));
        plugins::lock(&site);
        let before = generation(&server, &token);
        let answer = server.post("sys/backends/main/swap", &token, &json!({ "plugin": "sqlite@^1.1" }));
        assert!(answer.status == 400 || answer.status == 500, "{flaw}: {}", answer.text);
        assert!(answer.error().starts_with("not swapped: "), "{flaw}: {}", answer.text);
        assert!(answer.error().contains(reason), "{flaw}: {}", answer.error());
        load.go_on(50);
        let now = generation(&server, &token);
        assert_eq!(now["version"], "1.0.0", "{flaw}: {now}");
        assert_eq!(now["health"]["writable"], true, "{flaw}: {now}");
        assert_eq!(now["generation"] == before["generation"], is_early, "{flaw}: {before} {now}");
        assert_eq!(now["last_swap"]["outcome"], "failed", "{flaw}: {now}");
        assert_eq!(load.failures(), [""; 0], "{flaw}");
    }
    let outcome = load.end();
    assert_eq!(outcome.failures, [""; 0]);
    outcome.check(10, |path, version| {
        server.get(&format!("secret/data/{path}?version={version}"), &token).json()["data"].clone()
    });
}

#[test]
fn version_that_fails_behind_its_swap_is_rolled_back_by_itself() {
    for (flaw, settings, why) in [
        ("fails later", "max_error_percent = 5", "calls have failed"),
        ("slow later", "max_latency_ms = 50", "95 of 100 calls take up to"),
        ("read-only later", "max_error_percent = 5", "calls have failed"),
    ] {
        let site = plugins::site();
        let audit = site.path("audit.log");
        let device = format!("[audit]\ndevices = [{{ type = \"file\", path = {audit:?} }}]");
        let text = format!("{}\n[swap]\n{settings}\n\n{device}\n", plugins::configuration(&site));
        site.configure(&text);
        let server = site.start();
        let keys = server.init_and_unseal();
        let token = keys.root_token.clone();
        assert_eq!(server.post("secret/data/a", &token, &json!({ "data": { "value": 1 } })).status, 200);
        plugins::ship(&site, "libkeyway_sqlite-1.1.0.so", &plugins::flawed(flaw));
        plugins::lock(&site);
        let answer = server.post("sys/backends/main/swap", &token, &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["data"]["to"]["version"], "1.1.0");
        let begun = Instant::now();
        let is_back = || {
            // The watch judges the version by these calls.
            let _answer = server.get("secret/data/a", &token);
            let _answer = server.post("secret/data/b", &token, &json!({ "data": { "value": 1 } }));
            site.log_text().contains("ROLLING BACK")
        };
        within(Duration::from_secs(30), is_back);
        let serves = || server.get("secret/data/a", &token).status == 200;
        within(Duration::from_secs(30), serves);
        within(Duration::from_secs(30), || generation(&server, &token)["last_swap"]["by"] == "watch");
        let now = generation(&server, &token);
        assert_eq!((&now["version"], &now["last_swap"]["by"]), (&json!("1.0.0"), &json!("watch")), "{now}");
        assert_eq!(now["last_swap"]["outcome"], "rolled_back", "{now}");
        println!("{flaw}: rolled back after {} ms", begun.elapsed().as_millis());
        let audited = std::fs::read_to_string(&audit).unwrap();
        let line = audited.lines().find(|line| line.contains("sys/backends/main/rollback")).unwrap();
        assert!(line.contains(why), "{line}");
        // Nor does a restart take it again.
        assert!(server.terminate());
        let server = site.start();
        within(Duration::from_secs(30), || site.log_text().contains("it was rolled back"));
        server.unseal(&keys.shares[0]);
        assert_eq!(generation(&server, &token)["version"], "1.0.0", "{flaw}");
        // Nor does a reload, even if another setting has changed.
        let reloaded = text.replace("\"keyway.db\"", "\"./keyway.db\"");
        site.configure(&reloaded);
        hang_up(&server);
        within(Duration::from_secs(30), || generation(&server, &token)["last_swap"]["by"] == "reload");
        assert_eq!(generation(&server, &token)["version"], "1.0.0", "{flaw}");
        // A swap by command takes it.
        let named = server.post("sys/backends/main/swap", &token, &json!({}));
        assert_eq!(named.json()["data"]["to"]["version"], "1.1.0", "{}", named.text);
    }
}

#[test]
fn data_of_a_volatile_store_is_neither_lost_nor_kept_without_saying_so() {
    let site = Site::new("memory");
    let text = std::fs::read_to_string(site.config()).unwrap()
        + "\n[backends.other]\nplugin = \"memory\"\n\n[mounts.other]\nbackend = \"other\"\n";
    site.configure(&text);
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    let write = || server.post("other/data/a", &token, &json!({ "data": { "value": 1 } })).status;
    let swap = |name: &str, body: Value| server.post(&format!("sys/backends/{name}/swap"), &token, &body);
    assert_eq!(write(), 200);
    let refused = swap("other", json!({}));
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.error().contains("--migrate to have them copied, or --discard"), "{}", refused.error());
    let both = swap("other", json!({ "migrate": true, "discard": true }));
    assert_eq!(both.status, 400, "{}", both.text);
    let migrated = swap("other", json!({ "migrate": true })).json()["data"].clone();
    assert_eq!(migrated["kind"], "reopening", "{migrated}");
    assert!(migrated["migrated_records"].as_u64().unwrap() > 0, "{migrated}");
    assert_eq!(server.get("other/data/a", &token).status, 200);
    let discarded = swap("other", json!({ "discard": true }));
    assert_eq!(discarded.status, 200, "{}", discarded.text);
    assert_eq!(server.get("other/data/a", &token).status, 404);
    assert_eq!(write(), 200);
    let system = swap("main", json!({ "discard": true }));
    assert_eq!(system.status, 400, "{}", system.text);
    assert!(system.error().contains("the system backend holds the keys"), "{}", system.error());
    assert_eq!(server.get("other/data/a", &token).status, 200);
}

#[test]
fn another_store_is_refused_and_so_is_nonsense() {
    let site = plugins::site();
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    assert_eq!(server.post("secret/data/a", &token, &json!({ "data": { "value": 1 } })).status, 200);
    for (body, reason) in [
        (json!({ "config": { "path": "other.db" } }), "it is another store"),
        (json!({ "config": { "path": 7 } }), "does not suit plugin sqlite"),
        (json!({ "plugin": "sqlite@^2" }), "its version is 1.0.0"),
        (json!({ "plugin": "gone" }), "was not found"),
        (json!({ "plugin": "no such name" }), "is not a plugin's name"),
        (json!({ "plugin": "sqlite@one" }), "is not a version requirement"),
        (json!({ "migrate": true }), "leave out --migrate"),
        (json!({ "force": true }), "force"),
        (json!({ "config": "path" }), "of the wrong type"),
    ] {
        let answer = server.post("sys/backends/main/swap", &token, &body);
        assert!(answer.status == 400 || answer.status == 500, "{body}: {}", answer.text);
        assert!(answer.text.contains(reason), "{body}: {}", answer.text);
        assert_eq!(server.get("secret/data/a", &token).status, 200, "{body}");
    }
    let back = server.post("sys/backends/main/rollback", &token, &json!({}));
    assert_eq!(back.status, 400, "{}", back.text);
    assert!(back.error().contains("none to go back to"), "{}", back.error());
    assert_eq!(server.post("sys/backends/gone/swap", &token, &json!({})).status, 404);
    // A newer version that cannot be used is not passed over in silence.
    plugins::ship(&site, "libkeyway_sqlite-1.1.0.so", &plugins::flawed("forgets"));
    plugins::lock(&site);
    let newer = server.post("sys/backends/main/swap", &token, &json!({}));
    assert_eq!(newer.status, 400, "{}", newer.text);
    assert!(newer.error().contains("nothing newer than what serves can be used"), "{}", newer.error());
    std::fs::remove_file(site.path("plugins/libkeyway_sqlite-1.1.0.so")).unwrap();
    // The same library, and nothing else to swap to.
    let reopened = server.post("sys/backends/main/swap", &token, &json!({}));
    assert_eq!(reopened.json()["data"]["kind"], "reopening", "{}", reopened.text);
    assert_eq!(server.get("secret/data/a", &token).status, 200);
}

fn generation(server: &Server, token: &str) -> Value {
    server.get("sys/backends/main", token).json()["data"].clone()
}
