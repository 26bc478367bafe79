//! Rate limits of one client, for attempts and for requests: 429 with Retry-After, and no effect on other
//! clients.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use keyway_e2e::{Server, Site, config, within};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

/// One request from this address of the loopback: its status, and how long to wait.
fn from(
    server: &Server,
    source: [u8; 4],
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> (u16, Option<u64>) {
    let address: SocketAddr = server.address.trim_start_matches("http://").parse().unwrap();
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&bound, &SocketAddr::from((Ipv4Addr::from(source), 0))).unwrap();
    connect(&bound, &address).unwrap();
    let mut stream = TcpStream::from(bound);
    let head = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let wait = answer
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("retry-after: ")?.trim().parse().ok());
    (status, wait)
}

const ONE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

#[test]
fn attempts_to_unseal_and_to_log_in_are_bounded_for_each_client() {
    let site = Site::new("memory");
    site.configure(&format!("{}\n[limits]\nclient_attempts_per_minute = 6\n", config("memory")));
    let server = site.start();
    let keys = server.init(3, 2);
    let wrong = json!({ "key": "00".repeat(33) }).to_string();
    let attempt = |source, path: &str, body: &str| from(&server, source, "POST", path, "", body);
    let mut refused = None;
    for _ in 0..20 {
        match attempt(ONE, "sys/unseal", &wrong) {
            (400, _) => {}
            (status, wait) => {
                refused = Some((status, wait));
                break;
            }
        }
    }
    assert!(matches!(refused, Some((429, Some(1..=11)))), "{refused:?}");
    // Even the right share is refused; a client at another address is not.
    let share = |n: usize| json!({ "key": keys.shares.get(n).unwrap() }).to_string();
    assert_eq!(attempt(ONE, "sys/unseal", &share(0)).0, 429);
    assert_eq!(attempt(OTHER, "sys/unseal", &share(0)).0, 200);
    assert_eq!(attempt(OTHER, "sys/unseal", &share(1)).0, 200);
    // The limit of attempts does not apply to requests with a token.
    for _ in 0..20 {
        assert_eq!(from(&server, ONE, "GET", "auth/token/lookup-self", &keys.root_token, "").0, 200);
    }
    assert_eq!(
        from(&server, ONE, "POST", "sys/auth/approle", &keys.root_token, "{\"type\":\"approle\"}").0,
        204
    );
    let login = json!({ "role_id": "a", "secret_id": "b" }).to_string();
    assert_eq!(attempt(ONE, "auth/approle/login", &login).0, 429);
    let elsewhere: Vec<u16> =
        (0..10).map(|_| attempt([127, 0, 0, 3], "auth/approle/login", &login).0).collect();
    assert!(
        elsewhere.starts_with(&[400, 400, 400, 400, 400, 400]) && elsewhere.contains(&429),
        "{elsewhere:?}"
    );
}

#[test]
fn requests_of_one_client_are_limited_and_health_is_answered() {
    let site = Site::new("memory");
    site.configure(&format!("{}\n[limits]\nclient_requests_per_s = 5\n", config("memory")));
    let server = site.start();
    let keys = server.init_and_unseal();
    let read = |source| from(&server, source, "GET", "auth/token/lookup-self", &keys.root_token, "");
    let answers: Vec<(u16, Option<u64>)> = (0..200).map(|_| read(ONE)).collect();
    assert!(answers.iter().any(|(status, _)| *status == 200));
    assert!(answers.contains(&(429, Some(1))), "{answers:?}");
    assert_eq!(read(OTHER).0, 200);
    for path in ["sys/health", "sys/seal-status"] {
        assert!((0..50).all(|_| from(&server, ONE, "GET", path, "", "").0 == 200), "{path}");
    }
}

/// The body of a write of a secret with `fields` fields.
fn body_of(fields: usize) -> String {
    let fields: Vec<String> = (0..fields).map(|field| format!("\"field-{field}\":{field}")).collect();
    format!("{{\"data\":{{{}}}}}", fields.join(","))
}

/// A small request waits for no large one: while more of them are computed than the server has threads, it is
/// served many times before the first of them is answered.
#[test]
fn large_requests_delay_no_small_one() {
    const FIELDS: usize = 50_000;
    /// A server that computes on the threads that serve answers at most a few before the first large one.
    const SERVED: usize = 40;
    let site = Site::new("memory");
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    let large = body_of(FIELDS);
    assert_eq!(server.request("POST", "secret/data/large", &token, Some(&large)).status, 200);
    assert_eq!(server.post("secret/data/small", &token, &json!({ "data": { "a": 1 } })).status, 200);
    // With these, the gate looks at each field, too.
    let rules = "path \"secret/*\" {\ncapabilities = [\"read\", \"create\", \"update\", \"patch\"]\n\
                 denied_parameters = {\n\"no\" = []\n}\n}";
    assert_eq!(server.post("sys/policies/acl/fields", &token, &json!({ "policy": rules })).status, 204);
    let made = server.post("auth/token/create", &token, &json!({ "policies": ["fields"] })).json();
    let bound = made["auth"]["client_token"].as_str().unwrap();
    let patch = |path: &str| {
        let headers = [("X-Vault-Token", bound), ("Content-Type", "application/merge-patch+json")];
        server.request_with("PATCH", path, &headers, Some(&large))
    };
    let kinds: [&(dyn Fn() -> u16 + Sync); 4] = [
        &|| server.get("secret/subkeys/large", &token).status,
        &|| patch("secret/data/large").status,
        &|| server.request("POST", "secret/data/another", bound, Some(&large)).status,
        &|| server.get("secret/data/large", &token).status,
    ];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for (kind, ask) in kinds.iter().enumerate() {
        let answered = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 * threads {
                scope.spawn(|| {
                    let status = ask();
                    answered.store(true, Ordering::SeqCst);
                    assert_eq!(status, 200, "{kind}");
                });
            }
            let mut served = 0;
            while !answered.load(Ordering::SeqCst) {
                assert_eq!(server.get("secret/data/small", &token).status, 200);
                served += 1;
            }
            eprintln!("kind {kind}: {served}");
            assert!(served >= SERVED, "{served} small ones before the first large one of kind {kind}");
        });
    }
}

/// What large requests have needed is the operating system's again, though threads of all kinds have computed
/// them.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn memory_of_large_requests_is_given_back() {
    const FIELDS: usize = 300_000;
    /// What the server needs with such a secret in its memory.
    const QUIET_MIB: u64 = 75;
    let site = Site::new("memory");
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    let large = body_of(FIELDS);
    assert_eq!(server.request("POST", "secret/data/large", &token, Some(&large)).status, 200);
    let resident_mib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    within(Duration::from_secs(30), || resident_mib() < QUIET_MIB);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(server.get("secret/subkeys/large", &token).status, 200));
            }
        });
    }
    within(Duration::from_secs(30), || resident_mib() < QUIET_MIB);
}
