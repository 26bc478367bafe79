//! What can be counted of the boundary, as a ratchet: allocations and copied bytes of each call.
//!
//! The memory backend is linked into this binary, so that what it allocates is counted with what the host does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../src/allocations.rs"]
mod allocations;

use std::path::Path;

use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, CallContext, Delete, Generation, Key, Plugin, Put, Scan, configure::configure,
};

use crate::allocations::{Allocated, during};

const VALUE_BYTES: u64 = 1024 * 1024;

fn open() -> Generation {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_memory_backend::Memory>()).unwrap();
    let config = serde_json::json!({});
    let backend = BackendConfig { name: "main".into(), config, data_dir: Path::new(".").into() };
    block_on(configure(&plugin, &backend)).unwrap()
}

/// One test, because the counters are the process's.
#[test]
fn calls_copy_nothing_on_read_and_the_value_once_on_write() {
    let backend = open();
    let call = CallContext::background();
    let value = vec![7; usize::try_from(VALUE_BYTES).unwrap()];
    let key = Key::new("counts", b"app/key");
    for _ in 0..3 {
        block_on(backend.put(&call, Put::new(key, &value))).unwrap();
    }

    let put = during(|| drop(block_on(backend.put(&call, Put::new(key, &value)))));
    assert_eq!(put.bytes / VALUE_BYTES, 1, "a write copies the value once: {put:?}");
    assert!(put.count <= 2, "allocations of a put: {put:?}");

    let get = during(|| drop(block_on(backend.get(&call, key))));
    assert!(get.bytes < 64 && get.count <= 1, "a read copies no value: {get:?}");
    let again = during(|| drop(block_on(backend.get(&call, key))));
    assert_eq!(again, Allocated { count: 0, bytes: 0 }, "a read allocates nothing once the value is shared");

    let first = block_on(backend.get(&call, key)).unwrap().unwrap();
    let second = block_on(backend.get(&call, key)).unwrap().unwrap();
    assert_eq!(first.value().as_ptr(), second.value().as_ptr(), "two reads share one value");
    let address = first.value().as_ptr();
    assert_eq!(first.into_value().into_bytes().as_ptr(), address, "and so do the host's own bytes");

    let scan = during(|| drop(block_on(backend.scan(&call, Scan::prefix("counts", b"app/")))));
    assert!(scan.bytes < 4096, "a page copies no value: {scan:?}");
    let delete = during(|| drop(block_on(backend.delete(&call, Delete::new(key)))));
    assert!(delete.count <= 1 && delete.bytes < 4096, "allocations of a delete: {delete:?}");
}
