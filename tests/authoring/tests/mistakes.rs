//! What the compiler tells an author of a library that would not load. `TRYBUILD=overwrite` writes the texts again.

use std::{env, process::Command};

/// The compiler that the texts are of. Another one has other words around ours.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn common_mistakes_are_told_in_words() {
    let version = Command::new("rustc").arg("--version").output().expect("start rustc");
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    if !version.starts_with(COMPILER) {
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "the texts are of {COMPILER}x, and this is {version}"
        );
        eprintln!("SKIPPED: the texts are of {COMPILER}x, and this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("mistakes/*.rs");
}
