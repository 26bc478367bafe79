//! The way of an operator: import, crash, restart, and another plugin by one word of the configuration.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use keyway_e2e::{Keys, Server, Site, config};
use serde_json::{Value, json};

const DOTENV: &str = "\u{feff}# The application's settings.\n\
    export APP_NAME=Schlüsselweg   # its name\n\
    \n\
    PASSWORD=pa$$word#1 ${HOME}\n\
    QUOTED=\"with \\\"quotes\\\" and # no comment\"\n\
    SINGLE='$literal \\n # all of it'\n\
    EMPTY=\n\
    CERTIFICATE=\"-----BEGIN CERTIFICATE-----\n\
    MIIB # not a comment\n\
    -----END CERTIFICATE-----\n\
    \"\n\
    GREETING=こんにちは🔑\n\
    URL=postgres://app:s%3Dcret@db/app?sslmode=require\n";

fn data(server: &Server, token: &str, path: &str) -> Value {
    let answer = server.get(&format!("secret/data/{path}"), token);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()["data"].clone()
}

fn unsealed(site: &Site) -> (Server, Keys) {
    let server = site.start();
    let keys = server.init_and_unseal();
    (server, keys)
}

#[test]
fn imported_secrets_survive_a_crash_and_the_configuration_chooses_the_plugin() {
    let site = Site::new("sqlite");
    let (server, keys) = unsealed(&site);
    let token = &keys.root_token;
    fs::write(site.path("app.env"), DOTENV).unwrap();
    let secrets: serde_json::Map<String, Value> = (0..1_000)
        .map(|n| (format!("team {}/svc-{n}", n % 7), json!({ "number": n, "name": format!("nº {n}") })))
        .collect();
    fs::write(site.path("many.json"), Value::Object(secrets).to_string()).unwrap();

    let imported =
        server.cli(&site, token, &["kv", "import", "app.env", "secret/app/env", "--format", "json"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let imported =
        server.cli(&site, token, &["kv", "import", "many.json", "secret/many", "--format", "json"]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let written: Vec<Value> = serde_json::from_slice(&imported.stdout).unwrap();
    assert_eq!(written.len(), 1_000);

    server.kill();
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 503, "a restart must seal");
    assert!(!server.unseal(&keys.shares[0]));

    let env = data(&server, token, "app/env")["data"].clone();
    let expected = json!({
        "APP_NAME": "Schlüsselweg",
        "PASSWORD": "pa$$word#1 ${HOME}",
        "QUOTED": "with \"quotes\" and # no comment",
        "SINGLE": "$literal \\n # all of it",
        "EMPTY": "",
        "CERTIFICATE": "-----BEGIN CERTIFICATE-----\nMIIB # not a comment\n-----END CERTIFICATE-----\n",
        "GREETING": "こんにちは🔑",
        "URL": "postgres://app:s%3Dcret@db/app?sslmode=require",
    });
    assert_eq!(env, expected);
    for (n, written) in written.iter().enumerate() {
        let path = written["path"].as_str().unwrap().strip_prefix("secret/").unwrap().replace(' ', "%20");
        let found = data(&server, token, &path);
        assert_eq!(found["metadata"]["version"], written["version"], "{path} (line {n})");
        assert!(found["data"]["name"].as_str().unwrap().starts_with("nº "), "{path}");
    }
    let folders = server.cli(&site, token, &["kv", "list", "secret/many", "--format", "json"]);
    let folders: Vec<String> = serde_json::from_slice(&folders.stdout).unwrap();
    assert_eq!(folders, (0..7).map(|n| format!("team {n}/")).collect::<Vec<_>>());
    let names = server.cli(&site, token, &["kv", "list", "secret/many/team 3", "--format", "json"]);
    let names: Vec<String> = serde_json::from_slice(&names.stdout).unwrap();
    assert_eq!(names.len(), 143);

    assert!(server.terminate());
    site.configure(
        &config("sqlite")
            .replace("plugin = \"sqlite\"\nconfig = { path = \"keyway.db\" }", "plugin = \"memory\""),
    );
    let server = site.start();
    assert_eq!(server.get("sys/health", "").status, 501, "memory begins with nothing");
    let other = server.init_and_unseal();
    assert_eq!(server.get("secret/data/app/env", &other.root_token).status, 404);
    assert!(server.terminate());

    // And back: the first store is as it was.
    site.configure(&config("sqlite"));
    let server = site.start();
    assert!(!server.unseal(&keys.shares[0]));
    assert_eq!(data(&server, token, "app/env")["data"], expected);
}

#[test]
fn writes_acknowledged_before_a_crash_are_there_with_their_versions() {
    let site = Site::new("sqlite");
    let (mut server, keys) = unsealed(&site);
    let acknowledged = Mutex::new(BTreeMap::<String, u64>::new());
    for round in 0..3_u64 {
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (address, keys, acknowledged) = (server.address.clone(), &keys, &acknowledged);
                scope.spawn(move || {
                    for n in 0.. {
                        let path = format!("crash/{writer}-{}", n % 5);
                        let body = json!({ "data": { "round": round, "n": n } });
                        // The first write that is not answered is the last: the server is dead.
                        let Some(version) = write(&address, &keys.root_token, &path, &body) else { return };
                        acknowledged.lock().unwrap().insert(path, version);
                    }
                });
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            let enough = || acknowledged.lock().unwrap().values().sum::<u64>() >= (round + 1) * 60;
            while !enough() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            // While they write; and before a failure, or they would never end.
            server.kill();
            assert!(enough(), "the writers make no progress");
        });
        server = site.start();
        assert!(!server.unseal(&keys.shares[0]));
        for (path, version) in acknowledged.lock().unwrap().iter() {
            let found = data(&server, &keys.root_token, path);
            // A write that was under way may have been done, unanswered; no acknowledged one may be missing.
            let current = found["metadata"]["version"].as_u64().unwrap();
            assert!(current == *version || current == *version + 1, "{path}: {current} after {version}");
            let answer = server.get(&format!("secret/data/{path}?version={version}"), &keys.root_token);
            assert_eq!(answer.status, 200, "{path} version {version}: {}", answer.text);
        }
        *acknowledged.lock().unwrap() = current_versions(&server, &keys.root_token);
    }
}

/// The version that a write was acknowledged with, if it was.
fn write(address: &str, token: &str, path: &str, body: &Value) -> Option<u64> {
    let request = ureq::post(format!("{address}/v1/secret/data/{path}")).header("X-Vault-Token", token);
    let mut response = request.send(body.to_string()).ok()?;
    let answer: Value = serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()?;
    answer["data"]["version"].as_u64()
}

fn current_versions(server: &Server, token: &str) -> BTreeMap<String, u64> {
    let names = server.request("LIST", "secret/metadata/crash", token, None).json()["data"]["keys"].clone();
    let names: Vec<String> = serde_json::from_value(names).unwrap();
    names
        .into_iter()
        .map(|name| {
            let path = format!("crash/{name}");
            let version = data(server, token, &path)["metadata"]["version"].as_u64().unwrap();
            (path, version)
        })
        .collect()
}

#[test]
fn a_mistake_in_the_file_writes_nothing() {
    let site = Site::new("memory");
    let (server, keys) = unsealed(&site);
    for (file, text, says) in [
        ("a.env", "GOOD=1\nBAD='open\n", "line 2"),
        ("b.json", "{\"a\": {\"x\": 1}, \"b\": 7}", "\"b\" is no object"),
        ("c.json", "{\"a\": {\"x\": 1},", "no JSON object"),
    ] {
        fs::write(site.path(file), text).unwrap();
        let output = server.cli(&site, &keys.root_token, &["kv", "import", file, "secret/x"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(says) && error.contains("nothing was written"), "{error}");
    }
    assert_eq!(server.request("LIST", "secret/metadata", &keys.root_token, None).status, 404);
    let output = server.cli(&site, &keys.root_token, &["kv", "import", "missing.env", "secret/x"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn version_1_mount_takes_an_import_and_gives_it_back() {
    let site = Site::new("memory");
    let (server, keys) = unsealed(&site);
    let token = &keys.root_token;
    let run = |arguments: &[&str]| {
        let output = server.cli(&site, token, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["mount", "create", "one", "--kv-version", "1"]);
    fs::write(site.path("app.env"), "A=1\nB=two\n").unwrap();
    fs::write(site.path("many.json"), r#"{"a":{"n":12345678901234567890123},"b/c d":{"x":"y"}}"#).unwrap();
    assert_eq!(run(&["kv", "import", "app.env", "one/env"]), "one/env is written.\n");
    assert_eq!(run(&["kv", "import", "many.json", "one/many"]), "2 secrets written.\n");
    assert_eq!(server.get("one/env", token).json()["data"], json!({ "A": "1", "B": "two" }));
    assert_eq!(server.get("one/many/b/c%20d", token).json()["data"], json!({ "x": "y" }));
    let written = run(&["kv", "import", "app.env", "one/env", "--format", "json"]);
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, json!([{ "path": "one/env", "version": null }]));
    let exported = run(&["kv", "export", "one/many"]);
    assert_eq!(exported, "{\n  \"a\": {\"n\":12345678901234567890123},\n  \"b/c d\": {\"x\":\"y\"}\n}\n");
    // And on into a mount of version 2.
    fs::write(site.path("out.json"), exported).unwrap();
    run(&["kv", "import", "out.json", "secret/many"]);
    assert_eq!(data(&server, token, "many/b/c%20d")["data"], json!({ "x": "y" }));
}
