//! A machine in trouble: data directories that are read-only, full or gone, a clock that was set back, no
//! file descriptors, a limit on the size of files, and signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use keyway_e2e::{Keys, Server, Site, config, disks::Small, needed, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn write(server: &Server, keys: &Keys, path: &str, bytes: usize) -> u16 {
    let body = json!({ "data": { "x": "y".repeat(bytes) } });
    server.post(&format!("secret/data/{path}"), &keys.root_token, &body).status
}

fn read(server: &Server, keys: &Keys, path: &str) -> u16 {
    server.get(&format!("secret/data/{path}"), &keys.root_token).status
}

#[test]
fn read_only_data_directory_is_a_clear_refusal_and_costs_nothing() {
    let site = Site::new("sqlite");
    let wrapper = site.as_unprivileged();
    let server = site.start_under(wrapper, &[]);
    let keys = server.init_and_unseal();
    assert_eq!(write(&server, &keys, "a", 10), 200);
    assert!(server.terminate());

    protect(&site.path("data"), 0o555, 0o444);
    let refused = site.run_under(wrapper, &["server", "--config", site.config().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("data"), "{said}");

    protect(&site.path("data"), 0o700, 0o600);
    let server = site.start_under(wrapper, &[]);
    server.unseal(&keys.shares[0]);
    assert_eq!(read(&server, &keys, "a"), 200);
    assert_eq!(write(&server, &keys, "a", 10), 200);
}

fn protect(path: &Path, directory_mode: u32, file_mode: u32) {
    let is_directory = path.is_dir();
    if is_directory {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        for entry in fs::read_dir(path).unwrap() {
            protect(&entry.unwrap().path(), directory_mode, file_mode);
        }
    }
    let mode = if is_directory { directory_mode } else { file_mode };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    let site = Site::new("sqlite");
    let data = site.path("data");
    let Some(_small) = Small::mount(&data, 96 * 1024) else { return };
    let server = site.start();
    let keys = server.init_and_unseal();
    assert_eq!(write(&server, &keys, "before", 1_000), 200);
    let ballast = data.join("ballast");
    let mut size = 32 << 20;
    while size > 4_096 {
        // As much as there is room for.
        let mut file = fs::File::options().create(true).append(true).open(&ballast).unwrap();
        match std::io::Write::write_all(&mut file, &vec![0; size]) {
            Ok(()) => {}
            Err(_) => size /= 2,
        }
    }
    let mut refused = 0;
    for number in 0..20 {
        let answer = server.post(
            &format!("secret/data/full{number}"),
            &keys.root_token,
            &json!({ "data": { "x": "y".repeat(200_000) } }),
        );
        match answer.status {
            200 => {}
            503 => refused += 1,
            other => unreachable!("{other}: {}", answer.text),
        }
    }
    assert!(refused > 0, "the disk is not full");
    assert_eq!(read(&server, &keys, "before"), 200);
    assert_eq!(server.get("secret/metadata/?list=true", &keys.root_token).status, 200);
    let health = server.get("sys/health", "");
    assert_eq!((health.status, &health.json()["sealed"]), (503, &json!(false)), "{}", health.text);
    fs::remove_file(ballast).unwrap();
    within(Duration::from_secs(60), || write(&server, &keys, "after", 200_000) == 200);
    within(Duration::from_secs(60), || server.get("sys/health", "").status == 200);
    assert!(server.terminate());
}

#[test]
fn vanished_data_directory_is_503_and_recovers_by_itself() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    assert_eq!(write(&server, &keys, "a", 10), 200);
    fs::rename(site.path("data"), site.path("elsewhere")).unwrap();
    let answer = server.post("secret/data/b", &keys.root_token, &json!({ "data": {} }));
    assert_eq!(answer.status, 503, "{}", answer.text);
    let health = server.get("sys/health", "");
    assert_eq!((health.status, &health.json()["sealed"]), (503, &json!(false)), "{}", health.text);
    assert!(!site.path("data").exists(), "nothing was made in its place");
    fs::rename(site.path("elsewhere"), site.path("data")).unwrap();
    within(Duration::from_secs(60), || write(&server, &keys, "b", 10) == 200);
    within(Duration::from_secs(60), || server.get("sys/health", "").status == 200);
    assert_eq!(read(&server, &keys, "a"), 200);
}

#[test]
fn clock_that_was_set_back_costs_no_secret_and_no_version() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let settings = json!({ "delete_version_after": "1h" });
    assert_eq!(server.post("secret/metadata/short", &keys.root_token, &settings).status, 204);
    for path in ["plain", "short"] {
        assert_eq!(write(&server, &keys, path, 10), 200);
    }
    server.kill();
    // The program stays between a process and its signals; what it sets in the environment is enough.
    let environment = Command::new("faketime").args(["-f", "+0", "env"]).output();
    let Some(environment) = needed("faketime", environment) else { return };
    let environment = String::from_utf8(environment.stdout).unwrap();
    let preload = environment.lines().find(|line| line.starts_with("LD_PRELOAD=")).unwrap();
    // Two days back, and two days ahead: the short-lived version is there, and gone.
    for (shift, short) in [("-2d", 200), ("+2d", 404)] {
        let shift_by = format!("FAKETIME={shift}");
        let server = site.start_under(&["env", preload, &shift_by, "FAKETIME_DONT_FAKE_MONOTONIC=1"], &[]);
        server.unseal(&keys.shares[0]);
        assert_eq!((read(&server, &keys, "plain"), read(&server, &keys, "short")), (200, short), "{shift}");
        assert_eq!(write(&server, &keys, "plain", 10), 200);
        assert_eq!(server.get("sys/health", "").status, 200);
        assert!(server.terminate());
    }
    let server = site.start();
    server.unseal(&keys.shares[0]);
    let metadata = server.get("secret/metadata/plain", &keys.root_token).json();
    assert_eq!(metadata["data"]["current_version"], 3);
}

#[test]
fn server_without_file_descriptors_lives_and_accepts_again() {
    let site = Site::new("sqlite");
    let server = site.start_under(&["prlimit", "--nofile=96:96"], &[]);
    let keys = server.init_and_unseal();
    let address = server.address.trim_start_matches("http://").to_owned();
    let connections: Vec<TcpStream> =
        (0..150).filter_map(|_| TcpStream::connect(address.as_str()).ok()).collect();
    within(Duration::from_secs(30), || site.log_text().contains("a connection cannot be accepted"));
    drop(connections);
    within(Duration::from_secs(60), || server.try_get("sys/health").is_ok_and(|answer| answer.status == 200));
    assert_eq!(write(&server, &keys, "a", 10), 200);
    assert!(server.terminate());
}

fn signal(server: &Server, signal: Signal) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn signals_that_say_nothing_end_no_server_however_it_was_started() {
    let reloads = |site: &Site| site.log_text().matches("reloading the configuration").count();
    for wrapper in [
        &[][..],
        &["env", "--ignore-signal=HUP,USR1,USR2,XFSZ,PIPE"],
        &["env", "--block-signal=HUP,USR1,USR2,XFSZ,PIPE,TERM"],
    ] {
        let site = Site::new("sqlite");
        let server = site.start_under(wrapper, &[]);
        let keys = server.init_and_unseal();
        for one in [Signal::XFSZ, Signal::USR1, Signal::USR2, Signal::PIPE] {
            signal(&server, one);
            assert_eq!(write(&server, &keys, "a", 10), 200, "{wrapper:?} {one:?}");
        }
        let before = reloads(&site);
        signal(&server, Signal::HUP);
        within(Duration::from_secs(30), || reloads(&site) > before);
        assert!(server.terminate(), "{wrapper:?}");
    }
}

#[test]
fn hangup_while_the_configuration_is_read_ends_nothing_and_has_it_read_again() {
    let site = Site::new("sqlite");
    let text = fs::read_to_string(site.config()).unwrap();
    let fifo = site.path("keyway.toml");
    fs::remove_file(&fifo).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = site.command(&["server", "--config", fifo.to_str().unwrap()]);
    let mut process = command.stdin(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).unwrap();
    // It is opened once the server reads it.
    let mut writer = fs::File::options().write(true).open(&fifo).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    drop(writer);
    // For the second time.
    within(Duration::from_secs(30), || site.log_text().contains("reloading the configuration"));
    fs::write(&fifo, &text).unwrap();
    within(Duration::from_secs(30), || site.log_text().contains("\"message\":\"reloaded\""));
    kill_process(pid, Signal::TERM).unwrap();
    assert!(process.wait().unwrap().success());
}

#[test]
fn limit_on_the_size_of_files_is_an_error_of_the_write_and_no_death() {
    let site = Site::new("sqlite");
    let device = format!("{{ type = \"file\", path = {:?} }}", site.path("audit.log").to_str().unwrap());
    for audited in [false, true] {
        let audit = if audited { format!("\n[audit]\ndevices = [{device}]\n") } else { String::new() };
        site.configure(&format!("{}{audit}", config("sqlite")));
        let _former = fs::remove_dir_all(site.path("data"));
        let server = site.start();
        let keys = server.init_and_unseal();
        assert_eq!(write(&server, &keys, "before", 1_000), 200);
        let limit = |bytes: &str| {
            let pid = server.pid().to_string();
            let limited =
                Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
            assert!(limited.unwrap().success());
        };
        let written = fs::metadata(site.path("audit.log")).map_or(0, |file| file.len());
        limit(&if audited { (written + 10).to_string() } else { "65536".to_owned() });
        let refused = if audited { 500 } else { 503 };
        within(Duration::from_secs(60), || write(&server, &keys, "full", 200_000) == refused);
        if audited {
            let health = server.get("sys/health", "");
            assert_eq!(health.status, 503, "{}", health.text);
        } else {
            assert_eq!(read(&server, &keys, "before"), 200);
        }
        limit("unlimited");
        within(Duration::from_secs(60), || server.get("sys/health", "").status == 200);
        within(Duration::from_secs(60), || write(&server, &keys, "after", 200_000) == 200);
        assert_eq!(read(&server, &keys, "before"), 200);
        assert!(server.terminate());
    }
}
