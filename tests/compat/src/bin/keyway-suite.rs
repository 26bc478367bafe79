//! Runs one case of the conformance suite for `keyway_compat::suite`.

use keyway_conformance::{Library, suite::child};

fn main() -> std::process::ExitCode {
    child::main(Library::load)
}
