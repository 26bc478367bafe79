//! The suite against the official backends, linked into this binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_executor::block_on;
use keyway_loader::{BackendConfig, Generation, Plugin, configure::configure};
use serde_json::{Value, json};

fn open(plugin: &Plugin, config: Value, data_dir: &std::path::Path) -> Generation {
    let backend = BackendConfig { name: "main".into(), config, data_dir: data_dir.to_owned() };
    block_on(configure(plugin, &backend)).unwrap()
}

#[test]
fn memory_keeps_its_promises() {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_memory_backend::Memory>()).unwrap();
    let report = keyway_conformance::run(open(&plugin, json!({}), std::path::Path::new(".")));
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.passed() > 40, "{report}");
}

#[test]
fn sqlite_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_sqlite_backend::Sqlite>()).unwrap();
    let report = keyway_conformance::run(open(&plugin, json!({"path": "k.db"}), directory.path()));
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.passed() > 40, "{report}");
}
