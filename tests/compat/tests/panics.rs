//! A panic of a plugin is an error of that call, and nothing more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_executor::block_on;
use keyway_compat::Workbench;
use keyway_loader::{CallContext, Error, ErrorCode, Generation, Key, Outcome, Put, Record};
use serde_json::json;

fn get(backend: &Generation, key: &str) -> Result<Option<Record>, Error> {
    block_on(backend.get(&CallContext::new([7; 16]), Key::new("k", key.as_bytes())))
}

fn faulty() -> Generation {
    Workbench::with("faulty").open("faulty", json!({})).unwrap()
}

#[test]
fn panic_in_call_poll_and_drop_is_an_error_of_that_call() {
    let backend = faulty();
    for fault in
        ["panic in call", "panic in poll", "panic in drop", "panic when finished", "panic with a bomb"]
    {
        let error = get(&backend, fault).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PANICKED, "{fault}: {error}");
        assert_eq!(error.outcome(), Outcome::NOT_APPLIED, "{fault}: a read changes nothing");
        assert!(!error.message().contains("told to"), "the text is for the log: {error}");
        assert!(get(&backend, "other").unwrap().is_none(), "{fault}: the backend no longer serves");
    }
}

#[test]
fn panic_in_a_write_leaves_its_outcome_unknown() {
    let backend = faulty();
    let put = Put::new(Key::new("k", b"panic in call"), b"v");
    let error = block_on(backend.put(&CallContext::background(), put)).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::PANICKED, Outcome::UNKNOWN));
}

#[test]
fn panic_of_a_cancelled_future_stays_in_the_plugin() {
    let backend = faulty();
    let mut reply = backend.get(&CallContext::background(), Key::new("k", b"panic when cancelled"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(std::pin::Pin::new(&mut reply).poll(&mut context), Poll::Pending));
    drop(reply);
    assert!(get(&backend, "other").unwrap().is_none());
}

#[test]
fn panic_on_a_thread_of_the_plugin_closes_its_backend_and_no_other() {
    let bench = Workbench::with("faulty");
    let backend = bench.open("faulty", json!({})).unwrap();
    let other = bench.open("faulty", json!({})).unwrap();
    assert!(get(&backend, "panic on own thread").unwrap().is_none());
    assert_eq!(get(&backend, "any").unwrap_err().code(), ErrorCode::CLOSED);
    assert!(get(&other, "any").unwrap().is_none(), "another backend of the same library was closed too");
}

#[test]
fn panic_in_the_drop_of_a_backend_is_contained() {
    drop(faulty());
}

#[test]
fn futures_run_in_the_runtime_of_the_backend() {
    // This test has no tokio runtime: what sleeps has the plugin's.
    let record = get(&faulty(), "sleep on the runtime").unwrap().unwrap();
    assert_eq!(record.value(), b"slept");
}

#[test]
fn lines_and_panics_reach_the_log_with_backend_and_request() {
    let log = Log::default();
    let writer = log.clone();
    // For the whole process: the other tests' lines are in it too.
    tracing_subscriber::fmt().json().with_writer(move || writer.clone()).init();
    let backend = faulty();
    get(&backend, "log").unwrap();
    get(&backend, "panic in call").unwrap_err();
    let text = log.text();
    for part in ["a line from the plugin", "\\\"answer\\\":42", "\"backend\":\"main\"", "07070707-0707"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(
        text.contains("panicked in get: told to panic in a call (tests/compat/fixtures/faulty/lib.rs"),
        "{text}"
    );
}

#[test]
fn pending_call_wakes_across_the_boundary_from_another_thread() {
    let backend = Arc::new(faulty());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let backend = Arc::clone(&backend);
            std::thread::spawn(move || {
                (0..20).all(|_| get(&backend, "sleep on the runtime").unwrap().is_some())
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    // Cancelled while they sleep: nothing remains that could wake a caller that is gone.
    for _ in 0..100 {
        let mut reply = backend.get(&CallContext::background(), Key::new("k", b"sleep on the runtime"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(std::pin::Pin::new(&mut reply).poll(&mut context).is_pending());
    }
    std::thread::sleep(Duration::from_millis(10));
    assert!(get(&backend, "other").unwrap().is_none());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn panic_in_open_is_its_error_and_a_promise_beyond_the_descriptor_is_a_refusal() {
    let bench = Workbench::with("faulty");
    let said = |open: &str| {
        let error = bench.open("faulty", json!({ "open": open })).map(|_| ()).unwrap_err();
        keyway_loader::Chain(&error).to_string()
    };
    for open in ["panic", "panic in poll"] {
        let text = said(open);
        assert!(text.contains("cannot be opened") && text.contains("Panicked"), "{open}: {text}");
        assert!(!text.contains("told to"), "the text is for the log: {text}");
    }
    let text = said("promise more");
    assert!(text.contains("promises more of durability than the plugin's descriptor"), "{text}");
    bench.open("faulty", json!({})).unwrap();
}

/// This test needs the probe: a panic that leaves an `extern "C"` function ends the process that calls it.
#[test]
fn panic_before_open_is_told_by_the_probe() {
    let library = std::fs::read(keyway_compat::plugin("panicking")).unwrap();
    let said = |bytes: &[u8]| {
        let bench = Workbench::new();
        bench.put("memory", bytes);
        bench.lock("memory");
        bench.neutral(&bench.load("memory").map(|_| ()).unwrap_err().passed_over.remove(0).reason.to_string())
    };
    let text = said(&library);
    assert!(text.contains("SIGABRT") && text.contains("told to panic in the descriptor"), "{text}");
    let in_module = keyway_compat::forge::patched(&library, "in the descriptor", "in the module    ");
    let text = said(&in_module);
    assert!(text.contains("fails to initialise"), "{text}");
}
