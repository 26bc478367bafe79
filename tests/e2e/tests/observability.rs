//! Metrics, logs and trace contexts, and a log that is not read.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use keyway_e2e::{Keys, Server, Site, config, needed, unread::full_pipe, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long the end of a server may take: it waits for connections, its backends and half a second for the log.
const END: Duration = Duration::from_secs(10);

#[test]
fn metrics_page_is_what_prometheus_wants_and_counts_what_happened() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = &keys.root_token;
    for _ in 0..3 {
        server.post("secret/data/very-secret-name", token, &json!({ "data": { "a": "b" } }));
        server.get("secret/data/very-secret-name", token);
    }
    server.get("secret/data/none", token);
    server.request("BREW", "sys/health", token, None);
    server.post("sys/rotate", token, &json!({}));
    assert_eq!(server.get("sys/metrics", "").status, 403);
    let text = server.get("sys/metrics", token).text;
    for line in [
        "keyway_http_requests_total{method=\"POST\",route=\"kv/data/{path}\",status=\"200\"} 3",
        "keyway_http_requests_total{method=\"GET\",route=\"kv/data/{path}\",status=\"404\"} 1",
        "keyway_http_requests_total{method=\"other\",route=\"none\",status=\"405\"} 1",
        "keyway_backend_circuit_state{backend=\"main\"} 0",
        "keyway_key_number 2",
        "keyway_unsealed 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    for name in [
        "keyway_backend_calls_total{backend=\"main\",operation=\"get\",result=\"ok\"}",
        "keyway_backend_call_duration_seconds_bucket",
        "keyway_backend_generation",
        "keyway_key_uses_reserved",
        "keyway_http_request_duration_seconds_count{route=\"kv/data/{path}\"} 7",
        "keyway_http_requests_in_flight 1",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    assert!(!text.contains("very-secret-name"), "names of secrets are not measured");

    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().unwrap().write_all(text.as_bytes())?;
            child.wait_with_output()
        });
    let Some(checked) = needed("promtool", checked) else { return };
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn metrics_are_open_to_all_and_sealed_only_by_the_word() {
    let site = Site::new("memory");
    let closed = site.start();
    assert_eq!(closed.get("sys/metrics", "").status, 503, "sealed");
    drop(closed);
    site.configure(&format!("{}\n[metrics]\nunauthenticated = true\n", config("memory")));
    let open = site.start();
    let answer = open.get("sys/metrics", "");
    assert!(answer.status == 200 && answer.text.contains("keyway_unsealed 0"), "{}", answer.text);
}

#[test]
fn request_id_and_trace_reach_every_line_of_the_log() {
    let site = Site::new("sqlite");
    let server = site.start();
    let keys = server.init_and_unseal();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("X-Vault-Token", keys.root_token.as_str()), ("traceparent", &traceparent)];
    let answer = server.request_with("GET", "secret/metadata/?list=true", &headers, None);
    assert_eq!(answer.status, 404);
    let malformed = [("traceparent", "00-zz-00f067aa0ba902b7-01")];
    assert_eq!(server.request_with("GET", "sys/seal-status", &malformed, None).status, 200);
    // A backend that does not serve writes a separate line.
    std::fs::remove_file(site.path("data/keyway.db")).unwrap();
    let body = json!({ "data": {} }).to_string();
    let failed = server.request_with("POST", "secret/data/a", &headers, Some(&body));
    assert_eq!(failed.status, 503, "{}", failed.text);
    // The log is written after the answer.
    within(Duration::from_secs(30), || site.log_text().contains("storage failed"));
    let log = site.log_text();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines: Vec<Value> =
        whole.lines().map(|line| serde_json::from_str(line).expect("the log is JSON")).collect();
    let of_trace: Vec<&Value> = lines.iter().filter(|line| line["span"]["trace_id"] == trace).collect();
    assert!(of_trace.len() >= 3, "{lines:#?}");
    let failure = of_trace.iter().find(|line| line["fields"]["message"] == "storage failed").unwrap();
    let request = failure["span"]["request_id"].as_str().unwrap();
    assert!(failure["span"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let own = lines
        .iter()
        .filter(|line| line["target"] == "keyway::plugin")
        .find(|line| line["fields"]["request_id"] == request);
    assert!(own.is_some(), "the plugin's own line names the request: {lines:#?}");
}

/// Sends requests of several clients, all answered, until the server has dropped lines of its log.
fn work_until_lines_are_dropped(server: &Server, keys: &Keys) {
    let token = &keys.root_token;
    within(Duration::from_secs(120), || {
        thread::scope(|scope| {
            for client in 0..4 {
                scope.spawn(move || {
                    for _ in 0..20 {
                        let begun = Instant::now();
                        let body = json!({ "data": { "a": "b" } });
                        let answer = server.post(&format!("secret/data/{client}"), token, &body);
                        assert_eq!(answer.status, 200, "{}", answer.text);
                        // Its line is as long as its path: 700 of them fill the queue.
                        assert_eq!(server.get(&"x".repeat(6_000), token).status, 404);
                        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
                    }
                });
            }
        });
        dropped(server, keys) > 0
    });
}

/// How many lines were dropped, as the metric has it.
fn dropped(server: &Server, keys: &Keys) -> u64 {
    let text = server.get("sys/metrics", &keys.root_token).text;
    let line = text.lines().find_map(|line| line.strip_prefix("keyway_log_lines_dropped_total "));
    line.expect("the metric").parse().expect("a number")
}

/// Reads a log on a thread, until a line says how many lines were dropped; answers that line, and all before it.
fn read_until_told(reader: File) -> (String, Vec<String>) {
    let (told, hears) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut before = Vec::new();
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            let is_it = line.contains("log lines were dropped");
            before.push(line);
            if is_it {
                // On with reading, so that the server is not stopped again.
                let _gone = told.send(std::mem::take(&mut before));
            }
        }
    });
    let mut before = hears.recv_timeout(Duration::from_secs(60)).expect("a line reports the dropped lines");
    (before.pop().expect("the line"), before)
}

#[test]
fn readers_of_log_and_output_that_hang_stop_nothing_and_the_log_says_what_is_missing() {
    let site = Site::new("sqlite");
    let ((out_reader, out), (err_reader, err)) = (full_pipe(), full_pipe());
    let server = site.start_unread(&[], "trace", out.into(), err.into());
    let keys = server.init_and_unseal();
    work_until_lines_are_dropped(&server, &keys);
    let (line, before) = read_until_told(err_reader);
    let line: Value = serde_json::from_str(&line).expect("the log is JSON");
    let told = line["fields"]["dropped"].as_u64().expect("a number");
    assert!(told > 0 && told <= dropped(&server, &keys), "{line}");
    assert_eq!(line["level"], "WARN");
    for line in before.iter().filter(|line| !line.is_empty()) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "torn: {line}");
    }
    // A late reader still finds the announcement.
    let mut announced =
        BufReader::new(out_reader).lines().map_while(Result::ok).filter(|line| !line.is_empty());
    let announced = announced.next().expect("an announcement");
    assert!(announced.starts_with("Keyway is ready at http://127.0.0.1:"), "{announced}");
    assert!(server.terminate());
}

#[test]
fn readers_that_hang_do_not_keep_a_server_from_ending() {
    let site = Site::new("sqlite");
    let ((_out_reader, out), (_err_reader, err)) = (full_pipe(), full_pipe());
    let server = site.start_unread(&[], "trace", out.into(), err.into());
    let keys = server.init_and_unseal();
    work_until_lines_are_dropped(&server, &keys);
    let begun = Instant::now();
    assert!(server.terminate());
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
}

#[test]
fn readers_that_hang_do_not_keep_a_server_that_cannot_start_from_saying_so_by_its_exit_code() {
    let site = Site::new("memory");
    let ((_out_reader, out), (_err_reader, err)) = (full_pipe(), full_pipe());
    let (mut command, address) = site.unread_command(&[], "trace");
    let address = address.trim_start_matches("http://");
    let _taken = std::net::TcpListener::bind(address).expect("take the port");
    let mut server = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("start keyway");
    let begun = Instant::now();
    let status = server.wait().expect("wait for keyway");
    assert_eq!(status.code(), Some(6));
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
}

#[test]
fn terminal_that_hangs_stops_nothing_and_shows_what_is_missing() {
    let site = Site::new("sqlite");
    let (mut shown, out) = full_pipe();
    let (command, address) = site.unread_command(&[], "trace");
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().expect("Unicode")).collect();
    let (pid, line) = (site.path("pid"), words.join(" "));
    let script = format!("echo $$ > {}; exec {line}", pid.display());
    // `script` copies the terminal to a full pipe that is not read, so it does not read the terminal either.
    let spawned = Command::new("script")
        .args(["-qec", &script, "/dev/null"])
        .current_dir(site.path("."))
        .env("RUST_LOG", "trace")
        .stdin(Stdio::null())
        .stdout(out)
        .spawn();
    let terminal = match spawned {
        Ok(terminal) => terminal,
        Err(error) => {
            let skipped = needed("script", Err(error));
            assert!(skipped.is_none());
            return;
        }
    };
    let server = Server::answering(terminal, address);
    let pid = fs::read_to_string(&pid).expect("a file").trim().parse().expect("a number");
    let keys = server.init_and_unseal();
    work_until_lines_are_dropped(&server, &keys);
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let mut bytes = [0; 64 * 1024];
        loop {
            let read = shown.read(&mut bytes).expect("read the terminal");
            text.push_str(&String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()));
            if read == 0 {
                return text;
            }
        }
    });
    // The terminal ends with the server.
    kill_process(Pid::from_raw(pid).expect("a process id"), Signal::TERM).expect("signal the server");
    let begun = Instant::now();
    assert!(server.wait());
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    let text = reader.join().expect("the reader");
    let line = text.lines().find(|line| line.contains("log lines were dropped")).expect("a line says it");
    assert!(line.contains("WARN") && !line.starts_with('{'), "text, on a terminal: {line}");
}

#[test]
fn log_that_cannot_be_written_is_counted_and_stops_nothing() {
    let full = || File::options().write(true).open("/dev/full").expect("open /dev/full");
    let closed = || {
        let (reader, writer) = full_pipe();
        drop(reader);
        writer
    };
    for (out, err) in [(full(), full()), (closed(), closed())] {
        let site = Site::new("memory");
        let server = site.start_unread(&[], "debug", out.into(), err.into());
        let keys = server.init_and_unseal();
        work_until_lines_are_dropped(&server, &keys);
        assert!(server.terminate());
    }
}

#[test]
fn metrics_are_json_for_vault_clients_and_on_request() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = keys.root_token.as_str();
    let get = |path: &str, header: (&str, &str)| {
        server.request_with("GET", path, &[("X-Vault-Token", token), header], None)
    };
    let none = ("X-Nothing", "x");
    for (path, header) in [
        ("sys/metrics?format=json", none),
        ("sys/metrics", ("Accept", "application/json")),
        ("sys/metrics", ("X-Vault-Request", "true")),
    ] {
        let measured = get(path, header).json();
        let counters = measured["Counters"].as_array().expect("counters");
        let requests = counters.iter().find(|one| one["Name"] == "keyway_http_requests_total").expect("one");
        assert!(requests["Count"].as_f64() >= Some(1.0) && requests["Labels"]["route"].is_string());
        let named = |list: &str, name: &str| {
            let list = measured[list].as_array().expect("a list");
            list.iter().any(|one| one["Name"] == name)
        };
        assert!(named("Gauges", "keyway_unsealed"), "{measured}");
        assert!(named("Samples", "keyway_http_request_duration_seconds"), "{measured}");
        assert!(measured["Points"].is_array() && measured["Timestamp"].is_string());
    }
    for (path, header) in [
        ("sys/metrics", none),
        ("sys/metrics?format=", none),
        ("sys/metrics?format=prometheus", ("X-Vault-Request", "true")),
        ("sys/metrics", ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4")),
    ] {
        assert!(get(path, header).text.contains("# TYPE keyway_unsealed gauge"), "{path} {header:?}");
    }
    let unknown = get("sys/metrics?format=xml", none);
    assert_eq!((unknown.status, unknown.error().contains("\"xml\"")), (400, true), "{}", unknown.text);
}

#[test]
fn host_versions_requests_and_plugins_are_told_as_openbao_tells_them() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init_and_unseal();
    let get = |path: &str| server.get(path, &keys.root_token).json();

    let host = get("sys/host-info")["data"].clone();
    assert!(host["host"]["hostname"].is_string() && host["host"]["os"] == "linux", "{host}");
    assert!(host["memory"]["total"].as_u64() > Some(0) && !host["cpu"].as_array().expect("cpu").is_empty());
    assert!(host["disk"].is_array() && host["timestamp"].is_string());

    let hosts = get("sys/ha-status");
    assert_eq!(hosts["data"]["nodes"], hosts["nodes"]);
    assert_eq!(hosts["nodes"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&hosts["nodes"][0]["active_node"], &hosts["nodes"][0]["last_echo"]),
        (&json!(true), &Value::Null)
    );

    let versions = server.request("LIST", "sys/version-history", &keys.root_token, None).json();
    let version = versions["data"]["keys"][0].as_str().expect("a version").to_owned();
    let installed = &versions["data"]["key_info"][&version];
    assert!(installed["timestamp_installed"].is_string() && installed["previous_version"].is_null());

    let requests = get("sys/in-flight-req");
    let requests = requests.as_object().expect("no envelope");
    let own = requests.values().find(|one| one["request_path"] == "/v1/sys/in-flight-req").expect("itself");
    assert_eq!(own["request_method"], "GET");
    assert!(own["client_remote_address"].as_str().expect("an address").starts_with("127.0.0.1:"));

    let catalog = get("sys/plugins/catalog")["data"].clone();
    assert_eq!((&catalog["secret"], &catalog["auth"]), (&json!(["kv"]), &json!(["approle"])));
    assert_eq!(catalog["storage"], json!(["memory"]));
    let detailed = catalog["detailed"].as_array().expect("details");
    let memory = detailed.iter().find(|plugin| plugin["name"] == "memory").expect("the backend's plugin");
    assert_eq!((&memory["type"], &memory["builtin"]), (&json!("storage"), &json!(false)));
    assert_eq!(memory["sha256"].as_str().map(str::len), Some(64), "{memory}");
    let listed = server.request("LIST", "sys/plugins/catalog/storage", &keys.root_token, None).json();
    assert_eq!(listed["data"]["keys"], json!(["memory"]));
    let one = get("sys/plugins/catalog/storage/memory")["data"].clone();
    assert_eq!((&one["sha256"], &one["version"]), (&memory["sha256"], &memory["version"]));
    assert_eq!(server.get("sys/plugins/catalog/storage/none", &keys.root_token).status, 404);
    let unknown = server.request("LIST", "sys/plugins/catalog/none", &keys.root_token, None);
    assert_eq!(unknown.status, 400, "{}", unknown.text);
}
