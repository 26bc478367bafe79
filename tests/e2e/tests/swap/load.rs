//! A hundred swaps while 64 clients read and write: no request fails, no version is lost or given twice.

use std::time::Duration;

use keyway_e2e::{
    Server, Site,
    load::{Load, Outcome},
    plugins,
};
use serde_json::{Value, json};

const SWAPS: usize = 100;
const CLIENTS: usize = 64;
/// The versions that are kept of a secret.
const KEPT: u64 = 10;
/// The requests that are answered between two swaps.
const BETWEEN: u64 = 100;

#[test]
fn hundred_swaps_of_sqlite_under_load_fail_no_request_and_lose_no_version() {
    let site = plugins::site();
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    plugins::ship(&site, "libkeyway_sqlite-1.1.0.so", &plugins::version("sqlite", "1.1.0"));
    plugins::lock(&site);
    keep_versions(&server, &token);
    let outcome = swap_under_load(&server, &token, |number| {
        let plugin = if number % 2 == 0 { "sqlite@=1.1.0" } else { "sqlite@=1.0.0" };
        json!({ "plugin": plugin })
    });
    let images = metric(&server, &token, "keyway_plugin_images");
    assert_eq!(images, 2, "each version is mapped once");
    check(&server, &token, &outcome);
    // And by the next opening, too.
    assert!(server.terminate());
}

#[test]
fn hundred_swaps_of_memory_with_migration_under_load_fail_no_request_and_lose_no_version() {
    let site = Site::new("memory");
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    keep_versions(&server, &token);
    let outcome = swap_under_load(&server, &token, |_| json!({ "migrate": true }));
    check(&server, &token, &outcome);
}

/// Few, so that a write costs the same at the end as at the beginning.
fn keep_versions(server: &Server, token: &str) {
    let kept = server.post("secret/config", token, &json!({ "max_versions": KEPT }));
    assert_eq!(kept.status, 204, "{}", kept.text);
}

fn swap_under_load(server: &Server, token: &str, body: impl Fn(usize) -> Value) -> Outcome {
    let load = Load::begin(&server.address, token, CLIENTS);
    load.go_on(BETWEEN);
    for number in 0..SWAPS {
        let swapped = server.post("sys/backends/main/swap", token, &body(number));
        assert_eq!(swapped.status, 200, "swap {number}: {}", swapped.text);
        load.go_on(BETWEEN);
        assert_eq!(load.failures(), [""; 0], "swap {number}");
    }
    let outcome = load.end();
    assert_eq!(outcome.failures, [""; 0]);
    // A busy machine needs far less. A swap that blocks all requests would take far longer.
    let slowest = outcome.times.iter().map(|(_, took)| *took).max().unwrap_or_default();
    assert!(slowest < Duration::from_secs(10), "a request has waited {slowest:?}");
    outcome
}

fn check(server: &Server, token: &str, outcome: &Outcome) {
    outcome.check(KEPT, |path, version| {
        let answer = server.get(&format!("secret/data/{path}?version={version}"), token);
        assert_eq!(answer.status, 200, "{path} {version}: {}", answer.text);
        answer.json()["data"].clone()
    });
}

fn metric(server: &Server, token: &str, name: &str) -> u64 {
    let text = server.get("sys/metrics", token).text;
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{name} in {text}"))
}
