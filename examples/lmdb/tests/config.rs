//! The schema in `config.schema.json` is that of the settings.

use std::path::Path;

use keyway_sdk::Backend as _;

use keyway_lmdb_example::{Config, Exported};

/// After a change of the settings: `KEYWAY_UPDATE_SCHEMAS=1 cargo test`.
#[test]
fn schema_is_that_of_the_settings() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.schema.json");
    keyway_sdk::check_config_schema::<Config>(Exported::PLUGIN.config_schema, &file).unwrap();
}

#[test]
fn unknown_setting_is_refused() {
    let error = serde_json::from_str::<Config>(r#"{"mispelt": 1}"#).err().unwrap();
    assert!(error.to_string().contains("mispelt"), "{error}");
}
