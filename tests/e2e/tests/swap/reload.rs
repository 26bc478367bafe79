//! A running server reads its configuration again (SIGHUP), and hands its socket to the next one.

use std::{
    fs,
    net::TcpListener,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use keyway_e2e::{Server, Site, load::Load, plugins, within};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};

pub(crate) fn hang_up(server: &Server) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

fn main_backend(server: &Server, token: &str) -> Value {
    server.get("sys/backends/main", token).json()["data"].clone()
}

/// Waits until the log says something more often than before.
fn told(site: &Site, line: &str, before: usize) {
    within(Duration::from_secs(30), || site.log_text().matches(line).count() > before);
}

#[test]
fn hangup_takes_new_libraries_and_settings_and_leaves_all_else() {
    let site = plugins::site();
    let audit = site.path("audit.log");
    let device = format!("\n[audit]\ndevices = [{{ type = \"file\", path = {audit:?} }}]\n");
    site.configure(&(plugins::configuration(&site) + &device));
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    let load = Load::begin(&server.address, &token, 8);
    // Nothing is new.
    hang_up(&server);
    told(&site, "it has the newest version and its settings already", 0);
    assert_eq!(main_backend(&server, &token)["generation"], 1);
    // A new version.
    plugins::ship(&site, "libkeyway_sqlite-1.1.0.so", &plugins::version("sqlite", "1.1.0"));
    plugins::lock(&site);
    hang_up(&server);
    within(Duration::from_secs(30), || main_backend(&server, &token)["version"] == "1.1.0");
    assert_eq!(main_backend(&server, &token)["last_swap"]["by"], "reload");
    within(Duration::from_secs(10), || {
        fs::read_to_string(&audit).unwrap().contains("sys/backends/main/swap")
    });
    // Another requirement, and an unusable file next to a usable one.
    let text = fs::read_to_string(site.config()).unwrap();
    site.configure(&text.replace("system_backend", "sytsem_backend"));
    hang_up(&server);
    told(&site, "everything stays as it is", 0);
    site.configure(&text.replace("plugin = \"sqlite\"", "plugin = \"sqlite@=1.0.0\""));
    hang_up(&server);
    within(Duration::from_secs(30), || main_backend(&server, &token)["version"] == "1.0.0");
    // What takes a restart is said.
    site.configure(&text.replace("[mounts.secret]", "[limits]\nrequests = 7\n\n[mounts.secret]"));
    let before = site.log_text().matches("takes a restart").count();
    hang_up(&server);
    told(&site, "takes a restart", before);
    load.go_on(100);
    let outcome = load.end();
    assert_eq!(outcome.failures, [""; 0]);
    assert!(server.terminate());
}

/// As systemd does it: the socket exists before the server starts and after it ends.
#[test]
fn no_connection_is_refused_while_one_server_ends_and_the_next_begins() {
    let site = plugins::site();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    fcntl_setfd(&socket, FdFlags::empty()).unwrap();
    site.configure(&plugins::configuration(&site).replace("127.0.0.1:0", &address.to_string()));
    let script = format!("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&{}", socket.as_raw_fd());
    let start = || site.start_under(&["sh", "-c", &script, "sh"], &[]);
    let server = start();
    assert_eq!(server.address, format!("http://{address}"));
    let keys = server.init_and_unseal();
    let token = keys.root_token.as_str();
    assert_eq!(server.post("secret/data/a", token, &json!({ "data": { "value": 1 } })).status, 200);
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            thread::spawn(move || {
                let mut statuses = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    statuses.push(health(&address.to_string()));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                statuses
            })
        })
        .collect();
    let go_on = || {
        let from = asked.load(Ordering::Relaxed);
        within(Duration::from_secs(30), || asked.load(Ordering::Relaxed) > from + 40);
    };
    let mut server = server;
    for _ in 0..3 {
        go_on();
        assert!(server.terminate());
        server = start();
        go_on();
        server.unseal(&keys.shares[0]);
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        for status in asker.join().unwrap() {
            // Sealed is an answer; a refused connection is none.
            assert!(matches!(status, Ok(200 | 503)), "{status:?}");
        }
    }
    assert_eq!(server.get("secret/data/a", token).status, 200);
    assert!(server.terminate());
    // A socket of another address is refused: what was checked of the configuration would not hold for it.
    site.configure(&plugins::configuration(&site).replace("127.0.0.1:0", "127.0.0.1:9"));
    let words = ["server", "--config", "keyway.toml"];
    let refused = plugins::said(&site.run_under(&["sh", "-c", &script, "sh"], &words));
    assert!(refused.contains("and the configuration says 127.0.0.1:9; write the same address"), "{refused}");
}

/// Asks for the health on a new connection.
fn health(address: &str) -> std::io::Result<u16> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /v1/sys/health HTTP/1.1\r\nHost: keyway\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no status in {text:?}")))
}
