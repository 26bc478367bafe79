//! The conformance suite through `dlopen`.

use keyway_compat::Workbench;
use serde_json::json;

#[test]
fn memory_library_keeps_its_promises() {
    let report = keyway_conformance::run(Workbench::with("memory").open("memory", json!({})).unwrap());
    assert!(report.failures().is_empty() && report.passed() > 40, "{report}");
}

#[test]
fn sqlite_library_keeps_its_promises() {
    let bench = Workbench::with("sqlite");
    let report = keyway_conformance::run(bench.open("sqlite", json!({ "path": "k.db" })).unwrap());
    assert!(report.failures().is_empty() && report.passed() > 40, "{report}");
}

#[test]
fn sqlite_is_opened_once_and_its_holder_is_named() {
    let bench = Workbench::with("sqlite");
    let first = bench.open("sqlite", json!({ "path": "k.db" })).unwrap();
    let second = bench.open("sqlite", json!({ "path": "k.db" })).unwrap_err();
    let text = keyway_loader::Chain(&second).to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    futures_executor::block_on(first.shutdown(&keyway_loader::CallContext::background())).unwrap();
    bench.open("sqlite", json!({ "path": "k.db" })).unwrap();
}
