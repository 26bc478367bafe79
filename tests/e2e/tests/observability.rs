//! Measurements, logs and trace contexts.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use keyway_e2e::{Site, config, needed};
use serde_json::{Value, json};

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
    // A backend that does not serve writes a line of its own.
    std::fs::remove_file(site.path("data/keyway.db")).unwrap();
    let body = json!({ "data": {} }).to_string();
    let failed = server.request_with("POST", "secret/data/a", &headers, Some(&body));
    assert_eq!(failed.status, 503, "{}", failed.text);
    let lines: Vec<Value> =
        site.log_text().lines().map(|line| serde_json::from_str(line).expect("the log is JSON")).collect();
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
