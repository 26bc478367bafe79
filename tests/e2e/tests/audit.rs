//! The audit log: two lines for each request, no value in the clear, a chain that holds over rotation and restarts; and devices
//! that fail in each way, of which one is enough, and without which nothing happens.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use keyway_e2e::{Keys, Server, Site, config, disks::Small, needed, within};
use serde_json::{Value, json};

/// More than a request waits for its devices, and much less than for anything else.
const DEADLINE: Duration = Duration::from_secs(8);

/// A server with these devices, unsealed.
fn start(plugin: &str, devices: impl Fn(&Site) -> String) -> (Site, Server, Keys) {
    let site = Site::new(plugin);
    let devices = devices(&site);
    site.configure(&format!("{}\n[audit]\napi = true\ndevices = [{devices}]\n", config(plugin)));
    let server = site.start();
    let keys = server.init_and_unseal();
    (site, server, keys)
}

fn file(site: &Site, name: &str) -> String {
    let directory = site.path("trail");
    fs::create_dir_all(&directory).unwrap();
    format!(
        "{{ name = \"{name}\", type = \"file\", path = \"{}\" }}",
        directory.join(format!("{name}.log")).display()
    )
}

fn log(site: &Site, name: &str) -> PathBuf {
    site.path("trail").join(format!("{name}.log"))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn put(server: &Server, keys: &Keys, path: &str) -> u16 {
    server.post(&format!("secret/data/{path}"), &keys.root_token, &json!({ "data": { "x": "y" } })).status
}

fn version(server: &Server, keys: &Keys, path: &str) -> u64 {
    let read = server.get(&format!("secret/metadata/{path}"), &keys.root_token);
    read.json()["data"]["current_version"].as_u64().unwrap_or(0)
}

/// What `keyway audit verify` says of these files, and whether it holds.
fn verify(site: &Site, files: &[&Path]) -> (bool, String) {
    let mut arguments = vec!["audit", "verify"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let output = site.run(&arguments);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn every_request_has_two_lines_and_no_value_is_in_the_clear() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let root = &keys.root_token;
    let body = json!({ "data": { "password": "canary-value", "pin": 271_828_182, "on": true }, "options": { "cas": 0 } });
    assert_eq!(server.post("secret/data/app", root, &body).status, 200);
    assert_eq!(server.get("secret/data/app?version=1", root).status, 200);
    assert_eq!(server.get("secret/data/app", "kw.canary-token").status, 403);
    let policy = json!({ "policy": "path \"secret/data/other\" { capabilities = [\"read\"] }" });
    assert_eq!(server.post("sys/policies/acl/other", root, &policy).status, 204);
    let made = server.post("auth/token/create", root, &json!({ "policies": ["other"] })).json();
    let child = made["auth"]["client_token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("secret/data/app", &child).status, 403);
    let wrapped = server.request_with(
        "GET",
        "secret/data/app",
        &[("X-Vault-Token", root), ("X-Vault-Wrap-TTL", "60")],
        None,
    );
    let wrapping = wrapped.json()["wrap_info"]["token"].as_str().unwrap().to_owned();
    assert_eq!(server.post("sys/wrapping/unwrap", &wrapping, &json!({})).status, 200);
    assert_eq!(server.post("sys/auth/approle", root, &json!({ "type": "approle" })).status, 204);
    assert_eq!(server.post("auth/approle/role/r", root, &json!({})).status, 204);
    let role_id = server.get("auth/approle/role/r/role-id", root).json()["data"]["role_id"].clone();
    let secret_id =
        server.post("auth/approle/role/r/secret-id", root, &json!({})).json()["data"]["secret_id"].clone();
    let login = server.post("auth/approle/login", "", &json!({ "role_id": role_id, "secret_id": secret_id }));
    let logged_in = login.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    server.get("sys/health", "");
    server.get("sys/seal-status", "");

    let text = fs::read_to_string(log(&site, "a")).unwrap();
    let secrets = [
        "canary",
        "271828182",
        root.as_str(),
        &child,
        &wrapping,
        &logged_in,
        secret_id.as_str().unwrap(),
        role_id.as_str().unwrap(),
    ];
    let secrets = secrets.into_iter().chain(keys.shares.iter().map(String::as_str));
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in the audit log");
    }
    let all = lines(&log(&site, "a"));
    let ids = |kind: &str| -> Vec<&str> {
        all.iter()
            .filter(|line| line["type"] == kind)
            .map(|line| line["request"]["id"].as_str().unwrap())
            .collect()
    };
    assert_eq!(ids("request"), ids("response"), "each request, one after the other");
    assert_eq!(all.len() % 2, 0);
    let of =
        |path: &str| -> Vec<&Value> { all.iter().filter(|line| line["request"]["path"] == path).collect() };
    assert!(
        of("sys/health").is_empty() && of("sys/seal-status").is_empty(),
        "who watches is not written down"
    );
    assert_eq!(of("sys/init").len(), 2, "{all:?}");
    assert!(
        of("sys/unseal").iter().all(|line| line["request"]["data"].is_null()),
        "there is no key to hash with"
    );

    // Comparable through audit-hash, and by value alone.
    let hash = |input: &str| {
        let answer = server.post("sys/audit-hash/a", root, &json!({ "input": input }));
        answer.json()["data"]["hash"].as_str().unwrap().to_owned()
    };
    let app = of("secret/data/app");
    let written = &app[0]["request"]["data"]["data"];
    assert_eq!(written["password"], hash("canary-value"));
    assert_eq!((&written["pin"], &written["on"]), (&json!(hash("271828182")), &json!(hash("true"))));
    let read = &app[3];
    assert_eq!(
        (read["type"].as_str(), &read["response"]["data"]["data"]["password"]),
        (Some("response"), &json!(hash("canary-value")))
    );
    assert_eq!(read["request"]["data"]["version"], hash("1"));
    assert_eq!(read["auth"]["client_token"], hash(root));
    assert_eq!(read["auth"]["policies"], json!(["root"]));
    assert_eq!(read["request"]["mount_point"], "secret/");
    let (unknown, refused) = (&app[4], &app[6]);
    assert_eq!((&unknown["auth"], &unknown["error"]), (&Value::Null, &json!("permission denied")));
    assert_eq!(unknown["request"]["client_token"], hash("kw.canary-token"));
    assert_eq!(
        (&refused["auth"]["policy_results"]["allowed"], &refused["error"]),
        (&json!(false), &json!("permission denied"))
    );
    let wrapping_line = app.iter().find(|line| line["response"]["wrap_info"].is_object()).unwrap();
    assert_eq!(wrapping_line["response"]["wrap_info"]["token"], hash(&wrapping));
    assert!(wrapping_line["response"]["data"].is_null());
    assert_eq!(of("auth/token/create")[1]["response"]["auth"]["client_token"], hash(&child));
    let login = of("auth/approle/login");
    assert_eq!(
        (&login[0]["request"]["data"]["secret_id"], &login[0]["auth"]),
        (&json!(hash(secret_id.as_str().unwrap())), &Value::Null)
    );
    assert_eq!(login[1]["response"]["auth"]["client_token"], hash(&logged_in));
    assert_eq!(server.post("sys/audit-hash/none", root, &json!({ "input": "x" })).status, 400);
    assert_eq!(server.post("sys/audit-hash/a", root, &json!({})).status, 400);
    let mode = fs::metadata(log(&site, "a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds, "{said}");
}

#[test]
fn chain_goes_on_over_restarts_kills_rotation_and_deletion() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let now = log(&site, "a");
    let old = site.path("trail").join("a.log.1");
    for n in 0..3 {
        assert_eq!(put(&server, &keys, &format!("one{n}")), 200);
    }
    server.kill();
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "two"), 200);
    // Rotated: the next line goes into a new file.
    fs::rename(&now, &old).unwrap();
    assert_eq!(put(&server, &keys, "three"), 200);
    assert!(server.terminate());
    let server = site.start();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "four"), 200);
    let (holds, said) = verify(&site, &[&old, &now]);
    assert!(holds && !said.contains("begins anew"), "{said}");
    let (in_old, in_new) = (lines(&old).len(), lines(&now).len());
    assert!(said.contains(&format!("{} lines", in_old + in_new)), "{said}");
    let (holds, said) = verify(&site, &[&now, &old]);
    assert!(!holds, "the order is another: {said}");
    let (holds, said) = verify(&site, &[&now]);
    assert!(holds && said.contains(&format!("after line {in_old}")), "{said}");
    // Deleted: the next line makes another file, and nothing is refused.
    fs::remove_file(&now).unwrap();
    assert_eq!(put(&server, &keys, "five"), 200);
    assert_eq!(lines(&now).len(), 2);
    let (holds, said) = verify(&site, &[&old, &now]);
    assert!(!holds && said.contains(&format!("{in_new} lines are missing")), "{said}");
    // Changed.
    let text = fs::read_to_string(&old).unwrap();
    fs::write(&old, text.replacen("secret/data/one1", "secret/data/uno1", 1)).unwrap();
    let (holds, said) = verify(&site, &[&old]);
    assert!(!holds && said.contains("was changed"), "{said}");
    let (holds, said) = verify(&site, &[&site.path("keyway.toml")]);
    assert!(!holds, "{said}");
}

/// With the real logrotate, under load: nothing is refused, and each line is in one of the files.
#[test]
fn logrotate_costs_no_line() {
    let (site, server, keys) = start("memory", |site| file(site, "a"));
    let (now, directory) = (log(&site, "a"), site.path("trail"));
    let rules = site.path("rotate.conf");
    fs::write(
        &rules,
        format!(
            "{} {{\n rotate 100\n missingok\n create 0600\n nocompress\n su root root\n}}\n",
            now.display()
        ),
    )
    .unwrap();
    let rules_mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&rules, rules_mode).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    if !rustix::process::geteuid().is_root() {
        let text = fs::read_to_string(&rules).unwrap();
        fs::write(&rules, text.replace(" su root root\n", "")).unwrap();
    }
    let end = AtomicBool::new(false);
    let rotations = 12;
    let mut written = 0;
    let skipped = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !end.load(Ordering::Relaxed) {
                assert_eq!(put(&server, &keys, "w"), 200);
                written += 1;
            }
            written
        });
        let mut skipped = false;
        for _ in 0..rotations {
            let mut rotate = Command::new("logrotate");
            rotate.arg("--force").arg("--state").arg(site.path("rotate.state")).arg(&rules);
            let Some(output) = needed("logrotate", rotate.output()) else {
                skipped = true;
                break;
            };
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            thread::sleep(Duration::from_millis(50));
        }
        end.store(true, Ordering::Relaxed);
        written = writer.join().unwrap();
        skipped
    });
    if skipped {
        return;
    }
    let rotated = (1..=rotations).rev().map(|n| directory.join(format!("a.log.{n}")));
    let files: Vec<PathBuf> = rotated.chain([now]).filter(|file| file.exists()).collect();
    assert!(files.len() > 3, "{files:?}");
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let (holds, said) = verify(&site, &files);
    assert!(holds, "{said}");
    let all: Vec<Value> = files.iter().flat_map(|file| lines(file)).collect();
    let writes = all.iter().filter(|line| line["request"]["path"] == "secret/data/w").count();
    assert_eq!(writes, 2 * written, "{said}");
}

/// Whether requests are refused from now on, the smallest too: what is left of the space is used up.
fn refuses(server: &Server, keys: &Keys, data: &Value) -> bool {
    server.post("secret/data/fill", &keys.root_token, &json!({ "data": data }));
    (0..5).all(|_| server.get("secret/data/none", &keys.root_token).error().contains("nothing was done"))
}

/// A server whose one device has failed: requests are refused in time and without an effect, and it is whole again by itself.
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
    assert_eq!(server.get("sys/health", "").status, 200, "who watches is answered");
    mend();
    within(Duration::from_secs(30), || server.get("secret/metadata/x", &keys.root_token).status == 200);
    assert_eq!(version(server, keys, "x"), 1, "what was refused was not done");
    assert_eq!(put(server, keys, "x"), 200);
    let left = server.get("auth/token/lookup-self", &limited).json()["data"]["num_uses"].clone();
    assert_eq!(left, json!(3), "what was refused was no use of the token");
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
        // What is left of the log's own last page is filled by lines that are refused in the end.
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
    // Nobody reads: not even an initialisation happens.
    assert_eq!(
        server.post("sys/init", "", &json!({ "secret_shares": 1, "secret_threshold": 1 })).status,
        500
    );
    assert_eq!(server.get("sys/health", "").status, 501);
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
                // A pause that begins while it waits begins behind what it was waiting for.
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
        // What is written stays in the buffers of the operating system, which are large.
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
    let nobody = "{ name = \"nobody\", type = \"socket\", address = \"127.0.0.1:1\" }";
    let devices = format!("{fifo}, {socket}, {nobody}, {}", file(&site, "a"));
    site.configure(&format!("{}\n[audit]\ndevices = [{devices}]\n", config("memory")));
    let server = site.start();
    let keys = server.init_and_unseal();
    let before = lines(&log(&site, "a")).len();
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(put(&server, &keys, "x"), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits for the others: {:?}", begun.elapsed());
    assert_eq!(lines(&log(&site, "a")).len() - before, 400);
    let (holds, said) = verify(&site, &[&log(&site, "a")]);
    assert!(holds, "{said}");
    let metrics = server.get("sys/metrics", &keys.root_token).text;
    assert!(metrics.contains("keyway_audit_device_up{device=\"a\"} 1"), "{metrics}");
    assert!(metrics.contains("keyway_audit_device_up{device=\"fifo\"} 0"), "{metrics}");
    assert!(metrics.contains("keyway_audit_device_up{device=\"nobody\"} 0"), "{metrics}");
    assert!(site.log_text().contains("the audit device fails"), "{}", site.log_text());
    assert!(server.terminate());
}

#[test]
fn devices_are_added_and_removed_where_the_configuration_says_so() {
    let (site, server, keys) = start("sqlite", |site| file(site, "a"));
    let root = &keys.root_token;
    let added = site.path("trail").join("added.log");
    let options = |path: &Path| json!({ "type": "file", "options": { "file_path": path } });
    let refused = |name: &str, body: &Value, word: &str| {
        let answer = server.post(&format!("sys/audit/{name}"), root, body);
        assert!(answer.status == 400 && answer.error().contains(word), "{}: {}", answer.status, answer.text);
    };
    let database = site.path("data").join("keyway.db");
    refused("b", &options(&database), "holds data");
    fs::write(site.path("notes.txt"), "something else").unwrap();
    refused("b", &options(&site.path("notes.txt")), "something else than an audit log");
    assert_eq!(fs::read_to_string(site.path("notes.txt")).unwrap(), "something else");
    std::os::unix::fs::symlink(site.path("notes.txt"), site.path("link.log")).unwrap();
    refused("b", &options(&site.path("link.log")), "cannot be used");
    refused("b", &options(&log(&site, "a")), "somebody else writes to it");
    refused("b", &options(&site.path("missing").join("a.log")), "cannot be used");
    refused("b", &json!({ "type": "syslog" }), "syslog");
    refused("b", &json!({ "type": "file", "local": true, "options": { "file_path": added } }), "local");
    refused("a", &options(&added), "already");
    refused("b", &json!({ "type": "socket", "options": { "address": "127.0.0.1:1" } }), "cannot be used");

    assert_eq!(server.post("sys/audit/b", root, &options(&added)).status, 204);
    let all = server.get("sys/audit", root).json();
    assert_eq!(all["data"]["b/"]["options"]["file_path"], json!(added));
    assert_eq!((&all["data"]["a/"]["configured"], &all["b/"]["type"]), (&json!(true), &json!("file")));
    assert_eq!(put(&server, &keys, "x"), 200);
    assert_eq!(lines(&added).iter().filter(|line| line["request"]["path"] == "secret/data/x").count(), 2);
    server.kill();
    let server = site.start();
    let sealed = lines(&added).len();
    server.unseal(&keys.shares[0]);
    assert_eq!(put(&server, &keys, "y"), 200);
    assert!(lines(&added).len() > sealed, "it is there again once the server is unsealed");
    let (holds, said) = verify(&site, &[&added]);
    assert!(holds, "{said}");
    let refused = server.request("DELETE", "sys/audit/a", root, None);
    assert!(refused.status == 400 && refused.error().contains("configuration"), "{}", refused.text);
    assert_eq!(server.request("DELETE", "sys/audit/b", root, None).status, 204);
    assert_eq!(server.request("DELETE", "sys/audit/b", root, None).status, 204);
    let before = lines(&added).len();
    assert_eq!(put(&server, &keys, "z"), 200);
    assert_eq!(lines(&added).len(), before);
}

#[test]
fn api_adds_no_device_unless_the_configuration_says_so() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let body = json!({ "type": "file", "options": { "file_path": site.path("b.log") } });
    let refused = server.post("sys/audit/b", &keys.root_token, &body);
    assert!(refused.status == 400 && refused.error().contains("api = true"), "{}", refused.text);
    assert!(!site.path("b.log").exists());
    assert_eq!(server.get("sys/audit", &keys.root_token).json()["data"], json!({}));
}
