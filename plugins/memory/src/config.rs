//! What an operator may set.

use keyway_sdk::{
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

/// The configuration of the memory backend.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields, default)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// Most bytes of keys and values together. Writes beyond it fail with ResourceExhausted. Default: 1 GiB.
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: 1024 * 1024 * 1024 }
    }
}

/// The JSON Schema of [`Config`], as the library's descriptor embeds it.
pub const SCHEMA: &str = include_str!("../config.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_schema_is_that_of_the_type() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json");
        keyway_sdk::check_config_schema::<Config>(SCHEMA, file.as_ref()).unwrap();
    }
}
