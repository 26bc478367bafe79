//! Writes as much as it can until it is killed, and says line by line what it does: the other process of
//! `tests/kill.rs`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints for its caller")]

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    thread,
};

use keyway_conformance::{Random, ledger::Ledger};
use keyway_faults::store;

/// Threads that write.
const WRITERS: u64 = 8;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(seed)) =
        (arguments.next(), arguments.next().and_then(|seed| seed.parse().ok()))
    else {
        eprintln!("usage: load DIRECTORY SEED");
        return ExitCode::from(2);
    };
    match run(Path::new(&directory), seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &Path, seed: u64) -> Result<(), String> {
    let store = store::open(directory)?;
    println!("open");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                let (mut ledger, mut random) = (Ledger::new(writer), Random::new(seed ^ (writer << 32)));
                loop {
                    let written = ledger.write(store, &mut random, &mut |event| {
                        // One call a line, so that lines of two threads do not mix. Errors are ignored:
                        // every write fails after the parent is gone.
                        let _told =
                            io::stdout().lock().write_all(format!("{}\n", event.to_line()).as_bytes());
                    });
                    if let Err(error) = written {
                        eprintln!("{error}");
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}
