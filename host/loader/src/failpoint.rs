//! Places where a test ends the process, as a loss of power or `kill -9` would.

/// Ends the process here if `KEYWAY_DIES_AT` names this step. Nothing at all in a release build.
#[cfg(all(debug_assertions, unix))]
pub(crate) fn reached(step: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    if std::env::var("KEYWAY_DIES_AT").is_ok_and(|wanted| wanted == step) {
        // It does not come back.
        let _killed = kill_process(getpid(), Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(all(debug_assertions, unix)))]
pub(crate) fn reached(_step: &str) {}
