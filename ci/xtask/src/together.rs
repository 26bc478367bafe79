//! Conformance suites that run at the same time.

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};

/// How many suites run at the same time. They wait more than they compute, and some of their cases measure.
const AT_A_TIME: usize = 3;

/// Runs commands, some at the same time, prints what failed ones said, and fails if one has.
pub(crate) fn run(commands: Vec<(&str, Command)>) -> Result<()> {
    let (waiting, failed) = (Mutex::new(commands), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((name, mut command)) = next else { return Ok(()) };
            let output = command.output().with_context(|| format!("start the tests of {name}"))?;
            let said = String::from_utf8_lossy(&output.stdout);
            let summary = said.lines().find(|line| line.contains("promises kept")).unwrap_or_default();
            println!("{:<7} {name:<20} {summary}", if output.status.success() { "ok" } else { "FAILED" });
            if !output.status.success() {
                println!("{said}{}", String::from_utf8_lossy(&output.stderr));
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| anyhow!("a thread that runs a test panicked"))?
        })
    })?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failed.is_empty(), "suites failed: {}", failed.join(", "));
    Ok(())
}
