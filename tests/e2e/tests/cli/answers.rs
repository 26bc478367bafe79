//! The command line against servers that answer wrongly or not at all. Each server speaks to one client.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread::JoinHandle,
};

use keyway_e2e::built;

use crate::keyway;

/// A server that accepts one connection, and does this with it.
fn accepting(answer: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (address, std::thread::spawn(move || answer(listener.accept().unwrap().0)))
}

/// Reads a request's head and its body, if it says that it has one.
fn request(stream: &mut TcpStream) -> String {
    let (mut seen, mut piece) = (String::new(), [0; 4096]);
    let is_whole = |seen: &str| {
        seen.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            body.len() >= length.unwrap_or(0)
        })
    };
    while !is_whole(&seen) {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the request breaks off: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    seen
}

#[test]
fn only_where_nothing_answers_is_it_asked_whether_the_server_runs() {
    let said = |address: &str| {
        let output = keyway(address, "kw.x", &["status"], Stdio::piped());
        assert_eq!(output.status.code(), Some(6));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = said("http://127.0.0.1:1");
    assert!(refused.contains("is the server running?"), "{refused}");
    // A label of more than 63 characters is no valid name: the resolver refuses it without a query.
    let unknown = said(&format!("http://{}:1", "a".repeat(64)));
    let (closing, closed) = accepting(|mut stream| drop(request(&mut stream)));
    let closes = said(&closing);
    closed.join().unwrap();
    let (speaking, spoken) = accepting(|mut stream| {
        request(&mut stream);
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    let other = said(&speaking);
    spoken.join().unwrap();
    let (breaking, broken) = accepting(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").unwrap();
    });
    let breaks_off = said(&breaking);
    broken.join().unwrap();
    for (said, reason) in [
        (unknown, "is not known"),
        (closes, "closed the connection"),
        (other, "not HTTP"),
        (breaks_off, "broke off"),
    ] {
        assert!(said.contains(reason) && !said.contains("running?"), "{reason}: {said}");
    }
    let (hanging, hung) = accepting(|mut stream| {
        // Until the client gives up.
        while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
    });
    let arguments = [
        "KEYWAY_CLIENT_TIMEOUT=1",
        built().join("keyway").to_str().unwrap(),
        "status",
        "--address",
        &hanging,
    ]
    .map(str::to_owned);
    let output = Command::new("env").args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(6) && said.contains("within 1 s") && !said.contains("running?"),
        "{said}"
    );
    hung.join().unwrap();
}

#[test]
fn enabling_versions_tunes_the_mount_as_openbao_does() {
    let (address, server) = accepting(|mut stream| {
        let seen = request(&mut stream);
        assert!(seen.starts_with("POST /v1/sys/mounts/team/old%20kv/tune "), "{seen}");
        assert!(seen.ends_with(r#"{"options":{"version":"2"}}"#), "{seen}");
        let body = r#"{"data":null,"warnings":["Upgrading mount from version 1 to version 2."]}"#;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let done = keyway(&address, "kw.x", &["kv", "enable-versioning", "team/old kv/"], Stdio::piped());
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.contains("team/old kv keeps versions from now on"), "{said}");
    let warned = String::from_utf8(done.stderr).unwrap();
    assert!(warned.contains("Upgrading mount from version 1"), "{warned}");
    server.join().unwrap();
    // Until it is done, the mount says so.
    let (address, server) = accepting(|mut stream| {
        request(&mut stream);
        let body = r#"{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}"#;
        write!(stream, "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let waits = keyway(&address, "kw.x", &["kv", "get", "team/a"], Stdio::piped());
    let said = String::from_utf8(waits.stderr).unwrap();
    assert!(waits.status.code() == Some(6) && said.contains("try again in a moment"), "{said}");
    server.join().unwrap();
}

#[test]
fn redirection_is_a_failure_that_says_where_and_takes_no_token_along() {
    let (address, server) = accepting(|mut stream| {
        request(&mut stream);
        let answer =
            "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let removed = keyway(&address, "kw.x", &["mount", "remove", "a", "--confirm", "a"], Stdio::piped());
    let said = String::from_utf8_lossy(&removed.stderr);
    assert!(removed.status.code() == Some(6) && said.contains("elsewhere.example"), "{said}");
    assert!(removed.stdout.is_empty());
    server.join().unwrap();
}
