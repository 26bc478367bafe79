//! The server is killed at every step of a swap: the next start serves from one complete store.

use std::{thread, time::Duration};

use keyway_e2e::{Keys, Server, Site, load::Load, plugins};
use serde_json::json;

/// The steps of a swap that succeeds, in their order.
const STEPS: [&str; 8] =
    ["chosen", "marked", "drained", "closed", "opened", "tried", "remembered", "serving"];

#[test]
fn server_killed_at_any_step_of_a_swap_serves_at_its_next_start_all_that_was_acknowledged() {
    for step in STEPS {
        let site = plugins::site();
        let keys = {
            let server = site.start();
            server.init_and_unseal()
        };
        let unsealed = die_in_a_swap(&site, step, &plugins::version("sqlite", "1.1.0"), &keys);
        // At whichever step the server died, it starts the newest version: 1.1.0 is there and works.
        assert_eq!(version(&unsealed, &keys.root_token), "1.1.0", "{step}");
    }
}

/// A version that opens an empty store and not the real one: the way back has steps, too.
#[test]
fn server_killed_on_the_way_back_from_a_swap_serves_at_its_next_start() {
    for step in ["closed", "back"] {
        let site = plugins::site();
        let keys = {
            let server = site.start();
            server.init_and_unseal()
        };
        let unsealed = die_in_a_swap(&site, step, &plugins::flawed("unhealthy later"), &keys);
        assert_eq!(version(&unsealed, &keys.root_token), "1.0.0", "{step}");
    }
}

/// Answers the server after its restart, unsealed, once everything was found that had been acknowledged.
fn die_in_a_swap(site: &Site, step: &str, library: &[u8], keys: &Keys) -> Server {
    let (share, token) = (&keys.shares[0], keys.root_token.as_str());
    let server = site.start_under(&["env", &format!("KEYWAY_DIES_AT={step}")], &[]);
    server.unseal(share);
    plugins::ship(site, "libkeyway_sqlite-1.1.0.so", library);
    plugins::lock(site);
    let load = Load::begin(&server.address, token, 4);
    load.go_on(40);
    let swapped = server.try_post("sys/backends/main/swap", token, &json!({}));
    assert!(swapped.is_err(), "{step}: the server lives");
    thread::sleep(Duration::from_millis(50));
    let outcome = load.end();
    drop(server);
    let server = site.start();
    server.unseal(share);
    let read = |path: &str, version: u64| {
        server.get(&format!("secret/data/{path}?version={version}"), token).json()["data"].clone()
    };
    outcome.check_after_a_crash(10, read);
    server
}

fn version(server: &Server, token: &str) -> String {
    server.get("sys/backends/main", token).json()["data"]["version"].as_str().unwrap_or_default().to_owned()
}
