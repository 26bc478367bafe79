//! The shared library `keyway_postgres`: it exports the backend of the crate `keyway-postgres` and does
//! nothing else.

keyway_sdk::export_backend!(keyway_postgres_backend::Postgres);
