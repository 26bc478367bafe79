//! The threads of a backend with blocking methods.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "blocking/store.rs"]
mod store;

use std::{
    future::Future as _,
    path::Path,
    pin::pin,
    task::{Context, Waker},
};

use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, CallContext, ErrorCode, Generation, Key, Outcome, Plugin, Put, Record, Reply,
    configure::configure,
};
use keyway_sdk::Blocking;

fn open() -> Generation {
    let plugin = Plugin::linked(keyway_sdk::linked::<Blocking<store::Shelf>>()).unwrap();
    let config = serde_json::json!({});
    let backend = BackendConfig { name: "main".into(), config, data_dir: Path::new(".").into() };
    block_on(configure(&plugin, &backend)).unwrap()
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
    assert_eq!(backend.slow_polls(), 0, "a call or a poll waited for the backend's work");
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
fn call_that_is_dropped_before_a_thread_takes_it_is_not_made() {
    let backend = open();
    // All threads are busy, so the put waits.
    let busy: Vec<_> = (0..8).map(|_| get(&backend, "told to sleep")).collect();
    let waiting = put(&backend, "cancelled");
    {
        let mut waiting = pin!(waiting);
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(busy);
    // Work is taken in its order: what came before this one is done or was given up.
    block_on(put(&backend, "after")).unwrap();
    assert!(block_on(get(&backend, "cancelled")).unwrap().is_none(), "a call that was dropped was made");
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
