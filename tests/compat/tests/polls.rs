//! A plugin that blocks the host's threads: measured, told, and moved to other threads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_executor::block_on;
use keyway_compat::Workbench;
use keyway_loader::{CallContext, Generation, Key, polls};
use serde_json::json;

/// The thread on which the future of a get was polled.
fn thread_of(backend: &Generation, key: &[u8]) -> String {
    let record =
        block_on(backend.start(|backend| backend.get(&CallContext::background(), Key::new("k", key))));
    String::from_utf8(record.unwrap().unwrap().value().to_vec()).unwrap()
}

fn this_thread() -> String {
    std::fs::read_link("/proc/thread-self").unwrap().into_os_string().into_string().unwrap()
}

#[test]
fn futures_that_block_are_counted_and_then_polled_elsewhere() {
    let bench = Workbench::with("faulty");
    let backend = bench.open("faulty", json!({})).unwrap();
    let here = this_thread();
    // The first ones block this thread. A busy machine may have added others.
    let mut threads = Vec::new();
    while threads.len() <= polls::TOLERATED && threads.last().is_none_or(|thread| *thread == here) {
        threads.push(thread_of(&backend, b"block in poll"));
    }
    assert_eq!(threads.first(), Some(&here));
    assert_ne!(threads.last(), Some(&here), "{} slow polls are counted", backend.slow_polls());
    // Counted there, too.
    let before = backend.slow_polls();
    thread_of(&backend, b"block in poll");
    assert!(backend.slow_polls() > before);

    // This thread does not wait: if it did, the first poll would be ready. One that gives up takes the future with it.
    let mut reply = backend.get(&CallContext::background(), Key::new("k", b"block in poll"));
    let polled = Pin::new(&mut reply).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    drop(reply);
    // Futures that need the backend's own runtime work there, too.
    let slept = backend.get(&CallContext::background(), Key::new("k", b"sleep on the runtime"));
    assert!(block_on(slept).unwrap().is_some());

    // Another opening of the same library has done nothing yet.
    let other = bench.open("faulty", json!({})).unwrap();
    assert_eq!(thread_of(&other, b"block in poll"), here);
    // One whose polls are to be measured keeps them.
    other.keep_polls();
    for _ in 0..2 * polls::TOLERATED {
        assert_eq!(thread_of(&other, b"block in poll"), here);
    }
}

#[test]
fn call_that_blocks_is_counted_where_it_is_watched() {
    let backend = Workbench::with("faulty").open("faulty", json!({})).unwrap();
    let before = backend.slow_polls();
    thread_of(&backend, b"block in call");
    assert!(backend.slow_polls() > before);
}
