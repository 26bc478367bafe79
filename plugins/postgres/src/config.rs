//! What an operator may set.

use std::fmt;

use keyway_sdk::{
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

/// The configuration of the PostgreSQL backend. Exactly one of `url`, `url_file` and `url_env` is given.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// Where the database is: `postgres://user@host:5432/database?sslmode=verify-full&sslrootcert=ca.pem`. A Unix socket's
    /// directory is given as the host, percent-encoded, or as `?host=/run/postgresql`. With several hosts
    /// (`postgres://a,b/database`) the one that takes writes is found. Put a password into a file instead: see url_file.
    #[serde(default)]
    pub url: Option<String>,
    /// A file that holds the URL, and so the password, readable by the server's user alone. A relative path is relative to the
    /// server's data directory. Read when the backend is opened, and again when the server refuses the login: a new password or
    /// user takes effect without a restart. Another server or database takes a restart.
    #[serde(default)]
    pub url_file: Option<String>,
    /// The name of an environment variable that holds the URL. It is read when url_file is, but only the process itself can change
    /// its environment: a new password takes a restart, unless a program that embeds the plugin sets the variable.
    #[serde(default)]
    pub url_env: Option<String>,
    /// The schema that holds Keyway's tables; made where it is missing and the role may make it. Lower-case letters, digits and
    /// underscores.
    #[serde(default = "usual_schema")]
    pub schema: String,
    /// The most connections that this host has open. A few are shared by point reads, and a few by writes
    /// that go together; each page, transaction, backup and restore has one to itself.
    #[serde(default = "connections")]
    #[schemars(range(min = 8, max = 1_000))]
    pub connections: u32,
    /// How long to wait for a new connection, in milliseconds.
    #[serde(default = "connect_timeout_ms")]
    #[schemars(range(min = 100, max = 60_000))]
    pub connect_timeout_ms: u64,
    /// After which time the server gives up a statement, in milliseconds.
    #[serde(default = "statement_timeout_ms")]
    #[schemars(range(min = 100, max = 600_000))]
    pub statement_timeout_ms: u64,
    /// Whether the extension `pg.query` may run SQL that only reads. What it may read is what the role may.
    #[serde(default)]
    pub allow_queries: bool,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password.
        f.debug_struct("Config")
            .field("url", &self.url.as_ref().map(|_| "..."))
            .field("url_file", &self.url_file)
            .field("url_env", &self.url_env)
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

fn usual_schema() -> String {
    "keyway".to_owned()
}

fn connections() -> u32 {
    32
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn statement_timeout_ms() -> u64 {
    10_000
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

    #[test]
    fn debug_text_holds_no_url() {
        let config: Config = serde_json::from_str(r#"{"url": "postgres://u:sesame@h/d"}"#).unwrap();
        assert!(!format!("{config:?}").contains("sesame"), "{config:?}");
    }
}
