//! The storage backend `{{crate_name | kebab_case}}` for Keyway.

{% if store == "map" -%}
mod map;
mod map_{{calls}};

pub use map::Config;
pub use map_{{calls}}::Store;
{%- endif %}{% if store == "log" -%}
mod log;
mod log_{{calls}};
mod log_changes;
pub mod log_disk;
mod log_file;

pub use log::Config;
pub use log_{{calls}}::Store;
{%- endif %}{% if store == "sql" -%}
mod sql;
mod sql_reader;
mod sql_tables;
mod sql_writer;

pub use sql::{Config, Store};
{%- endif %}{% if store == "network" -%}
mod network;
mod network_client;
pub mod network_protocol;

pub use network::{Config, Store};
{%- endif %}

/// What the shared library exports.
pub type Exported = {% if calls == "blocking" %}keyway_sdk::Blocking<Store>{% else %}Store{% endif %};

keyway_sdk::export_backend!(Exported);
