//! Fifty restarts while the libraries are replaced, removed and broken: always the newest that works.

use std::{collections::BTreeMap, fs};

use keyway_compat::forge::Seeded;
use keyway_e2e::{Site, plugins};
use serde_json::json;

const RESTARTS: usize = 50;

/// The state of the file of a version.
#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Sound,
    Gone,
    CutOff,
    NoLibrary,
    NotLocked,
    CrashesInOpen,
    UnhealthyInOpen,
}

#[test]
fn newest_version_that_works_serves_after_each_of_fifty_restarts() {
    const STATES: [State; 7] = [
        State::Sound,
        State::Sound,
        State::Gone,
        State::CutOff,
        State::NoLibrary,
        State::NotLocked,
        State::CrashesInOpen,
    ];
    let site = plugins::site();
    let server = site.start();
    let keys = server.init_and_unseal();
    let token = keys.root_token.as_str();
    assert_eq!(server.post("secret/data/a", token, &json!({ "data": { "value": 1 } })).status, 200);
    drop(server);
    let mut random = Seeded(0x6b65_7977_6179);
    let mut files: BTreeMap<String, State> = BTreeMap::new();
    for restart in 0..RESTARTS {
        let number = 1 + random.below(8);
        let version = format!("1.{number}.0");
        // 1.1.0 is the version that the flawed library says it is of.
        let state = match STATES[random.below(STATES.len())] {
            State::CrashesInOpen if number != 1 => State::Sound,
            State::CrashesInOpen if restart % 2 == 0 => State::UnhealthyInOpen,
            state => state,
        };
        put(&site, &version, state, restart);
        files.insert(version, state);
        let server = site.start();
        server.unseal(&keys.shares[0]);
        let sound = files.iter().filter(|(_, state)| **state == State::Sound).map(|(version, _)| version);
        let newest = sound.max().cloned().unwrap_or_else(|| "1.0.0".to_owned());
        let backend = server.get("sys/backends/main", token).json()["data"].clone();
        assert_eq!(backend["version"], newest, "restart {restart}, {files:?}: {backend}");
        assert_eq!(backend["health"]["writable"], true, "{backend}");
        assert_eq!(server.get("secret/data/a", token).status, 200, "restart {restart}");
        if restart % 2 == 0 {
            assert!(server.terminate());
        } else {
            server.kill();
        }
    }
}

/// Puts a file into its state; one that is to run is locked, another build each time.
fn put(site: &Site, version: &str, state: State, build: usize) {
    let file = format!("libkeyway_sqlite-{version}.so");
    let sound = || [plugins::version("sqlite", version), format!("build {build}").into_bytes()].concat();
    let bytes = match state {
        State::Gone => {
            // It may not have been there.
            let _none = fs::remove_file(site.path("plugins").join(file));
            return;
        }
        State::Sound => sound(),
        State::CutOff => sound()[..1_000_000].to_vec(),
        State::NoLibrary => b"#!/bin/sh\n".to_vec(),
        State::NotLocked => {
            plugins::ship(site, &file, &sound());
            return;
        }
        State::CrashesInOpen => [plugins::flawed("crash"), format!("build {build}").into_bytes()].concat(),
        State::UnhealthyInOpen => {
            [plugins::flawed("unhealthy later"), format!("build {build}").into_bytes()].concat()
        }
    };
    plugins::ship(site, &file, &bytes);
    if matches!(state, State::Sound | State::CrashesInOpen | State::UnhealthyInOpen) {
        lock(site, &file);
    }
}

/// Allows this file to run, in addition to those that are allowed.
fn lock(site: &Site, file: &str) {
    let path = site.path("plugins").join(file);
    let locked = site.run(&["plugin", "lock", path.to_str().unwrap(), "--config", "keyway.toml"]);
    assert!(locked.status.success(), "{}", plugins::said(&locked));
}
