//! The backend under test, opened as a host does it.

use std::path::Path;

use futures_executor::block_on;
use keyway_loader::{BackendConfig, CallContext, Chain, Generation, Plugin, configure::configure};
use serde_json::json;

/// The database's file, in its directory.
pub const FILE: &str = "k.db";

/// Opens the backend in `directory`, as a host does.
///
/// # Errors
///
/// The text of why it cannot be opened.
pub fn open(directory: &Path) -> Result<Generation, String> {
    open_with(directory, json!({ "path": FILE }))
}

/// The same, with a configuration.
///
/// # Errors
///
/// The text of why it cannot be opened.
pub fn open_with(directory: &Path, config: serde_json::Value) -> Result<Generation, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_sqlite_backend::Sqlite>())
        .map_err(|error| Chain(&error).to_string())?;
    let backend = BackendConfig { name: "main".into(), config, data_dir: directory.to_owned() };
    block_on(configure(&plugin, &backend)).map_err(|error| Chain(&error).to_string())
}

/// Closes it, and waits until its files are closed.
pub fn close(store: &Generation) {
    // What goes wrong with it shows in the files.
    let _closed = block_on(store.shutdown(&call()));
}

/// A call that no request made.
pub fn call() -> CallContext<'static> {
    CallContext::background()
}

/// The result of SQLite's own check of the file: "ok", or the defect.
///
/// # Panics
///
/// If the file cannot be opened.
pub fn integrity(directory: &Path) -> String {
    let connection = rusqlite::Connection::open(directory.join(FILE)).expect("the file opens");
    let check = "PRAGMA integrity_check";
    connection.query_row(check, [], |row| row.get(0)).unwrap_or_else(|error| error.to_string())
}
