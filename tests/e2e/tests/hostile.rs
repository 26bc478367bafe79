//! What a hostile client may send, written to the socket byte by byte: the right status, memory bounded, the
//! server alive.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use keyway_e2e::{Keys, Server, Site, within};

/// A connection that is written to by hand.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads until the server closes or is silent for long. Answers the first status, or zero if there is
    /// none, and the text.
    fn status(&mut self) -> (u16, String) {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            match self.0.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(length) => bytes.extend_from_slice(&piece[..length]),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text)
    }

    /// Whether the server has closed the connection.
    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok()
    }
}

fn start() -> (Site, Server, Keys) {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    (site, server, keys)
}

fn send(server: &Server, request: &[u8]) -> (u16, String) {
    let mut raw = Raw::connect(server);
    raw.send(request).unwrap();
    raw.status()
}

/// The most memory that the server has had so far.
fn peak_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn paths_that_two_readers_could_read_differently_are_400() {
    let (_site, server, keys) = start();
    let token = &keys.root_token;
    for path in [
        "/v1/secret/data/../../sys/seal",
        "/v1/secret/data/%2e%2e/x",
        "/v1/secret/data/%2E%2E%2Fsys",
        "/v1/secret/data/a%2Fb",
        "/v1/secret/data/a%2fb",
        "/v1/secret/data/./a",
        "/v1/secret/data/a%00b",
        "/v1/secret//data/a",
        "/v1//secret/data/a",
        "/v1/secret/data/a%",
        "/v1/secret/data/a%zz",
        "/v1/secret/data/%ff%fe",
        "/v1/secret/data/%c0%af",
        "/v1/secret/data/a%0d%0aX-Vault-Token:%20x",
        "/v1/secret/data/a\\..\\b/..",
        "/",
        "/v1",
        "/v2/secret/data/a",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\n\r\n");
        let (status, text) = send(&server, request.as_bytes());
        assert_eq!(status, 400, "{path}: {text}");
    }
    for raw in
        [b"GET /v1/secret/data/a\0b HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), b"GET /v1/a b HTTP/1.1\r\n\r\n"]
    {
        assert_eq!(send(&server, raw).0, 400);
    }
    assert_eq!(server.get("sys/health", "").status, 200, "nothing was sealed");
}

#[test]
fn requests_that_are_smuggled_or_no_http_are_400_and_the_connection_closes() {
    let (_site, server, keys) = start();
    let token = &keys.root_token;
    let body = r#"{"data":{}}"#;
    let write = "POST /v1/secret/data/smuggled HTTP/1.1\r\nHost: x\r\n";
    for request in [
        // Two lengths, and a length with chunks.
        format!("{write}X-Vault-Token: {token}\r\nContent-Length: 11\r\nContent-Length: 5\r\n\r\n{body}"),
        format!("{write}X-Vault-Token: {token}\r\nContent-Length: +11\r\n\r\n{body}"),
        format!("{write}X-Vault-Token: {token}\r\nContent-Length: eleven\r\n\r\n{body}"),
        format!("{write}X-Vault-Token: {token}\r\nTransfer-Encoding: chunked, identity\r\n\r\n{body}"),
        format!("{write} folded: x\r\n\r\n{body}"),
        format!("{write}X Vault-Token: {token}\r\n\r\n"),
        "GET /v1/sys/health HTTP/9.9\r\n\r\n".to_owned(),
        "GET /v1/sys/health\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}rubbish\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
    ] {
        let mut raw = Raw::connect(&server);
        raw.send(request.as_bytes()).unwrap();
        let (status, text) = raw.status();
        assert!(status == 400 || status == 0, "{request:?}: {text}");
        assert!(raw.is_closed(), "{request:?}");
    }
    // If a request has a length and chunks, the chunks count (RFC 9112, 6.3). The rest is not a second
    // request.
    let both = format!(
        "{write}X-Vault-Token: {token}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let (status, text) = send(&server, both.as_bytes());
    assert_eq!(status, 400, "{text}");
    assert_eq!(server.get("secret/metadata/smuggled", token).status, 404);
}

#[test]
fn heads_that_are_too_long_are_refused() {
    let (_site, server, _keys) = start();
    let long_header = format!("GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many_headers: String = (0..300).map(|n| format!("X-{n}: y\r\n")).collect();
    let many_headers = format!("GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n{many_headers}\r\n");
    let long_uri = format!("GET /v1/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    for request in [long_header, many_headers, long_uri] {
        let mut raw = Raw::connect(&server);
        // The server may answer and close before all of it is sent.
        let _closed = raw.send(request.as_bytes());
        let (status, text) = raw.status();
        assert!(matches!(status, 414 | 431), "{}: {text}", request.len());
    }
    for (method, status) in [("BREW", 405), ("TRACE", 405), ("CONNECT", 405), ("OPTIONS", 405)] {
        let request = format!("{method} /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(send(&server, request.as_bytes()).0, status, "{method}");
    }
}

#[test]
fn bodies_of_33_mib_deep_json_and_lies_about_length_leave_memory_bounded() {
    let (_site, server, keys) = start();
    let token = &keys.root_token;
    let before = peak_kib(&server);
    let huge = format!("{{\"data\":{{\"x\":\"{}\"}}}}", "x".repeat(33 * 1024 * 1024));
    for _ in 0..3 {
        assert_eq!(server.request("POST", "secret/data/h", token, Some(&huge)).status, 413);
    }
    // A request without a token may send 64 KiB; the server drops the rest.
    assert_eq!(server.request("POST", "sys/unseal", "", Some(&"x".repeat(100_000))).status, 413);
    for deep in
        ["[".repeat(100_000), format!("{{\"data\":{}{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000))]
    {
        assert_eq!(server.request("POST", "secret/data/d", token, Some(&deep)).status, 400);
    }
    // Lies about the length cost nothing: memory is taken as the bytes come.
    let lies: Vec<Raw> = (0..20)
        .map(|_| {
            let mut lying = Raw::connect(&server);
            let head = format!(
                "POST /v1/secret/data/l HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\nContent-Length: 33000000\r\n\r\n{{"
            );
            lying.send(head.as_bytes()).unwrap();
            lying
        })
        .collect();
    let in_flight = format!("keyway_http_requests_in_flight {}", lies.len() + 1);
    within(Duration::from_secs(9), || server.get("sys/metrics", token).text.contains(&in_flight));
    let after = peak_kib(&server);
    // One body of 32 MiB at a time, in a buffer that has grown by doubling.
    assert!(after < before + 128 * 1024, "{before} KiB before, {after} at most");
    assert_eq!(server.get("sys/health", "").status, 200);
}

#[test]
fn slow_bodies_without_a_token_block_no_other_request_and_time_out() {
    let (_site, server, keys) = start();
    // Bodies of one-byte chunks, far more than the server has places for. None of them ends.
    let dawdlers: Vec<Raw> = (0..1_200)
        .map(|_| {
            let mut raw = Raw::connect(&server);
            raw.send(b"POST /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n ")
                .unwrap();
            raw
        })
        .collect();
    let body = serde_json::json!({ "data": { "x": "y".repeat(100_000) } });
    for _ in 0..20 {
        assert_eq!(server.post("secret/data/a", &keys.root_token, &body).status, 200);
    }
    let mut first = dawdlers.into_iter().next().unwrap();
    assert_eq!(first.status().0, 408);
}

#[test]
fn body_that_stops_coming_is_408_and_frees_its_place() {
    let (_site, server, keys) = start();
    let mut raw = Raw::connect(&server);
    let head = format!(
        "POST /v1/secret/data/slow HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nContent-Length: 100\r\n\r\n{{\"da",
        keys.root_token
    );
    raw.send(head.as_bytes()).unwrap();
    let begun = Instant::now();
    let (status, text) = raw.status();
    assert_eq!(status, 408, "{text}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(server.get("secret/metadata/slow", &keys.root_token).status, 404);
}

#[test]
fn head_that_stops_coming_is_cut_off() {
    let (_site, server, _keys) = start();
    let mut raw = Raw::connect(&server);
    raw.send(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let begun = Instant::now();
    let (status, text) = raw.status();
    assert!(status == 408 || status == 0, "{text}");
    assert!(raw.is_closed() && begun.elapsed() < Duration::from_secs(55), "{:?}", begun.elapsed());
}

#[test]
fn ten_thousand_idle_connections_do_not_keep_others_out() {
    const MANY: usize = 10_000;
    let site = Site::new("memory");
    site.configure(&format!("{}\n[limits]\nconnections = 12000\n", keyway_e2e::config("memory")));
    let server = site.start();
    let before = peak_kib(&server);
    keyway_e2e::raise_open_files();
    let address = server.address.trim_start_matches("http://").to_owned();
    let idle: Vec<TcpStream> = (0..MANY).map(|_| TcpStream::connect(address.as_str()).unwrap()).collect();
    assert_eq!(server.get("sys/health", "").status, 501, "beside {} idle ones", idle.len());
    let during = peak_kib(&server);
    assert!(during < before + 300 * 1024, "{before} KiB before, {during} at most");
    drop(idle);
    assert!(server.terminate());
}

#[test]
fn connections_beyond_the_bound_wait_until_silent_ones_are_cut_off() {
    let site = Site::new("memory");
    site.configure(&format!("{}\n[limits]\nconnections = 20\n", keyway_e2e::config("memory")));
    let server = site.start();
    let mut silent: Vec<Raw> = (0..20).map(|_| Raw::connect(&server)).collect();
    // Accepted once there is a place, which the silence of the others makes.
    within(Duration::from_secs(120), || server.try_get("sys/health").is_ok());
    assert!(silent.iter_mut().any(Raw::is_closed));
}

#[test]
fn requests_beyond_the_bound_are_shed_and_health_is_answered() {
    let site = Site::new("memory");
    site.configure(&format!("{}\n[limits]\nrequests = 1\n", keyway_e2e::config("memory")));
    let server = site.start();
    let keys = server.init_and_unseal();
    // A place is free again a moment after its answer was read, so each request here waits for its turn.
    let in_flight = |number: usize| {
        let line = format!("keyway_http_requests_in_flight {number}\n");
        within(Duration::from_secs(20), || server.get("sys/metrics", &keys.root_token).text.contains(&line));
    };
    in_flight(1);
    let mut slow = Raw::connect(&server);
    let head = format!(
        "POST /v1/secret/data/slow HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nContent-Length: 11\r\n\r\n{{\"data",
        keys.root_token
    );
    slow.send(head.as_bytes()).unwrap();
    in_flight(2);
    let request =
        format!("GET /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\n\r\n", keys.root_token);
    let (status, text) = send(&server, request.as_bytes());
    assert_eq!(status, 503, "{text}");
    assert!(text.to_lowercase().contains("retry-after: 1"), "{text}");
    assert_eq!(server.get("sys/health", "").status, 200);
    assert_eq!(server.get("sys/health/", "").status, 503, "with a slash at its end it is an ordinary path");
    // A wrong method with a token reads the store before it is refused, so it needs a place.
    let wrong = server.request("PATCH", "sys/health", &keys.root_token, Some("{}"));
    assert_eq!(wrong.status, 503, "{}", wrong.text);
    slow.send(b"\":{}}").unwrap();
    assert_eq!(slow.status().0, 200, "what was begun is finished");
    in_flight(1);
    assert_eq!(server.get("secret/data/slow", &keys.root_token).status, 200);
}

#[test]
fn requests_that_are_accepted_are_finished_at_the_end() {
    let (_site, server, keys) = start();
    let mut raw = Raw::connect(&server);
    let body = format!("{{\"data\":{{\"x\":\"{}\"}}}}", "y".repeat(1000));
    let head = format!(
        "POST /v1/secret/data/end HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {}\r\nContent-Length: {}\r\n\r\n",
        keys.root_token,
        body.len()
    );
    raw.send(head.as_bytes()).unwrap();
    raw.send(&body.as_bytes()[..500]).unwrap();
    let in_flight = "keyway_http_requests_in_flight 2";
    within(Duration::from_secs(20), || server.get("sys/metrics", &keys.root_token).text.contains(in_flight));
    // A connection without a request does not keep the server from ending.
    let _idle = Raw::connect(&server);
    server.signal_to_end();
    // Byte by byte, so that the body never pauses, until no new connection is accepted; then the rest.
    let mut sent = 500;
    while server.try_get("sys/health").is_ok() {
        assert!(sent < body.len() - 1, "the server still accepts");
        raw.send(&body.as_bytes()[sent..=sent]).unwrap();
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    raw.send(&body.as_bytes()[sent..]).unwrap();
    let (status, text) = raw.status();
    assert_eq!(status, 200, "{text}");
    let begun = Instant::now();
    assert!(server.wait());
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}
