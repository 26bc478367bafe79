//! What an operator may set.

use keyway_sdk::{
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

/// The configuration of the SQLite backend.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The database file. A relative path is relative to the server's data directory. The file is made, readable by its
    /// owner alone, if it does not exist (and its directory too); SQLite keeps two more next to it, with -wal and -shm
    /// after the name, and Keyway a third, with .lock.
    pub path: String,
    /// Whether the file may lie on a network file system. There the lock that keeps a second server out, and the sync that
    /// makes a write durable, are only as good as that file system's: SQLite advises against it, and so do we.
    #[serde(default)]
    pub allow_network_file_system: bool,
    /// How far the WAL may grow while a backup reads from an old state of the store, in MiB. Beyond it the backup ends
    /// with an error.
    #[serde(default = "wal_limit_mib")]
    #[schemars(range(min = 16, max = 1_048_576))]
    pub wal_limit_mib: u64,
}

fn wal_limit_mib() -> u64 {
    1_024
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
