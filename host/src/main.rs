//! The `keyway` program: server and command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway::cli::main()
}
