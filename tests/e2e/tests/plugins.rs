//! A plugin that cannot be used, as operators see it: the server starts, serves the other backends, says why
//! everywhere, and falls back where it may.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, time::Duration};

use keyway_compat::forge::Forged;
use keyway_e2e::{
    Keys, Server, Site, built,
    plugins::{configuration, lock, put, read, said, site},
    within,
};
use serde_json::{Value, json};

/// How long a log line may take after the event.
const LOG: Duration = Duration::from_secs(30);

/// With a second backend.
fn with_extra(site: &Site, plugin: &str, settings: &str) {
    site.configure(&format!(
        "{}\n[backends.extra]\nplugin = \"{plugin}\"\n{settings}\n",
        configuration(site)
    ));
}

fn state(server: &Server, backend: &str) -> String {
    let health = server.get("sys/health", "").json();
    health.pointer(&format!("/storage/{backend}")).and_then(Value::as_str).unwrap().to_owned()
}

fn write_and_read(server: &Server, keys: &Keys) {
    let body = json!({ "data": { "k": "v" } });
    assert_eq!(server.post("secret/data/a", &keys.root_token, &body).status, 200);
    assert_eq!(server.get("secret/data/a", &keys.root_token).status, 200);
}

fn backend(server: &Server, keys: &Keys, name: &str, field: &str) -> Value {
    let described = server.get(&format!("sys/backends/{name}"), &keys.root_token).json();
    described.pointer(&format!("/data/{field}")).cloned().unwrap_or_default()
}

#[test]
fn crashing_plugin_is_told_quarantined_and_released_while_the_others_serve() {
    let site = site();
    put(&site, "forged", &Forged::new("abort").compile(&site.path("")));
    lock(&site);
    with_extra(&site, "forged", "");
    let mut keys = None;
    for summary in
        ["it ends the process that loads it", "it ends the process that loads it", "it is in quarantine"]
    {
        let server = site.start();
        match &keys {
            None => keys = Some(server.init_and_unseal()),
            Some(keys) => drop(server.unseal(keys.shares.first().unwrap())),
        }
        let keys = keys.as_ref().unwrap();
        write_and_read(&server, keys);
        assert_eq!(state(&server, "main"), "ready");
        assert_eq!(
            state(&server, "extra"),
            format!("not available: plugin forged cannot be used: {summary}")
        );
        let reason = backend(&server, keys, "extra", "reason").to_string();
        assert!(reason.contains("SIGABRT; it wrote: about to abort"), "{reason}");
        let metrics = server.get("sys/metrics", &keys.root_token).text;
        assert!(metrics.contains("keyway_backend_open{backend=\"extra\"} 0"), "{metrics}");
        let listed = server.cli(&site, &keys.root_token, &["backend", "list"]);
        assert!(said(&listed).contains("not ready: plugin forged cannot be used"), "{}", said(&listed));
        assert!(server.terminate());
    }
    let list = |word: &[&str]| {
        let mut words = vec!["plugin", "quarantine"];
        words.extend(word);
        words.extend(["--config", "keyway.toml"]);
        site.run(&words)
    };
    let listed = said(&list(&["list"]));
    assert!(listed.contains("forged 1.0.0") && listed.contains("2 crashes, last: probed"), "{listed}");
    let why = said(&site.run(&["plugin", "why", "forged", "--config", "keyway.toml"]));
    assert!(why.contains("not used") && why.contains("quarantine clear"), "{why}");
    assert_eq!(list(&["clear", "00"]).status.code(), Some(2));
    assert_eq!(list(&["clear", "0000000000"]).status.code(), Some(4));
    assert!(said(&list(&["clear", "--all"])).contains("Released "));
    assert!(said(&list(&["list"])).contains("No plugin is in quarantine"));
    let server = site.start();
    assert!(state(&server, "extra").contains("ends the process"), "a released plugin is tried again");
}

#[test]
fn host_that_its_plugin_takes_down_in_open_comes_back_without_it() {
    let site = site();
    put(&site, "faulty", &read("faulty"));
    lock(&site);
    with_extra(&site, "faulty", "config = { open = \"abort when there\" }");
    fs::create_dir_all(site.path("data")).unwrap();
    fs::write(site.path("data/there"), "").unwrap();
    for _ in 0..2 {
        let died = site.run(&["server", "--config", "keyway.toml"]);
        assert_eq!(died.status.code(), None, "it did not die: {}", said(&died));
    }
    let server = site.start();
    let keys = server.init_and_unseal();
    write_and_read(&server, &keys);
    assert!(state(&server, "extra").contains("in quarantine"));
    let reason = backend(&server, &keys, "extra", "reason").to_string();
    assert!(reason.contains("opening backend \\\"extra\\\""), "{reason}");
    // Sealed or not, the plugin that works is never put away.
    assert!(state(&server, "main").contains("ready"));
}

#[test]
fn backend_that_takes_down_the_server_with_a_plugin_that_has_worked_lets_the_others_serve_first() {
    let site = site();
    put(&site, "faulty", &read("faulty"));
    lock(&site);
    with_extra(&site, "faulty", "");
    let server = site.start();
    assert_eq!(state(&server, "extra"), "ready");
    let keys = server.init_and_unseal();
    assert!(server.terminate());
    // Its store is damaged since.
    with_extra(&site, "faulty", "config = { open = \"abort when there\" }");
    fs::create_dir_all(site.path("data")).unwrap();
    fs::write(site.path("data/there"), "").unwrap();
    for _ in 0..2 {
        assert_eq!(site.run(&["server", "--config", "keyway.toml"]).status.code(), None, "it did not die");
    }
    let server = site.start();
    server.unseal(keys.shares.first().unwrap());
    write_and_read(&server, &keys);
    let why = "the server has ended 2 times while it opened this backend; tried again after 30 s";
    assert_eq!(state(&server, "extra"), format!("not available: {why}"));
    assert!(server.terminate());
    with_extra(&site, "faulty", "");
    let quarantine = said(&site.run(&["plugin", "quarantine", "list", "--config", "keyway.toml"]));
    assert!(quarantine.contains("No plugin"), "{quarantine}");
}

#[test]
fn backend_that_hangs_in_open_delays_neither_start_nor_end() {
    let site = site();
    put(&site, "faulty", &read("faulty"));
    lock(&site);
    for open in ["block", "never"] {
        with_extra(&site, "faulty", &format!("config = {{ open = \"{open} when there\" }}"));
        fs::create_dir_all(site.path("data")).unwrap();
        fs::write(site.path("data/there"), "").unwrap();
        let server = site.start();
        assert_eq!(state(&server, "extra"), "not available: it is being opened");
        assert_eq!(state(&server, "main"), "ready");
        assert!(server.terminate(), "it ends in order, and in time");
    }
    // An operator who stops a server that is opening a backend has not seen a crash.
    let quarantine = said(&site.run(&["plugin", "quarantine", "list", "--config", "keyway.toml"]));
    assert!(quarantine.contains("No plugin"), "{quarantine}");
    with_extra(&site, "faulty", "");
    let server = site.start();
    assert_eq!(state(&server, "extra"), "ready");
}

#[test]
fn backend_whose_store_comes_later_is_opened_without_a_restart() {
    let site = site();
    put(&site, "faulty", &read("faulty"));
    lock(&site);
    with_extra(&site, "faulty", "config = { open = \"wait for a file\" }");
    let server = site.start();
    assert_eq!(state(&server, "extra"), "not available: its store cannot be opened");
    fs::write(site.path("data/there"), "").unwrap();
    within(Duration::from_secs(20), || state(&server, "extra") == "ready");
}

#[test]
fn what_worked_last_takes_over_and_says_so_at_every_level_unless_it_is_forbidden() {
    let site = site();
    let server = site.start();
    let keys = server.init_and_unseal();
    write_and_read(&server, &keys);
    assert!(server.terminate());
    // The file is overwritten by a failed copy.
    put(&site, "sqlite", b"half of it");
    let server = site.start();
    server.unseal(keys.shares.first().unwrap());
    assert_eq!(server.get("secret/data/a", &keys.root_token).status, 200);
    write_and_read(&server, &keys);
    assert_eq!(state(&server, "main"), "ready; fallback: not the plugin that the configuration asks for");
    let status = said(&server.cli(&site, "", &["status"]));
    assert!(status.contains("Backend main: ready; fallback"), "{status}");
    let why = backend(&server, &keys, "main", "fallback").to_string();
    assert!(why.contains("it worked last") && why.contains("not a shared library"), "{why}");
    let listed = said(&server.cli(&site, &keys.root_token, &["backend", "list"]));
    assert!(listed.contains("ready; fallback: not the plugin"), "{listed}");
    let health = said(&server.cli(&site, &keys.root_token, &["backend", "health"]));
    assert!(health.contains("main: sqlite 1.0.0 is used: it worked last"), "{health}");
    let doctor = said(&site.run(&["plugin", "doctor", "--config", "keyway.toml"]));
    assert!(doctor.contains("main: FALLBACK: uses "), "{doctor}");
    within(LOG, || site.log_text().contains("FALLBACK: not the plugin that is configured"));
    assert!(server.terminate());

    // A version that is no longer trusted is not used as a fallback.
    let locked = fs::read_to_string(site.path("keyway.lock")).unwrap();
    fs::write(site.path("keyway.lock"), "").unwrap();
    let server = site.start();
    assert!(state(&server, "main").starts_with("not available: plugin sqlite cannot be used"));
    assert!(server.terminate());
    assert!(fs::read_to_string(site.log()).unwrap().contains("which worked before: sqlite 1.0.0 for"));
    fs::write(site.path("keyway.lock"), locked).unwrap();

    site.configure(
        &configuration(&site).replace("plugin = \"sqlite\"", "plugin = \"sqlite\"\nfallback = false"),
    );
    let server = site.start();
    assert_eq!(state(&server, "main"), "not available: plugin sqlite cannot be used: its file is no library");
    assert_eq!(server.get("sys/seal-status", "").status, 503);
}

#[test]
fn plugin_beside_the_program_is_the_last_resort_for_sqlite() {
    let site = site();
    let program = site.path("bin/keyway");
    fs::create_dir_all(site.path("bin/plugins")).unwrap();
    fs::copy(built().join("keyway"), &program).unwrap();
    fs::rename(site.path("plugins/libkeyway_sqlite.so"), site.path("bin/plugins/libkeyway_sqlite.so"))
        .unwrap();
    site.configure(&configuration(&site).replace("\"sqlite\"", "\"sqlite@^7\""));
    let program = program.to_str().unwrap();
    let server = site.start_command(&[program, "server", "--config", site.config().to_str().unwrap()]);
    let keys = server.init_and_unseal();
    write_and_read(&server, &keys);
    let why = backend(&server, &keys, "main", "fallback").to_string();
    assert!(why.contains("the one next to the program") && why.contains("its version is 1.0.0"), "{why}");
    assert!(server.terminate());
    site.configure(&configuration(&site).replace("\"sqlite\"", "\"sqlite@^7\"\nfallback = false"));
    let server = site.start_command(&[program, "server", "--config", site.config().to_str().unwrap()]);
    assert!(state(&server, "main").contains("it is of another version"));
}

#[test]
fn store_of_a_newer_format_is_not_given_to_a_plugin_that_does_not_know_it() {
    let site = site();
    let server = site.start();
    let keys = server.init_and_unseal();
    write_and_read(&server, &keys);
    assert!(server.terminate());
    // As a later plugin would have left it written down.
    let history = site.path("data/plugins/history.json");
    let text = fs::read_to_string(&history).unwrap();
    let newer = text.replace("\"data_format\": 2", "\"data_format\": 3");
    assert_ne!(text, newer);
    fs::write(&history, newer).unwrap();
    let server = site.start();
    assert_eq!(
        state(&server, "main"),
        "not available: plugin sqlite cannot be used: it does not know the store's data format"
    );
    fs::write(&history, text).unwrap();
    assert!(server.terminate());
    let server = site.start();
    server.unseal(keys.shares.first().unwrap());
    assert_eq!(server.get("secret/data/a", &keys.root_token).status, 200);
}

#[test]
fn unchecked_plugins_need_the_word_and_are_shown_everywhere() {
    let site = site();
    fs::remove_file(site.path("keyway.lock")).unwrap();
    site.configure(&configuration(&site).replace("policy = \"lock\"", "policy = \"none\""));
    let refused = site.run(&["server", "--config", "keyway.toml"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(said(&refused).contains("--dev"), "{}", said(&refused));
    let listed = said(&site.run(&["plugin", "list", "--config", "keyway.toml"]));
    assert!(listed.contains("trust SKIPPED (policy none)") && listed.contains("trust: none"), "{listed}");
    let server = site.start_with(&["--dev"]);
    assert_eq!(state(&server, "main"), "ready; trust SKIPPED (policy none)");
    within(LOG, || site.log_text().contains("NOT CHECKED"));
    let keys = server.init_and_unseal();
    assert_eq!(backend(&server, &keys, "main", "trust"), json!("trust SKIPPED (policy none)"));
}

#[test]
fn environment_lets_nothing_run_that_the_configuration_does_not() {
    let site = site();
    let plugins = site.path("plugins");
    let text = configuration(&site).replace("policy = \"lock\"", "policy = \"owner\"");
    // Only the environment names the directory.
    site.configure(&text.replace(&format!("plugin_dirs = [{:?}]\n", plugins.to_str().unwrap()), ""));
    let program = built().join("keyway");
    let server = site.start_command(&[
        "env",
        &format!("KEYWAY_PLUGIN_PATH={}", plugins.display()),
        program.to_str().unwrap(),
        "server",
        "--config",
        site.config().to_str().unwrap(),
    ]);
    assert_eq!(state(&server, "main"), "not available: plugin sqlite cannot be used: it is not trusted");
    assert!(server.terminate());
    assert!(fs::read_to_string(site.log()).unwrap().contains("because the environment names it"));
}

#[test]
fn plugin_that_was_removed_does_not_come_back_as_a_fallback() {
    let site = site();
    let server = site.start();
    server.init_and_unseal();
    assert!(server.terminate());
    let removed = said(&site.run(&["plugin", "remove", "sqlite", "--config", "keyway.toml"]));
    assert!(removed.contains("No longer to fall back to: sqlite 1.0.0 for backend main"), "{removed}");
    // Even where it would still be trusted.
    put(&site, "sqlite", &read("sqlite"));
    lock(&site);
    fs::remove_file(site.path("plugins/libkeyway_sqlite.so")).unwrap();
    let server = site.start();
    assert_eq!(state(&server, "main"), "not available: plugin sqlite was not found");
}

#[test]
fn system_backend_comes_first_where_two_want_one_store() {
    let site = site();
    let greedy = "[backends.aaa]\nplugin = \"sqlite\"\nconfig = { path = \"keyway.db\" }\n";
    site.configure(&format!("{}\n{greedy}", configuration(&site)));
    let server = site.start();
    assert_eq!(state(&server, "main"), "ready");
    assert_eq!(state(&server, "aaa"), "not available: its store cannot be opened");
}
