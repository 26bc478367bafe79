//! Health, extensions, shutdown. The last case closes the backend.

use keyway_loader::ErrorCode;

use crate::{
    Case,
    harness::{Harness, Outcomes, call, promise, refused, wait},
};

pub(crate) const CASES: &[Case] = &[
    Case { name: "health_of_working_store_is_ready", applies: |_| true, run: healthy },
    Case { name: "extension_that_is_unknown_is_not_found", applies: |_| true, run: unknown_extension },
    Case { name: "upgrade_of_current_format_changes_nothing", applies: |_| true, run: upgrade },
    Case { name: "shutdown_twice_is_once_and_later_calls_are_closed", applies: |_| true, run: shutdown },
];

fn healthy(h: &Harness) -> Outcomes {
    let health = wait(h.store().health(&call()))?;
    promise!(health.is_ready(), "a working store says that it is not ready: {}", health.detail());
    Ok(())
}

fn unknown_extension(h: &Harness) -> Outcomes {
    let answer = wait(h.store().extension(&call(), "keyway.no-such-extension", b""));
    refused(answer, ErrorCode::NOT_FOUND, "an extension that does not exist")
}

fn upgrade(h: &Harness) -> Outcomes {
    h.put(b"k", b"v")?;
    let first = wait(h.store().upgrade(&call()))?;
    let second = wait(h.store().upgrade(&call()))?;
    promise!(first == second, "a second upgrade changed the format from {first} to {second}");
    promise!(h.value(b"k")? == b"v", "an upgrade changed a value");
    Ok(())
}

fn shutdown(h: &Harness) -> Outcomes {
    h.put(b"k", b"v")?;
    wait(h.store().shutdown(&call()))?;
    wait(h.store().shutdown(&call()))?;
    refused(h.get(b"k"), ErrorCode::CLOSED, "a get after the shutdown")?;
    refused(h.put(b"k", b"w"), ErrorCode::CLOSED, "a put after the shutdown")?;
    Ok(())
}
