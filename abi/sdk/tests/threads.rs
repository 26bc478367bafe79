//! The threads of a backend with blocking methods.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "blocking/store.rs"]
mod store;

use std::{
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, Begin, CallContext, ConfigureError, ErrorCode, Generation, Isolation, Key, Outcome,
    Plugin, Put, Record, Reply, WriteId, configure::configure,
};
use keyway_sdk::Blocking;

fn open() -> Generation {
    try_open(serde_json::json!({})).unwrap()
}

fn try_open(config: serde_json::Value) -> Result<Generation, ConfigureError> {
    let plugin = Plugin::linked(keyway_sdk::linked::<Blocking<store::Shelf>>()).unwrap();
    // The name is that of the threads, of which the system keeps 15 bytes.
    let name = if config.get("fails").is_some() { "unopened" } else { "main" };
    let backend = BackendConfig { name: name.into(), config, data_dir: Path::new(".").into() };
    block_on(configure(&plugin, &backend))
}

fn get(backend: &Generation, key: &str) -> Reply<Option<Record>> {
    backend.start(|backend| backend.get(&CallContext::background(), Key::new("k", key.as_bytes())))
}

fn put(backend: &Generation, key: &str) -> Reply<keyway_loader::Version> {
    backend.put(&CallContext::background(), Put::new(Key::new("k", key.as_bytes()), b"v"))
}

#[test]
fn call_that_blocks_blocks_no_thread_of_the_caller() {
    let backend = open();
    // More than there are threads: the rest waits for one.
    let replies: Vec<_> = (0..20).map(|_| get(&backend, "told to sleep")).collect();
    for reply in replies {
        assert!(!reply.is_ready());
        block_on(reply).unwrap();
    }
}

#[test]
fn panic_in_a_blocking_method_is_an_error_of_that_call() {
    let backend = open();
    let error = block_on(get(&backend, "told to panic")).map(|_| ()).unwrap_err();
    // A read: nothing has changed, although the thread could not know that.
    assert_eq!((error.code(), error.outcome()), (ErrorCode::PANICKED, Outcome::NOT_APPLIED));
    block_on(put(&backend, "after")).unwrap();
}

#[test]
fn shutdown_ends_what_runs_and_gives_up_what_waits() {
    let backend = open();
    let calls: Vec<_> = (0..20).map(|_| get(&backend, "told to sleep")).collect();
    let writes: Vec<_> = (0..20).map(|n| put(&backend, &format!("{n}"))).collect();
    block_on(backend.shutdown(&CallContext::background())).unwrap();
    for reply in calls {
        if let Err(error) = block_on(reply) {
            assert_eq!(error.code(), ErrorCode::CLOSED);
        }
    }
    for reply in writes {
        let error = block_on(reply).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (ErrorCode::CLOSED, Outcome::NOT_APPLIED));
    }
}

#[test]
fn shutdown_drops_the_store_before_it_answers() {
    let file = std::env::temp_dir().join(format!("keyway-sdk-threads-{}", std::process::id()));
    let backend = try_open(serde_json::json!({ "file": file })).unwrap();
    block_on(put(&backend, "k")).unwrap();
    assert!(file.exists());
    block_on(backend.shutdown(&CallContext::background())).unwrap();
    assert!(!file.exists(), "the store still holds its files after the shutdown");
    let error = block_on(put(&backend, "k")).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::CLOSED, Outcome::NOT_APPLIED));
}

/// One test, because the count of waiting calls is the process's.
#[test]
fn threads_that_wait_for_a_transaction_leave_it_one_and_take_no_call_that_was_dropped() {
    let backend = open();
    let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
    let transaction = block_on(backend.begin(&CallContext::background(), begin)).unwrap();
    let lock = Put::new(Key::new("k", b"lock"), b"v");
    block_on(transaction.put(&CallContext::background(), lock)).unwrap();
    // More than there are threads, and each waits for the end of the transaction.
    let waiting: Vec<_> = (0..20).map(|_| get(&backend, "lock")).collect();
    let begun = Instant::now();
    while store::WAITING.load(Ordering::SeqCst) < 8 {
        assert!(begun.elapsed() < Duration::from_secs(20), "not all threads take a call");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(put(&backend, "dropped"));

    block_on(transaction.commit(&CallContext::background(), WriteId::default())).unwrap();
    drop(transaction);
    for reply in waiting {
        assert!(block_on(reply).unwrap().is_some());
    }
    // Calls are taken in their order, so this one comes after the one that was dropped.
    block_on(put(&backend, "after")).unwrap();
    assert!(block_on(get(&backend, "dropped")).unwrap().is_none(), "a call that was dropped was made");
}

#[test]
fn second_shutdown_waits_for_the_first_one() {
    let backend = open();
    let call = get(&backend, "told to sleep");
    let shutdowns = [(); 3].map(|()| backend.shutdown(&CallContext::background()));
    for shutdown in shutdowns {
        block_on(shutdown).unwrap();
    }
    if let Err(error) = block_on(call) {
        assert_eq!(error.code(), ErrorCode::CLOSED);
    }
}

#[test]
fn openings_that_fail_leave_no_thread() {
    for _ in 0..50 {
        try_open(serde_json::json!({ "fails": true })).unwrap_err();
    }
    let begun = Instant::now();
    while threads("unopened") > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} threads are left", threads("unopened"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Threads of this process whose name begins so.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|thread| thread.starts_with(name)).count()
}
