//! Devices that fail.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use keyway_e2e::{Keys, Server, Site, config, disks::Small, within};
use serde_json::{Value, json};

use crate::{file, lines, log, put, start, verify, version};

/// More than a request waits for its devices, and much less than for anything else.
const DEADLINE: Duration = Duration::from_secs(8);
/// Whether all requests are refused from now on, even the smallest. They use up the rest of the space.
fn refuses(server: &Server, keys: &Keys, data: &Value) -> bool {
    server.post("secret/data/fill", &keys.root_token, &json!({ "data": data }));
    (0..5).all(|_| server.get("secret/data/none", &keys.root_token).error().contains("nothing was done"))
}

/// A server whose one device has failed: requests are refused in time and without an effect, and it is whole
/// again by itself.
fn refuses_and_recovers(server: &Server, keys: &Keys, fail: impl FnOnce(), mend: impl FnOnce()) {
    assert_eq!(put(server, keys, "x"), 200);
    let uses = json!({ "num_uses": 3, "policies": ["root"] });
    let limited = server.post("auth/token/create", &keys.root_token, &uses).json();
    let limited = limited["auth"]["client_token"].as_str().unwrap().to_owned();
    fail();
    for _ in 0..5 {
        let begun = Instant::now();
        let answer = server.post("secret/data/x", &keys.root_token, &json!({ "data": { "x": "z" } }));
        assert_eq!(answer.status, 500, "{}", answer.text);
        assert!(answer.error().contains("cannot be audited, and nothing was done"), "{}", answer.text);
        assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    }
    assert_eq!(server.get("secret/data/x", &keys.root_token).status, 500, "reads too");
    assert_eq!(server.get("secret/data/x", &limited).status, 500);
    let health = server.get("sys/health", "");
    let reason = health.json()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(health.status == 503 && reason.contains("no audit device accepts"), "{}", health.text);
    assert_eq!(health.json()["sealed"], false);
    assert_eq!(server.get("sys/health?activecode=200", "").status, 503, "nothing overrides it");
    mend();
    within(Duration::from_secs(30), || server.get("sys/health", "").status == 200);
    within(Duration::from_secs(30), || server.get("secret/metadata/x", &keys.root_token).status == 200);
    assert_eq!(version(server, keys, "x"), 1, "what was refused was not done");
    assert_eq!(put(server, keys, "x"), 200);
    let left = server.get("auth/token/lookup-self", &limited).json()["data"]["num_uses"].clone();
    assert_eq!(left, json!(2), "this was a use of the token, and what was refused was none");
}

#[test]
fn full_disk_refuses_before_any_effect_and_recovers() {
    let site = Site::new("memory");
    let directory = site.path("trail");
    let Some(_small) = Small::mount(&directory, 256) else { return };
    site.configure(&format!("{}\n[audit]\ndevices = [{}]\n", config("memory"), file(&site, "a")));
    let server = site.start();
    let keys = server.init_and_unseal();
    let ballast = directory.join("ballast");
    let fill = || {
        let mut size = 64 * 1024;
        while size > 0 {
            let mut file = File::options().create(true).append(true).open(&ballast).unwrap();
            if std::io::Write::write_all(&mut file, &vec![0; size]).is_err() {
                size /= 2;
            }
        }
        // Lines fill the rest of the last page of the log until the device refuses one.
        within(Duration::from_secs(30), || refuses(&server, &keys, &json!({})));
    };
    refuses_and_recovers(&server, &keys, fill, || fs::remove_file(&ballast).unwrap());
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds && said.contains("could not be written"), "{said}");
}

#[test]
fn directory_that_is_gone_refuses_and_recovers() {
    let (site, server, keys) = start("memory", |site| file(site, "a"));
    let (there, away) = (site.path("trail"), site.path("away"));
    refuses_and_recovers(
        &server,
        &keys,
        || fs::rename(&there, &away).unwrap(),
        || fs::rename(&away, &there).unwrap(),
    );
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds, "{said}");
}

fn fifo(site: &Site) -> (String, PathBuf) {
    let path = site.path("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    (format!("{{ name = \"fifo\", type = \"file\", path = \"{}\" }}", path.display()), path)
}

#[test]
fn fifo_without_a_reader_and_one_who_does_not_read_refuse_and_recover() {
    let site = Site::new("memory");
    let (device, path) = fifo(&site);
    site.configure(&format!("{}\n[audit]\ndevices = [{device}]\n", config("memory")));
    let server = site.start();
    // The FIFO has no reader, so even an initialisation is refused.
    assert_eq!(
        server.post("sys/init", "", &json!({ "secret_shares": 1, "secret_threshold": 1 })).status,
        500
    );
    let health = server.get("sys/health", "");
    assert_eq!((health.status, &health.json()["initialized"]), (503, &json!(false)), "{}", health.text);
    let read = Arc::new(Mutex::new(String::new()));
    let paused = Arc::new(AtomicBool::new(false));
    let reader = {
        let (read, paused) = (Arc::clone(&read), Arc::clone(&paused));
        let mut fifo = File::options().read(true).write(true).open(&path).unwrap();
        move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                while paused.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(10));
                }
                let bytes = fifo.read(&mut buffer).unwrap();
                // A pause that begins while this reads takes effect after the read.
                read.lock().unwrap().push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
            }
        }
    };
    thread::spawn(reader);
    let keys = server.init_and_unseal();
    let fill = || {
        paused.store(true, Ordering::Relaxed);
        // The pipe takes some lines, and then none.
        within(Duration::from_secs(60), || refuses(&server, &keys, &json!({})));
    };
    refuses_and_recovers(&server, &keys, fill, || paused.store(false, Ordering::Relaxed));
    let seen = site.path("seen.log");
    within(Duration::from_secs(20), || {
        fs::write(&seen, &*read.lock().unwrap()).unwrap();
        read.lock().unwrap().ends_with('\n')
    });
    let (holds, said) = verify(&site, &[&seen]);
    assert!(holds, "{said}");
}

/// A listener that accepts and does not read, until it is told to.
fn socket_that_hangs(reads: Arc<AtomicBool>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (reads, lines) = (Arc::clone(&reads), Arc::clone(&lines));
            thread::spawn(move || {
                let mut reader = BufReader::with_capacity(64, stream.unwrap());
                let mut line = String::new();
                loop {
                    while !reads.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(10));
                    }
                    line.clear();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    lines.lock().unwrap().push(line.clone());
                }
            });
        }
    });
    (format!("{{ name = \"socket\", type = \"socket\", address = \"{address}\" }}"), seen)
}

#[test]
fn socket_that_hangs_refuses_and_recovers() {
    let reads = Arc::new(AtomicBool::new(true));
    let (device, seen) = socket_that_hangs(Arc::clone(&reads));
    let (_site, server, keys) = start("memory", |_| device.clone());
    let fill = || {
        reads.store(false, Ordering::Relaxed);
        // The buffers of the operating system are large, so it takes many lines to fill them.
        let long: Value =
            (0..2_000).map(|n| (format!("n{n}"), n.into())).collect::<serde_json::Map<_, Value>>().into();
        within(Duration::from_secs(120), || {
            server.post("secret/data/fill", &keys.root_token, &long).status == 500
        });
    };
    refuses_and_recovers(&server, &keys, fill, || reads.store(true, Ordering::Relaxed));
    within(Duration::from_secs(20), || seen.lock().unwrap().len() > 20);
    let first: Value = serde_json::from_str(&seen.lock().unwrap()[0]).unwrap();
    assert_eq!((first["chain"]["line"].as_u64(), first["type"].as_str()), (Some(1), Some("request")));
}

#[test]
fn one_device_is_enough_and_has_every_line() {
    let reads = Arc::new(AtomicBool::new(false));
    let site = Site::new("memory");
    let (fifo, _) = fifo(&site);
    let (socket, _seen) = socket_that_hangs(reads);
    let absent = "{ name = \"absent\", type = \"socket\", address = \"127.0.0.1:1\" }";
    let devices = format!("{fifo}, {socket}, {absent}, {}", file(&site, "a"));
    site.configure(&format!("{}\n[audit]\ndevices = [{devices}]\n", config("memory")));
    let server = site.start();
    let keys = server.init_and_unseal();
    // The request to initialise and the share, and their answers; another device may have been the first to
    // accept them.
    let written = |number: usize| {
        within(Duration::from_secs(20), || lines(&log(&site, "a")).len() >= number);
        assert_eq!(lines(&log(&site, "a")).len(), number);
    };
    written(4);
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(put(&server, &keys, "x"), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "no request waits for others: {:?}", begun.elapsed());
    written(404);
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds, "{said}");
    let metrics = server.get("sys/metrics", &keys.root_token).text;
    assert!(metrics.contains("keyway_audit_device_up{device=\"a\"} 1"), "{metrics}");
    assert!(metrics.contains("keyway_audit_device_up{device=\"fifo\"} 0"), "{metrics}");
    assert!(metrics.contains("keyway_audit_device_up{device=\"absent\"} 0"), "{metrics}");
    within(Duration::from_secs(20), || site.log_text().contains("the audit device fails"));
    assert!(server.terminate());
}

#[test]
fn device_that_cannot_be_opened_is_told_by_health_before_anybody_asks_for_anything() {
    let site = Site::new("memory");
    let directory = site.path("trail");
    site.configure(&format!("{}\n[audit]\ndevices = [{}]\n", config("memory"), file(&site, "a")));
    fs::remove_dir_all(&directory).unwrap();
    let server = site.start();
    within(Duration::from_secs(30), || server.get("sys/health", "").status == 503);
    fs::create_dir(&directory).unwrap();
    within(Duration::from_secs(30), || server.get("sys/health", "").status == 501);
    server.init_and_unseal();
    assert_eq!(server.get("sys/health", "").status, 200);
    // One of two is enough.
    drop(server);
    let absent = "{ name = \"absent\", type = \"socket\", address = \"127.0.0.1:1\" }";
    site.configure(&format!("{}\n[audit]\ndevices = [{absent}, {}]\n", config("memory"), file(&site, "a")));
    let server = site.start();
    let keys = server.init_and_unseal();
    assert_eq!(put(&server, &keys, "x"), 200);
    assert_eq!(server.get("sys/health", "").status, 200);
}
