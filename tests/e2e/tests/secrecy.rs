//! What lies on the disk says nothing, and what was moved there does not open.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use keyway_e2e::Site;
use serde_json::json;

/// The key of the record of an older version: its path, a zero byte, the version, the beginning of its tag.
fn older(database: &rusqlite::Connection, path: &str, version: u64) -> Vec<u8> {
    let mut prefix = format!("v/{path}\0").into_bytes();
    prefix.extend_from_slice(&version.to_be_bytes());
    let sql = "SELECT key FROM entries WHERE substr(key, 1, length(?1)) = ?1";
    database.query_row(sql, [prefix], |row| row.get(0)).unwrap()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn database_wal_and_log_hold_no_plaintext_share_token_or_key() {
    // If there is one share of one, it is a first byte and then the unseal key itself.
    for (shares, threshold) in [(3, 2), (1, 1)] {
        search(shares, threshold);
    }
}

fn search(shares: u8, threshold: u8) {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init(shares, threshold);
    for share in keys.shares.iter().take(usize::from(threshold)) {
        server.unseal(share);
    }
    let token = &keys.root_token;
    for n in 0..50 {
        let body = json!({ "data": { "canary-field": format!("canary-value-{n}") } });
        assert_eq!(server.post("secret/data/app", token, &body).status, 200);
    }
    assert_eq!(server.get("secret/data/app", token).status, 200);
    // Requests that fail must not tell either, and not in their answers.
    let refused = server.post("secret/data/app", token, &json!({ "data": "canary-value-x" }));
    assert!(refused.status == 400 && !refused.text.contains("canary"), "{}", refused.text);
    let refused = server.request("POST", "secret/data/app", token, Some("\"canary-value-y\""));
    assert!(refused.status == 400 && !refused.text.contains("canary"), "{}", refused.text);
    server.post("sys/unseal", "", &json!({ "key": keys.shares.last() }));
    server.get("secret/data/app", "kw.canary-token");

    let mut needles: Vec<Vec<u8>> = ["canary-field", "canary-value", "canary-token"]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    let mut secret = |bytes: &[u8]| {
        needles.push(bytes.to_vec());
        needles.push(HEXLOWER.encode(bytes).into_bytes());
        needles.push(HEXUPPER.encode(bytes).into_bytes());
        needles.push(BASE64.encode(bytes).into_bytes());
    };
    for share in &keys.shares {
        secret(&HEXLOWER.decode(share.as_bytes()).unwrap());
        // The share without its x coordinate, too.
        secret(&HEXLOWER.decode(share.as_bytes()).unwrap()[1..]);
    }
    secret(token.as_bytes());
    secret(&BASE64URL_NOPAD.decode(token.strip_prefix("kw.").unwrap().as_bytes()).unwrap());

    let names = ["data/keyway.db", "data/keyway.db-wal", "data/keyway.db-shm", "log"];
    let mut total = 0;
    for name in names {
        let bytes = fs::read(site.path(name)).unwrap();
        total += bytes.len();
        for needle in &needles {
            assert!(!contains(&bytes, needle), "{name} holds {}", needle.escape_ascii());
        }
    }
    assert!(
        total > 50_000 && fs::metadata(site.log()).unwrap().len() > 5_000,
        "there was something to search: {total} bytes"
    );
    // The search does find plain text: the names of secrets are not encrypted, as the documents say.
    assert!(contains(&fs::read(site.path("data/keyway.db-wal")).unwrap(), b"m/app"));
    server.kill();
}

#[test]
fn canary_is_in_no_audit_line_metric_core_dump_or_environment() {
    let site = Site::new("sqlite");
    let trail = site.path("audit.log");
    site.configure(&format!(
        "{}\n[audit]\ndevices = [{{ type = \"file\", path = {trail:?} }}]\n",
        keyway_e2e::config("sqlite")
    ));
    // Started with core dumps enabled.
    let server = site.start_under(&["sh", "-c", "ulimit -c unlimited; exec \"$0\" \"$@\""], &[]);
    let keys = server.init(3, 2);
    let refused = server.post("sys/unseal", "", &json!({ "key": "canary-value" }));
    assert!(refused.status == 400 && !refused.text.contains("canary-value"), "{}", refused.text);
    for share in keys.shares.iter().take(2) {
        server.unseal(share);
    }
    let root = &keys.root_token;
    let body = json!({ "data": { "canary": "canary-value", "nested": [{ "canary": ["canary-value"] }] } });
    for (method, path) in
        [("POST", "secret/data/app"), ("POST", "cubbyhole/app"), ("POST", "sys/wrapping/wrap")]
    {
        let headers = [("X-Vault-Token", root.as_str()), ("X-Vault-Wrap-TTL", "60")];
        let answer = server.request_with(method, path, &headers, Some(&body.to_string()));
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", answer.text);
    }
    assert_eq!(server.get("secret/data/app", root).status, 200);
    // Refused requests, with a value in each place where none belongs.
    for (method, path, body) in [
        ("POST", "secret/data/app", "{\"data\":{},\"options\":{\"cas\":\"canary-value\"}}"),
        ("POST", "secret/data/app", "{\"data\":\"canary-value\"}"),
        ("POST", "secret/data/app", "canary-value"),
        ("PATCH", "secret/data/app", "{\"data\":\"canary-value\"}"),
        ("POST", "sys/rekey/update", "{\"key\":\"canary-value\",\"nonce\":\"x\"}"),
        ("POST", "auth/token/lookup", "{\"token\":\"canary-value\"}"),
        ("POST", "sys/wrapping/unwrap", "{\"token\":\"canary-value\"}"),
    ] {
        let answer = server.request(method, path, root, Some(body));
        assert!(answer.status >= 400 && !answer.text.contains("canary-value"), "{path}: {}", answer.text);
    }
    // An unsealed server asks for no share, and takes none.
    let answer = server.post("sys/unseal", "", &json!({ "key": "canary-value" }));
    assert!(answer.status == 200 && !answer.text.contains("canary-value"), "{}", answer.text);
    server.get("secret/data/app", "kw.canary-value");
    let metrics = server.get("sys/metrics", root).text;
    let pid = server.pid();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");

    let mut searched = vec![
        ("the audit log", fs::read(&trail).unwrap()),
        ("the log", fs::read(site.log()).unwrap()),
        ("the metrics", metrics.into_bytes()),
        ("the environment", environment),
    ];
    assert!(searched[0].1.len() > 10_000, "there was something to search");
    // An abort leaves no image of the memory: not here, where the kernel writes one by default.
    let aborted = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(aborted, rustix::process::Signal::ABORT).unwrap();
    assert!(!server.wait());
    for entry in fs::read_dir(site.path("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.starts_with("core"), "{name} is a core dump");
        if path.is_file() {
            searched.push(("the server's directory", fs::read(path).unwrap()));
        }
    }
    let secrets = keys.shares.iter().chain([root]).map(String::as_str).chain(["canary-value"]);
    for secret in secrets {
        for (place, bytes) in &searched {
            assert!(!contains(bytes, secret.as_bytes()), "{secret} is in {place}");
        }
    }
}

#[test]
fn ciphertext_moved_to_another_path_is_an_error_that_names_the_record() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = &keys.root_token;
    for (path, versions) in [("app/one", 2), ("app/two", 2), ("app/three", 2), ("app/four", 3)] {
        for n in 0..versions {
            let body = json!({ "data": { "of": path, "n": n } });
            assert_eq!(server.post(&format!("secret/data/{path}"), token, &body).status, 200);
        }
    }
    assert!(server.terminate());

    let database = rusqlite::Connection::open(site.path("data/keyway.db")).unwrap();
    let moved = |from: &[u8], to: &[u8]| {
        let sql = "UPDATE entries SET value = (SELECT value FROM entries WHERE key = ?1) WHERE key = ?2";
        assert_eq!(database.execute(sql, (from, to)).unwrap(), 1);
    };
    // A whole secret, an older version of another secret, and an older version of the same secret.
    moved(b"m/app/one", b"m/app/two");
    moved(&older(&database, "app/one", 1), &older(&database, "app/three", 1));
    moved(&older(&database, "app/four", 1), &older(&database, "app/four", 2));
    drop(database);

    let server = site.start();
    assert!(!server.unseal(&keys.shares[0]));
    let two = server.get("secret/data/app/two", token);
    assert_eq!(two.status, 500, "{}", two.text);
    assert!(two.error().contains("\"app/two\"") && !two.text.contains("app/one"), "{}", two.text);
    let three = server.get("secret/data/app/three?version=1", token);
    assert_eq!(three.status, 500, "{}", three.text);
    assert!(three.error().contains("\"app/three\""), "{}", three.text);
    let four = server.get("secret/data/app/four?version=2", token);
    assert_eq!(four.status, 500, "{}", four.text);
    let list = server.request("LIST", "secret/metadata/app", token, None);
    assert_eq!(list.json()["data"]["keys"], json!(["four", "one", "three", "two"]));
    // The others are untouched, and a damaged secret is not written over by accident.
    assert_eq!(server.get("secret/data/app/one", token).json()["data"]["data"]["of"], "app/one");
    assert_eq!(server.get("secret/data/app/three", token).json()["data"]["data"]["n"], 1);
    assert_eq!(server.post("secret/data/app/two", token, &json!({ "data": {} })).status, 500);
}

#[test]
fn value_of_a_removed_secret_does_not_open_in_its_successor() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = &keys.root_token;
    let put = |server: &keyway_e2e::Server, value: &str| {
        let body = json!({ "data": { "v": value } });
        assert_eq!(server.post("secret/data/a", token, &body).status, 200);
    };
    put(&server, "first");
    put(&server, "second");
    assert!(server.terminate());
    let old: Vec<u8> = {
        let database = rusqlite::Connection::open(site.path("data/keyway.db")).unwrap();
        let key = older(&database, "a", 1);
        database.query_row("SELECT value FROM entries WHERE key = ?1", [key], |row| row.get(0)).unwrap()
    };
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(server.request("DELETE", "secret/metadata/a", token, None).status, 204);
    put(&server, "third");
    put(&server, "fourth");
    assert!(server.terminate());
    // The same path, the same version number, an authentic envelope: only its tag gives it away.
    let database = rusqlite::Connection::open(site.path("data/keyway.db")).unwrap();
    let key = older(&database, "a", 1);
    assert_eq!(database.execute("UPDATE entries SET value = ?1 WHERE key = ?2", (&old, &key)).unwrap(), 1);
    drop(database);
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(server.get("secret/data/a?version=1", token).status, 500);
    assert_eq!(server.get("secret/data/a", token).json()["data"]["data"]["v"], "fourth");
}

#[test]
fn server_leaves_no_core_dump() {
    let site = Site::new("memory");
    let server = site.start_under(site.as_unprivileged(), &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // Root owns the files in /proc of a process that is not dumpable, whichever user runs it.
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let user = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert_ne!(user.split_whitespace().nth(1), Some("0"), "{user}");
    let environ = fs::metadata(format!("/proc/{}/environ", server.pid())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&environ), 0);
}
