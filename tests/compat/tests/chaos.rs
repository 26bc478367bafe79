//! The chaos layer: without faults it is the backend within, and with one the conformance suite notices.

use std::fs;

use keyway_compat::{Workbench, plugin};
use keyway_conformance::Options;
use serde_json::json;

fn options(only: &[&str]) -> Options {
    Options { only: only.iter().map(|word| (*word).to_owned()).collect(), ..Options::default() }
}

#[test]
fn layer_without_faults_keeps_the_promises_of_the_backend_within() {
    let bench = Workbench::with("chaos");
    let config = json!({ "library": plugin("memory"), "faults": bench.path().join("faults.json") });
    let only = [
        "get_",
        "put_",
        "delete_",
        "scan_",
        "apply_",
        "exp",
        "backup_",
        "restore_",
        "transaction_sees",
        "shutdown",
    ];
    let report = bench.conform("chaos", config, options(&only));
    assert!(report.broken().next().is_none() && report.kept().count() > 40, "{report}");
}

#[test]
fn fault_is_noticed() {
    let bench = Workbench::with("chaos");
    let faults = bench.path().join("faults.json");
    let conform = |rules: serde_json::Value, case: &str| {
        fs::write(&faults, rules.to_string()).unwrap();
        let config = json!({ "library": plugin("memory"), "faults": faults });
        let report = bench.conform("chaos", config, options(&[case]));
        report.broken().map(ToString::to_string).collect::<String>()
    };
    let stale = conform(
        json!([{ "calls": ["get"], "does": "stale", "after": 40 }]),
        "get_after_acknowledged_write_sees_it",
    );
    assert!(stale.contains("was acknowledged, get answered"), "{stale}");
    let lost = conform(json!([{ "calls": ["put"], "does": "disconnect", "after": 1 }]), "put_then_get");
    assert!(lost.contains("the connection was lost (outcome unknown)"), "{lost}");
}
