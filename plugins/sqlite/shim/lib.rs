//! The shared library `keyway_sqlite`: it exports the backend of the crate `keyway-sqlite` and does nothing else.

keyway_sdk::export_backend!(keyway_sqlite_backend::Sqlite);
