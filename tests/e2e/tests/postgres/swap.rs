//! A new version of the plugin takes over from the old one while clients read and write: both have the
//! database open.

use std::{fs, time::Duration};

use keyway_e2e::{load::Load, plugins, within};
use keyway_private_postgres::{Options, needed};
use serde_json::json;

use super::site;

const SWAPS: usize = 20;
const CLIENTS: usize = 32;
/// The versions that are kept of a secret.
const KEPT: u64 = 10;
/// The most sessions of one generation, by default.
const SESSIONS: usize = 32;
/// The requests that are answered between two swaps.
const BETWEEN: u64 = 100;

#[test]
fn swaps_under_load_stand_beside_and_fail_no_request() {
    let Some(database) = needed(&Options { settings: &["max_connections=200"], ..Options::default() }) else {
        return;
    };
    let site = site(&database);
    fs::create_dir(site.path("plugins")).unwrap();
    plugins::put(&site, "postgres", &plugins::read("postgres"));
    plugins::ship(&site, "libkeyway_postgres-1.1.0.so", &plugins::version("postgres", "1.1.0"));
    let text = fs::read_to_string(site.config()).unwrap();
    let (built, own) = (keyway_e2e::built(), site.path("plugins"));
    site.configure(&text.replace(built.to_str().unwrap(), own.to_str().unwrap()));
    plugins::lock(&site);
    let server = site.start();
    let token = server.init_and_unseal().root_token;
    assert_eq!(server.post("secret/config", &token, &json!({ "max_versions": KEPT })).status, 204);
    let load = Load::begin(&server.address, &token, CLIENTS);
    load.go_on(BETWEEN);
    for number in 0..SWAPS {
        let plugin = if number % 2 == 0 { "postgres@=1.0.0" } else { "postgres@=1.1.0" };
        let swapped = server.post("sys/backends/main/swap", &token, &json!({ "plugin": plugin }));
        assert_eq!(swapped.status, 200, "swap {number}: {}", swapped.text);
        assert_eq!(swapped.json()["data"]["way"], json!("beside"), "{}", swapped.text);
        load.go_on(BETWEEN);
        assert_eq!(load.failures(), [""; 0], "swap {number}");
    }
    let outcome = load.end();
    assert_eq!(outcome.failures, [""; 0]);
    outcome.check(KEPT, |path, version| {
        let answer = server.get(&format!("secret/data/{path}?version={version}"), &token);
        assert_eq!(answer.status, 200, "{path} {version}: {}", answer.text);
        answer.json()["data"].clone()
    });
    // What served before has let go of its connections.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let count = || database.sql(sessions).unwrap().trim().parse::<usize>().unwrap();
    assert!(count() > 0, "the one that serves has some");
    within(Duration::from_secs(20), || count() <= SESSIONS);
    assert!(server.terminate());
}
