//! The commands that look at plugin files, sign, install, explain and remove them.

use std::{fs, path::Path};

use keyway_compat::forge::Forged;
use keyway_e2e::{
    built,
    plugins::{configuration, lock, put, read, said, site},
};
use serde_json::Value;

#[test]
fn plugin_is_signed_installed_verified_explained_and_removed() {
    let site = site();
    let run = |words: &[&str]| {
        let mut words = words.to_vec();
        if !matches!(words.get(1), Some(&("sign" | "new-key" | "info"))) {
            words.extend(["--config", "keyway.toml"]);
        }
        site.run(&words)
    };
    let good = |words: &[&str]| {
        let output = run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        said(&output)
    };
    let made = good(&["plugin", "new-key", "acme.key", "--no-password"]);
    let public = made.lines().find_map(|line| line.strip_prefix("public_key = ")).unwrap().to_owned();
    assert_eq!(
        run(&["plugin", "new-key", "acme.key", "--no-password"]).status.code(),
        Some(2),
        "a key is overwritten"
    );
    let signed = configuration(&site).replace(
        "policy = \"lock\"",
        &format!("policy = \"signed\"\n[trust.keys.acme]\npublic_key = {public}\nplugins = [\"memory\"]"),
    );
    site.configure(&signed);
    let library = site.path("libkeyway_memory.so");
    fs::write(&library, read("memory")).unwrap();
    let refused = run(&["plugin", "install", "libkeyway_memory.so"]);
    assert!(
        refused.status.code() == Some(5) && said(&refused).contains("there is no signature"),
        "{}",
        said(&refused)
    );
    assert!(!site.path("plugins/libkeyway_memory-1.0.0.so").exists(), "a refused plugin is not installed");
    assert!(
        good(&["plugin", "sign", "libkeyway_memory.so", "--key", "acme.key"])
            .contains("name:memory\tversion:1.0.0")
    );
    assert!(good(&["plugin", "install", "libkeyway_memory.so"]).contains("(signed by acme)"));
    let again = good(&["plugin", "install", "libkeyway_memory.so"]);
    assert!(again.contains("is installed"), "{again}");
    good(&["plugin", "verify", "plugins/libkeyway_memory-1.0.0.so"]);
    // The one from before has no signature.
    let verified = run(&["plugin", "verify"]);
    assert!(verified.status.code() == Some(5) && said(&verified).contains("1 of 2"), "{}", said(&verified));
    assert!(good(&["plugin", "why", "memory"]).contains("used: "));
    let why = run(&["plugin", "why", "memory@^2"]);
    assert!(
        why.status.code() == Some(4) && said(&why).contains("does not satisfy memory@^2"),
        "{}",
        said(&why)
    );
    // Another build of the same version takes the place only if it is told to.
    let mut other = fs::read(&library).unwrap();
    other.push(0);
    fs::write(&library, other).unwrap();
    good(&["plugin", "sign", "libkeyway_memory.so", "--key", "acme.key"]);
    let refused = run(&["plugin", "install", "libkeyway_memory.so"]);
    assert!(refused.status.code() == Some(5) && said(&refused).contains("--replace"), "{}", said(&refused));
    good(&["plugin", "install", "libkeyway_memory.so", "--replace"]);
    assert!(good(&["plugin", "remove", "memory@=1.0.0"]).contains("Removed "));
    assert!(!Path::new(&site.path("plugins/libkeyway_memory-1.0.0.so.minisig")).exists());
    assert_eq!(run(&["plugin", "remove", "memory"]).status.code(), Some(4));
    // One lock file serves all machines: a library for another system is locked by its file.
    let foreign = keyway_compat::forge::patched(&read("memory"), "\"linux\"", "\"plan9\"");
    fs::write(site.path("foreign.so"), foreign).unwrap();
    site.configure(&configuration(&site));
    assert!(
        good(&["plugin", "lock", "foreign.so"]).contains("x86_64-plan9-gnu")
            || cfg!(not(target_arch = "x86_64"))
    );
    let locked = fs::read_to_string(site.path("keyway.lock")).unwrap();
    assert!(locked.contains("-plan9-") && locked.contains("name = \"sqlite\""), "{locked}");
    // If there is a lock file, an installation needs `--lock`.
    assert_eq!(run(&["plugin", "install", "libkeyway_memory.so"]).status.code(), Some(5));
    good(&["plugin", "install", "libkeyway_memory.so", "--lock"]);
    assert!(good(&["plugin", "remove", "memory"]).contains("No longer locked: memory 1.0.0"));
}

#[test]
fn doctor_takes_every_file_as_far_as_it_comes() {
    let site = site();
    put(&site, "forged", &Forged::new("abort").compile(&site.path("")));
    lock(&site);
    put(&site, "text", b"hello");
    put(&site, "half", read("memory").get(..50_000).unwrap());
    put(&site, "other", &fs::read(built().join("libnot_a_plugin.so")).unwrap());
    put(&site, "named", &read("memory"));
    put(&site, "memory", &read("memory"));
    let output = site.run(&["plugin", "doctor", "--config", "keyway.toml", "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = report.get("files").and_then(Value::as_array).unwrap();
    let text =
        |file: &Value, field: &str| file.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let found: Vec<String> = files
        .iter()
        .map(|file| {
            let name = text(file, "file");
            let name = name.rsplit('/').next().unwrap_or_default().to_owned();
            assert!(text(file, "verdict") == "good" || !text(file, "fix").is_empty(), "{file} has no fix");
            format!("{name}: {} {}", text(file, "stage"), text(file, "verdict"))
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"));
    let table = said(&site.run(&["plugin", "doctor", "--config", "keyway.toml"]));
    assert!(table.starts_with("File") && table.contains("Searched:"), "{table}");
    // A library that has just crashed is no candidate for a backend, even if the server remembers it as good.
    site.configure(&format!("{}\n[backends.extra]\nplugin = \"forged\"\n", configuration(&site)));
    let output = site.run(&["plugin", "doctor", "--config", "keyway.toml"]);
    assert!(output.status.code() == Some(4) && said(&output).contains("for: extra"), "{}", said(&output));
    assert!(
        said(&output).contains("(locked), but it crashes the process that loads it: SIGABRT"),
        "{}",
        said(&output)
    );
    site.configure(&configuration(&site));
    // A backend without a plugin is an exit code.
    fs::remove_file(site.path("plugins/libkeyway_sqlite.so")).unwrap();
    let output = site.run(&["plugin", "doctor", "--config", "keyway.toml"]);
    assert!(output.status.code() == Some(4) && said(&output).contains("for: main"), "{}", said(&output));
    // Settings that do not suit the plugin are found before the server is started.
    put(&site, "sqlite", &read("sqlite"));
    site.configure(&configuration(&site).replace("keyway.db\"", "keyway.db\", pth = 1"));
    let output = site.run(&["plugin", "doctor", "--config", "keyway.toml"]);
    assert!(output.status.code() == Some(4) && said(&output).contains("pth"), "{}", said(&output));
}

#[test]
fn new_project_is_whole_or_not_there() {
    let site = site();
    let new = |words: &[&str]| {
        let mut all = vec!["plugin", "new"];
        all.extend(words);
        let run = site.run(&all);
        (run.status.code(), said(&run))
    };
    let (code, text) = new(&["My-Store2", "--store", "log", "--format", "json"]);
    assert_eq!(code, Some(0), "{text}");
    let made: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(made.get("name"), Some(&Value::from("my-store2")));
    let manifest = fs::read_to_string(site.path("my-store2/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"keyway_my_store2\"") && !manifest.contains('%'), "{manifest}");
    assert!(site.path("my-store2/src/log_blocking.rs").exists());
    assert!(!site.path("my-store2/src/map.rs").exists());
    for (words, expected) in [
        (&["my-store2"][..], "my-store2 is not empty; name another directory with --dir"),
        (&["2fast"], "cannot be a plugin's name"),
        (&["../x"], "cannot be a plugin's name"),
        (&["x", "--store", "sql", "--async"], "--async: the store sql blocks"),
        (
            &["x", "--store", "network", "--blocking"],
            "--blocking: the store network has an asynchronous client",
        ),
        (&["x", "--keyway", "."], "this is not a checkout of Keyway"),
        (&["x", "--store", "redis"], "invalid value 'redis'"),
    ] {
        let (code, text) = new(words);
        assert_eq!(code, Some(2), "{words:?}: {text}");
        assert!(text.contains(expected), "{words:?}: {text}");
        assert!(!site.path("x").exists(), "{words:?}");
    }
    // An empty directory is taken as it is; one that cannot be written gets nothing.
    fs::create_dir_all(site.path("empty")).unwrap();
    let (code, text) = new(&["x", "--dir", "empty"]);
    assert_eq!(code, Some(0), "{text}");
    fs::create_dir_all(site.path("taken")).unwrap();
    let before = fs::metadata(site.path("taken")).unwrap().permissions();
    fs::set_permissions(site.path("taken"), std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    if fs::write(site.path("taken/probe"), "").is_err() {
        let (code, text) = new(&["x", "--dir", "taken"]);
        assert_eq!(code, Some(1), "{text}");
        assert_eq!(fs::read_dir(site.path("taken")).unwrap().count(), 0);
    }
    fs::set_permissions(site.path("taken"), before).unwrap();
}
