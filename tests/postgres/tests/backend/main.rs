//! The PostgreSQL backend: its settings, failures of its server, and its normal work.
#![expect(clippy::unwrap_used, clippy::panic, reason = "for tests, which fail by panicking")]

mod bounds;
mod logins;
mod settings;
mod standby;
mod trouble;
mod work;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, Batch, BatchMode, Begin, CallContext, Chain, Condition, Error, ErrorCode, Generation,
    Isolation, Key, Op, Outcome, Plugin, Put, Scan, Version, WriteId, configure::configure,
};
use keyway_private_postgres::{Options, Server, needed};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

/// A deadline of ordinary length, in milliseconds, and how much later an answer may come on a busy machine.
pub(crate) const DEADLINE_MS: u64 = 3_000;
pub(crate) const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn try_open(config: Value, data_dir: &Path) -> Result<Generation, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_postgres_backend::Postgres>()).unwrap();
    let backend = BackendConfig { name: "main".into(), config, data_dir: data_dir.to_owned() };
    block_on(configure(&plugin, &backend)).map_err(|error| Chain(&error).to_string())
}

pub(crate) fn open(server: &Server) -> Generation {
    try_open(json!({ "url": server.url() }), server.socket()).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn call() -> CallContext<'static> {
    CallContext::background().with_remaining_ms(DEADLINE_MS)
}

pub(crate) fn put(store: &Generation, key: &[u8], value: &[u8]) -> Result<Version, Error> {
    block_on(store.put(&call(), Put::new(Key::new("test", key), value)))
}

pub(crate) fn value(store: &Generation, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    Ok(block_on(store.get(&call(), Key::new("test", key)))?.map(|record| record.value().to_vec()))
}

/// Does the work and checks that it ends within the deadline, with success or not.
pub(crate) fn timely<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let answer = work();
    let most = Duration::from_millis(DEADLINE_MS) + SLACK;
    assert!(begun.elapsed() < most, "{what} took {} ms", begun.elapsed().as_millis());
    answer
}

/// Repeats the work until it succeeds.
pub(crate) fn recovers(what: &str, mut work: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !work() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not recover");
        thread::sleep(Duration::from_millis(50));
    }
}
