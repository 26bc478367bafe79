//! Bad input: a clear error with what to do, the right status or exit code, and nothing lost.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, net::TcpListener, time::Duration};

use keyway_e2e::{Site, built, config, within};
use serde_json::json;

/// The exit code and the error text of a server that must not start.
fn refused_start(site: &Site) -> (i32, String) {
    let output = site.run(&["server", "--config", site.config().to_str().unwrap()]);
    assert!(output.stdout.is_empty(), "a server that does not start says that it is ready");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Starts a server without its backend, checks that health gives the `summary`, and answers the log.
fn starts_without_backend(site: &Site, summary: &str) -> String {
    let _old = fs::remove_file(site.log());
    let server = site.start();
    let health = server.get("sys/health", "");
    let state =
        health.json().pointer("/storage/main").and_then(|state| state.as_str().map(str::to_owned)).unwrap();
    assert!(health.status == 503 && state.contains(summary), "{summary:?} is not in {}", health.text);
    assert!(!state.contains('/'), "strangers are told paths: {state}");
    let status = server.cli(site, "", &["status"]);
    assert_eq!(status.status.code(), Some(6));
    assert_says(&String::from_utf8_lossy(&status.stdout), &["Backend main: not available", summary]);
    let told = server.cli(site, "", &["status", "--config", "keyway.toml"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("\nBackend main: plugin ") || told.contains("\nBackend main: uses "), "{told}");
    let refused = server.get("secret/data/a", "kw.any");
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(server.terminate(), "a server without its backend does not end in order");
    // As it was written, without the escapes of JSON.
    fs::read_to_string(site.log()).unwrap().replace("\\n", "\n").replace("\\\"", "\"")
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn configuration_with_an_unknown_key_is_refused() {
    let site = Site::new("memory");
    site.configure(&format!("lisetn = \"127.0.0.1:0\"\n{}", config("memory")));
    let (code, error) = refused_start(&site);
    assert_eq!(code, 2, "{error}");
    assert_says(&error, &["keyway.toml", "unknown field `lisetn`", "line 1"]);
    let checked = site.run(&["config", "check", "--config", "keyway.toml"]);
    assert_eq!(checked.status.code(), Some(2));
    site.configure(&config("memory"));
    assert!(site.run(&["config", "check", "--config", "keyway.toml"]).status.success());
    assert_eq!(site.run(&["config", "check", "--config", "none.toml"]).status.code(), Some(2));
}

#[test]
fn configuration_of_a_backend_with_an_unknown_key_is_refused() {
    let site = Site::new("sqlite");
    site.configure(&config("sqlite").replace("path = \"keyway.db\"", "path = \"keyway.db\", pth = 1"));
    let error = starts_without_backend(&site, "its configuration does not suit its plugin");
    assert_says(&error, &["backend \"main\"", "plugin sqlite 1.0.0", "pth"]);
}

#[test]
fn missing_plugin_lists_every_directory_that_was_tried() {
    let site = Site::new("memory");
    fs::create_dir(site.path("empty")).unwrap();
    let empty = site.path("empty");
    site.configure(&config("memory").replace(built().to_str().unwrap(), empty.to_str().unwrap()));
    let error = starts_without_backend(&site, "plugin memory was not found");
    assert_says(&error, &["plugin memory was not found", empty.to_str().unwrap(), "/usr/lib/keyway/plugins"]);
    assert_says(&error, &["does not exist", "libkeyway_memory.so", "--plugin-dir"]);
    // And the directory that is named by hand comes first.
    let given =
        site.run(&["plugin", "list", "--config", "keyway.toml", "--plugin-dir", built().to_str().unwrap()]);
    assert_says(&String::from_utf8_lossy(&given.stdout), &["memory", "locked", "from --plugin-dir"]);
}

#[test]
fn library_that_is_text_truncated_or_no_plugin_is_refused() {
    let site = Site::new("memory");
    let plugins = site.path("plugins");
    fs::create_dir(&plugins).unwrap();
    site.configure(&config("memory").replace(built().to_str().unwrap(), plugins.to_str().unwrap()));
    let library = plugins.join("libkeyway_memory.so");
    let whole = fs::read(built().join("libkeyway_memory.so")).unwrap();
    let no_plugin = fs::read(built().join("libnot_a_plugin.so")).unwrap();
    for (bytes, says, summary) in [
        (&b"hello"[..], "not a shared library", "its file is no library"),
        (&whole[..whole.len() / 2], "truncated or damaged", "its file is damaged"),
        (&no_plugin[..], "no Keyway plugin", "its file is no plugin"),
    ] {
        fs::write(&library, bytes).unwrap();
        let error = starts_without_backend(&site, summary);
        assert_says(&error, &[says, library.to_str().unwrap()]);
        let info = site.run(&["plugin", "info", library.to_str().unwrap()]);
        assert_eq!(info.status.code(), Some(1));
        assert_says(&String::from_utf8_lossy(&info.stderr), &[says]);
    }
    assert_eq!(site.run(&["plugin", "info", "nowhere.so"]).status.code(), Some(4));
    fs::write(&library, &whole).unwrap();
    site.start().kill();
    let info = site.run(&["plugin", "info", library.to_str().unwrap()]);
    assert_says(&String::from_utf8_lossy(&info.stdout), &["memory", "1.0.0", "max_bytes", "SHA-256"]);
}

#[test]
fn library_that_is_not_in_the_lock_is_refused() {
    let site = Site::new("memory");
    let lock = site.path("keyway.lock");
    let locked = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, "").unwrap();
    let error = starts_without_backend(&site, "it is not trusted");
    assert_says(
        &error,
        &["memory 1.0.0", "is not in", "keyway.lock", "SHA-256 is", "keyway plugin lock --config"],
    );
    fs::write(&lock, locked).unwrap();
    site.start().kill();
}

#[test]
fn configuration_without_a_trust_policy_is_a_refusal() {
    let site = Site::new("memory");
    site.configure(&config("memory").replace("[trust]\npolicy = \"lock\"\n", ""));
    let (code, error) = refused_start(&site);
    assert_eq!(code, 2, "{error}");
    assert_says(&error, &["trust.policy", "keyway plugin lock"]);
}

#[test]
fn port_in_use_is_named() {
    let site = Site::new("memory");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    site.configure(&config("memory").replace("127.0.0.1:0", &address));
    let (code, error) = refused_start(&site);
    assert_eq!(code, 6, "{error}");
    assert_says(&error, &[&address, "in use", "`listen`"]);
}

#[test]
fn second_server_on_the_same_database_waits_and_the_first_serves_on() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let error = starts_without_backend(&site, "its store cannot be opened");
    assert_says(&error, &["keyway.db is in use by process"]);
    // After the first has ended, the second takes over by itself.
    let second = site.start();
    assert_eq!(second.get("sys/health", "").status, 503);
    let body = json!({ "data": { "k": "v" } });
    assert_eq!(server.post("secret/data/a", &keys.root_token, &body).status, 200);
    assert!(server.terminate());
    within(Duration::from_secs(30), || second.get("sys/seal-status", "").status == 200);
    second.unseal(&keys.shares[0]);
    assert_eq!(second.get("secret/data/a", &keys.root_token).json()["data"]["data"]["k"], "v");
}

#[test]
fn wrong_requests_have_the_right_status_and_change_nothing() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = &keys.root_token;
    let put = |body: &str| server.request("POST", "secret/data/a", token, Some(body)).status;
    let deep = format!("{{\"data\":{}1{}}}", "{\"x\":".repeat(100), "}".repeat(100));
    for body in
        ["{", "[]", "{\"data\":", "{\"data\":[]}", "{\"data\":\"x\"}", "{\"date\":{}}", "\u{fffe}", &deep]
    {
        assert_eq!(put(body), 400, "{body}");
    }
    assert_eq!(put(&format!("{{\"data\":{{\"x\":\"{}\"}}}}", "x".repeat(33 * 1024 * 1024))), 413);
    assert_eq!(server.request("LIST", "secret/metadata", token, None).status, 404, "nothing was written");
    for path in ["secret/data/a%2Fb", "secret/data/a/../b", "secret/data/%2e%2e/b", "secret/data/a%00"] {
        assert_eq!(server.get(path, token).status, 400, "{path}");
    }
    assert_eq!(server.get(&format!("secret/data/{}", "x".repeat(600)), token).status, 400);
    for path in ["nothing/data/a", "secret/data/", "secret/none/a", "sys/none", "none"] {
        assert_eq!(server.get(path, token).status, 404, "{path}");
    }
    for (method, path) in
        [("LIST", "secret/data/a"), ("DELETE", "sys/health"), ("PATCH", "sys/mounts"), ("BREW", "sys/health")]
    {
        assert_eq!(server.request(method, path, token, Some("{}")).status, 405, "{method} {path}");
    }
    for path in
        ["secret/data/a", "secret/metadata/a", "sys/mounts", "sys/internal/ui/mounts/secret", "nothing/x"]
    {
        assert_eq!(server.get(path, "").status, 403, "{path}");
        assert_eq!(server.get(path, "kw.wrong").status, 403, "{path}");
    }
}
