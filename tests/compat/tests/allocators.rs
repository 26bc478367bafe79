//! Memory goes back to the allocator that it came from, on every way over the boundary.
#![cfg(target_os = "linux")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::process::{Command, Output};

use keyway_compat::built;

fn exchange(wrapper: &[&str], arguments: &[&str]) -> Output {
    let program = built("keyway-exchange");
    let mut words: Vec<&str> = wrapper.to_vec();
    words.push(program.to_str().unwrap());
    words.extend(arguments);
    Command::new(words.first().unwrap()).args(&words[1..]).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn exchanged(output: &Output) -> u64 {
    let text = said(output);
    assert!(output.status.success(), "{text}");
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn million_values_exchanged_are_freed_by_their_own_allocators() {
    assert!(exchanged(&exchange(&[], &["240000"])) >= 1_000_000);
}

#[test]
fn foreign_free_is_noticed() {
    let control = exchange(&[], &["0", "control"]);
    assert!(!control.status.success() && said(&control).contains("FOREIGN FREE"), "{}", said(&control));
}

#[test]
fn valgrind_finds_no_invalid_access() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "valgrind is missing");
        eprintln!("SKIPPED: valgrind is not installed");
        return;
    }
    let wrapper = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=no"];
    assert!(exchanged(&exchange(&wrapper, &["512"])) >= 512);
}
