//! One opener of a SQLite store, and no more images than may be mapped: what the conformance suite, which
//! opens one after the other, does not see.

use keyway_compat::Workbench;
use serde_json::json;

#[test]
fn sqlite_is_opened_once_and_its_holder_is_named() {
    let bench = Workbench::with("sqlite");
    let first = bench.open("sqlite", json!({ "path": "k.db" })).unwrap();
    let second = bench.open("sqlite", json!({ "path": "k.db" })).unwrap_err();
    let text = keyway_loader::Chain(&second).to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    futures_executor::block_on(first.shutdown(&keyway_loader::CallContext::background())).unwrap();
    bench.open("sqlite", json!({ "path": "k.db" })).unwrap();
}

/// Two images of the library in one process: SQLite's own locks, which are the process's, would not see each
/// other.
#[test]
fn sqlite_is_not_opened_by_a_second_copy_of_the_library() {
    let bench = Workbench::with("sqlite");
    let first = bench.open("sqlite", json!({ "path": "k.db" })).unwrap();
    let one = bench.load("sqlite").unwrap();
    // Another digest, and so another image: the system's loader ignores bytes after the last section.
    let mut copy = std::fs::read(bench.file("sqlite")).unwrap();
    copy.extend_from_slice(b"another build");
    bench.put("sqlite", &copy);
    bench.lock("sqlite");
    let other = bench.load("sqlite").unwrap();
    assert_ne!(format!("{:?}", one.origin()), format!("{:?}", other.origin()), "they are two images");
    let second = bench.open("sqlite", json!({ "path": "k.db" })).unwrap_err();
    let text = keyway_loader::Chain(&second).to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    futures_executor::block_on(first.shutdown(&keyway_loader::CallContext::background())).unwrap();
    bench.open("sqlite", json!({ "path": "k.db" })).unwrap();
}

#[test]
fn no_image_beyond_the_bound_is_mapped_and_one_that_is_mapped_needs_no_place() {
    let mut bench = Workbench::with("memory");
    bench.load("memory").unwrap();
    bench.loader.most_images = 0;
    bench.load("memory").unwrap();
    let mut other = std::fs::read(bench.file("memory")).unwrap();
    other.extend_from_slice(b"another build, of the test of images");
    bench.put("memory", &other);
    bench.lock("memory");
    let refused = bench.load("memory").map(|_| ()).unwrap_err().to_string();
    assert!(
        refused.contains("images of plugins already") && refused.contains("restart the server"),
        "{refused}"
    );
}
