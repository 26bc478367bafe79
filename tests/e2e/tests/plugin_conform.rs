//! `keyway plugin conform`: the conformance suite as an author and an operator run it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use keyway_e2e::{Site, plugins::said};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A site with the library of a plugin in it.
fn site_with(plugin: &str) -> (Site, String) {
    let site = Site::new("sqlite");
    let file = format!("libkeyway_{}.so", if plugin.starts_with("mutant") { "mutant" } else { plugin });
    let built = keyway_e2e::built().join(format!("libkeyway_{plugin}.so"));
    fs::copy(built, site.path(&file)).unwrap();
    (site, file)
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn conform_tells_each_promise_and_keeps_reports() {
    let (site, file) = site_with("memory");
    let run = site.run(&[
        "plugin",
        "conform",
        &file,
        "--only",
        "put_absent",
        "--only",
        "expiry_",
        "--seed",
        "7",
        "--report",
        "--junit",
        "j.xml",
    ]);
    let text = said(&run);
    assert!(run.status.success(), "{text}");
    assert!(text.contains("kept       put_absent_by_many_has_one_winner\n"), "{text}");
    assert!(text.contains("unclaimed  expiry_not_declared_is_unsupported\n"), "{text}");
    assert!(
        text.contains("memory 1.0.0: ")
            && text.contains(" promises kept, 0 broken")
            && text.contains("(seed 7, "),
        "{text}"
    );

    let report: Value =
        serde_json::from_str(&read(site.path("libkeyway_memory.so.conformance.json"))).unwrap();
    assert_eq!((&report["plugin"], &report["seed"]), (&"memory".into(), &7.into()));
    assert_eq!(report["capabilities"]["isolation"], "serializable");
    assert_eq!(report["complete"], false);
    assert_eq!(report["digest"].as_str().map(str::len), Some(64));
    let first = &report["cases"][0];
    assert_eq!((first["verdict"].as_str(), first["detail"].as_str()), (Some("kept"), None));
    assert!(first["promise"].as_str().unwrap().contains("Absent"), "{first}");

    let junit = read(site.path("j.xml"));
    assert!(
        junit.contains("<testcase name=\"put_absent_by_many_has_one_winner\" classname=\"memory 1.0.0\""),
        "{junit}"
    );
    assert!(junit.contains("<skipped message=\"the backend does not make this promise\"/>"), "{junit}");

    // Also if it is asked for in both ways.
    let json = site.run(&["--format", "json", "plugin", "conform", &file, "--only", "get_missing", "--json"]);
    let printed: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(printed["cases"].as_array().map(Vec::len), Some(1));
}

#[test]
fn conform_of_a_broken_backend_says_what_broke_and_exits_with_5() {
    let (site, file) = site_with("mutant_memory");
    let config = r#"{"defect":"refused_write_is_done","base":{}}"#;
    let run = site.run(&[
        "plugin",
        "conform",
        &file,
        "--config",
        config,
        "--only",
        "put_stale",
        "--junit",
        "j.xml",
    ]);
    let text = said(&run);
    assert_eq!(run.status.code(), Some(5), "{text}");
    let expected = "BROKEN     put_stale_version_changes_nothing\n\
         \x20            promised: a condition on a version fails as PreconditionFailed if the key has another version, and changes nothing\n\
         \x20            seen:     a refused put changed the value\n";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains(
            "1 promise is broken; to see one again, with a timeline of its calls: keyway plugin conform \
             libkeyway_mutant.so --config … --reproduce 0:put_stale_version_changes_nothing --trace trace.json"
        ),
        "{text}"
    );
    let junit = read(site.path("j.xml"));
    assert!(
        junit.contains("<failure message=\"promised: a condition on a version fails")
            && junit.contains("a refused put changed the value"),
        "{junit}"
    );
}

#[test]
fn what_a_failure_names_runs_the_case_again_with_a_timeline_of_its_calls() {
    let (site, file) = site_with("mutant_memory");
    fs::write(site.path("s.json"), r#"{"defect":"refused_write_is_done","base":{}}"#).unwrap();
    let run =
        site.run(&["plugin", "conform", &file, "--config", "@s.json", "--only", "put_stale", "--seed", "3"]);
    let text = said(&run);
    let (_, named) = text.split_once("to see one again, with a timeline of its calls: keyway ").unwrap();
    let words: Vec<&str> = named.split_whitespace().collect();
    assert_eq!(words[5..], ["--reproduce", "3:put_stale_version_changes_nothing", "--trace", "trace.json"]);
    let again = site.run(&words);
    assert_eq!(again.status.code(), Some(5), "{}", said(&again));
    assert!(said(&again).contains("a refused put changed the value"), "{}", said(&again));
    let timeline: Value = serde_json::from_str(&read(site.path("trace.json"))).unwrap();
    let bars = timeline["traceEvents"].as_array().unwrap();
    let refused = bars.iter().find(|bar| {
        bar["name"] == "put" && bar["args"]["answer"].as_str().unwrap().starts_with("PreconditionFailed: ")
    });
    let refused = refused.unwrap_or_else(|| panic!("{timeline}"));
    let request = refused["args"]["request"].as_str().unwrap();
    assert!(request.starts_with("put_stale_version_changes_nothing:k, "), "{request}");
    assert!(refused["ts"].is_u64() && refused["dur"].is_u64() && refused["tid"].is_u64(), "{refused}");

    for (words, why) in [
        (["--reproduce", "put_stale_version_changes_nothing"], "SEED:CASE is needed"),
        (["--reproduce", "x:put_stale_version_changes_nothing"], "the seed \"x\" is not a number"),
        (["--reproduce", "0:put_stale"], "there is no case \"put_stale\""),
        (["--trace", "no/such/trace.json"], "no/such"),
        (["--trace", &file], "the run reads it"),
    ] {
        let run = site.run(&[&["plugin", "conform", &file][..], &words].concat());
        assert!(!run.status.success() && said(&run).contains(why), "{words:?}: {}", said(&run));
    }
}

#[test]
fn conform_takes_settings_from_a_file_and_leaves_a_store_with_data_alone() {
    let (site, file) = site_with("sqlite");
    let database = site.path("full.db");
    let settings = serde_json::json!({ "path": database }).to_string();
    fs::write(site.path("settings.json"), &settings).unwrap();
    let conform =
        |only: &str| site.run(&["plugin", "conform", &file, "--config", "@settings.json", "--only", only]);
    let good = conform("put_then_get");
    assert!(good.status.success(), "{}", said(&good));

    // What the run has left is gone, and so another can follow.
    assert!(conform("put_then_get").status.success());

    let connection = rusqlite::Connection::open(&database).unwrap();
    let held = |table: &str| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(held("spaces"), 0);
    connection.execute("INSERT INTO spaces (name) VALUES ('somebody')", []).unwrap();
    let refused = conform("put_then_get");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(
        said(&refused).contains("the store is not empty: it holds the keyspaces somebody;"),
        "{}",
        said(&refused)
    );
    assert_eq!(held("spaces"), 1);
    let conform =
        ["plugin", "conform", &file, "--config", "@settings.json", "--only", "put_then_get", "--clear"];
    assert!(site.run(&conform).status.success());
    assert_eq!(held("spaces"), 0);
}

#[test]
fn conform_says_what_is_wrong_with_how_it_is_called() {
    let (site, file) = site_with("sqlite");
    let refused = |words: &[&str], code: i32, text: &str| {
        let run = site.run(&[&["plugin", "conform"], words].concat());
        assert_eq!(run.status.code(), Some(code), "{words:?}: {}", said(&run));
        assert!(said(&run).contains(text), "{words:?}: {}", said(&run));
    };
    refused(&[], 2, "required");
    refused(&["missing.so"], 4, "missing.so");
    refused(&[&file, "--report", &file], 2, "the run reads it");
    refused(&[&file, "--junit", "/dev/null"], 2, "no ordinary file");
    refused(&[&file, "--junit", "nowhere/j.xml"], 4, "nowhere");
    refused(&[&file, "--junit", "r", "--report", "r"], 2, "two reports name the file r");
    refused(&["keyway.toml"], 1, "is not a shared library");
    refused(&[&file], 1, "\"path\" is a required property");
    refused(&[&file, "--config", "path"], 2, "not JSON (line 1, column 1)");
    refused(&[&file, "--config", "[1]"], 2, "not a JSON object");
    refused(&[&file, "--config", "@missing.json"], 4, "missing.json");
    refused(
        &[&file, "--config", r#"{"path":"k.db"}"#, "--only", "nonsense"],
        2,
        "no case has \"nonsense\" in its name",
    );
    let listed = site.run(&["plugin", "conform", "--list", "--only", "scan_cursor"]);
    assert!(listed.status.success() && said(&listed).lines().count() == 2, "{}", said(&listed));
}

#[test]
fn conform_without_the_suite_says_where_to_put_it() {
    let (site, file) = site_with("memory");
    let alone = site.path("keyway");
    fs::copy(keyway_e2e::built().join("keyway"), &alone).unwrap();
    let mut command = Command::new(&alone);
    let run =
        command.args(["plugin", "conform"]).arg(site.path(&file)).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(run.status.code(), Some(4), "{}", said(&run));
    assert!(
        said(&run).contains("the program keyway-conform, which is neither next to this program"),
        "{}",
        said(&run)
    );
}

#[test]
fn conform_that_is_interrupted_tells_what_it_found() {
    let (site, file) = site_with("memory");
    let mut run = Command::new(keyway_e2e::built().join("keyway"))
        .args(["plugin", "conform", &file, "--report", "r.json"])
        .current_dir(site.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    // One case has ended, and others are still to come.
    lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("kept")).unwrap();
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{rest:#?}{}", said(&ended));
    assert!(said(&ended).contains("the run was stopped before its end"), "{}", said(&ended));
    let report: Value = serde_json::from_str(&read(site.path("r.json"))).unwrap();
    assert_eq!(report["complete"], false);
    assert!(!report["cases"].as_array().unwrap().is_empty());
}

/// The table in the specification: each promise, and the case that checks it.
#[test]
fn specification_names_the_case_of_each_promise() {
    const BEGIN: &str = "| promise | case |\n|---|---|\n";
    let listed = said(&Site::new("memory").run(&["plugin", "conform", "--list"]));
    let cases = listed.lines().filter_map(|line| line.split_once(' '));
    let table: String = cases
        .map(|(case, promise)| format!("| {} | `{case}` |\n", promise.trim().replace('|', "\\|")))
        .collect();
    assert!(table.lines().count() > 100, "{listed}");
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/storage-interface.md");
    let text = read(document.clone());
    let (before, _) = text.split_once(BEGIN).unwrap();
    let wanted = format!("{before}{BEGIN}{table}");
    if std::env::var("KEYWAY_UPDATE").as_deref() == Ok("1") {
        fs::write(document, wanted).unwrap();
        return;
    }
    assert!(
        text == wanted,
        "docs/storage-interface.md is not up to date: run this test with KEYWAY_UPDATE=1"
    );
}

#[test]
fn bench_compares_a_plugin_with_memory_and_sqlite_and_says_where_its_time_goes() {
    let (site, file) = site_with("sqlite");
    let quick = ["--rounds", "1", "--round-ms", "5"];
    let bench = |words: &[&str]| site.run(&[&["plugin", "bench", &file], &quick[..], words].concat());
    let config = r#"{"path":"b.db"}"#;

    let run = bench(&["--config", config, "--only", "put"]);
    let text = said(&run);
    assert!(run.status.success(), "{text}");
    for expected in ["A debug build is several times slower", "Where the time of sqlite goes"] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let line = text
        .lines()
        .find(|line| line.starts_with("put ") && line.contains(" 64 "))
        .unwrap_or_else(|| panic!("{text}"));
    assert_eq!(line.matches('×').count(), 2, "{text}");

    let json = bench(&["--config", config, "--json"]);
    let result: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{}", said(&json)));
    let names: Vec<&str> =
        result["contenders"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["sqlite", "memory", "sqlite"]);
    let rows = result["rows"].as_array().unwrap();
    // Seven kinds of work with one caller and with 64, and the backup.
    assert_eq!(rows.len(), 15);
    for row in rows {
        let outcomes = row["results"].as_array().unwrap();
        assert!(
            outcomes.iter().all(|outcome| outcome["measured"]["turns_per_s"].as_f64() > Some(0.0)),
            "{row}"
        );
    }

    // Without the others, with a visible line.
    let alone = bench(&["--config", config, "--only", "get", "--plugin-dir", "nowhere"]);
    assert!(alone.status.success() && said(&alone).contains("not compared with memory"), "{}", said(&alone));
}

#[test]
fn bench_refuses_what_it_cannot_do_and_fails_with_the_backend() {
    let (site, file) = site_with("mutant_memory");
    for (words, code, why) in [
        (&["plugin", "bench", "no.so"][..], 4, "no.so"),
        (&["plugin", "bench", &file, "--only", "nothing"], 2, "there are: get, get of 16 keys"),
        (&["plugin", "bench", &file, "--rounds", "0"], 2, "--rounds"),
        (&["plugin", "bench", &file, "--config", "[]"], 2, "not a JSON object"),
        (&["plugin", "bench", &file, "--config", r#"{"no":1}"#], 1, "is not valid"),
        (&["plugin", "bench"], 2, "<FILE>"),
    ] {
        let run = site.run(words);
        assert_eq!(run.status.code(), Some(code), "{words:?}: {}", said(&run));
        assert!(said(&run).contains(why), "{words:?}: {}", said(&run));
    }
}

#[test]
fn bench_says_which_operation_failed_and_measures_the_rest() {
    let (site, file) = site_with("chaos");
    let library = keyway_e2e::built().join("libkeyway_memory.so");
    fs::write(site.path("faults.json"), r#"[{"calls":["scan"],"does":{"fail":"internal"}}]"#).unwrap();
    let config = serde_json::json!({ "library": library, "config": {}, "faults": site.path("faults.json") })
        .to_string();
    let words = ["plugin", "bench", &file, "--config", &config, "--rounds", "1", "--round-ms", "5", "--json"];
    let run = site.run(&[&words[..], &["--only", "get", "--only", "scan"]].concat());
    assert_eq!(run.status.code(), Some(5), "{}", said(&run));
    assert!(said(&run).contains("2 measurements failed"), "{}", said(&run));
    let result: Value = serde_json::from_slice(&run.stdout).unwrap();
    for row in result["rows"].as_array().unwrap() {
        let is_scan = row["work"].as_str().unwrap().starts_with("scan");
        let plugin = &row["results"][0];
        assert_eq!(plugin["failed"].is_string(), is_scan, "{row}");
        assert_eq!(plugin["measured"].is_object(), !is_scan, "{row}");
    }
}

#[test]
fn promise_that_cannot_be_tested_fails_a_strict_run_alone() {
    let (site, file) = site_with("sqlite");
    let config = ["--config", r#"{"path":"k.db"}"#, "--only", "store_that_is_full"];
    let run = |words: &[&str]| site.run(&[&["plugin", "conform", &file], &config[..], words].concat());
    let lenient = run(&[]);
    assert!(lenient.status.success(), "{}", said(&lenient));
    assert!(said(&lenient).contains("NOT TESTED: 1 promise"), "{}", said(&lenient));
    let strict = run(&["--strict"]);
    assert_eq!(strict.status.code(), Some(5), "{}", said(&strict));
    assert!(said(&strict).contains("--strict demands all"), "{}", said(&strict));
}
