//! What a run of the tests leaves out, said at once and counted at its end.

use std::sync::{Mutex, PoisonError};

static SKIPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says that a part of the tests is left out on this machine, and why.
pub(crate) fn skip(part: &str) {
    eprintln!("xtask: SKIPPED: {part}");
    note(part);
}

/// Counts a part that a test program has left out, and has said so.
pub(crate) fn note(part: &str) {
    SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).push(part.to_owned());
}

/// Says how many parts were left out, and which. `is_whole` tells that the run came to its end.
pub(crate) fn print(is_whole: bool) {
    let skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    match skipped.len() {
        0 if is_whole => println!("\nnothing was skipped"),
        0 => {}
        1 => println!("\n1 part was skipped:"),
        many => println!("\n{many} parts were skipped:"),
    }
    for part in &*skipped {
        println!("  {part}");
    }
}
