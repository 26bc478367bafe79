//! Health, extensions, upgrades, and stores in trouble.

use std::{
    thread,
    time::{Duration, Instant},
};

use keyway_loader::{
    CallContext, Capabilities, Durability, Error, ErrorCode, Features, Health, Put, Version,
};

use crate::{
    Case, Trouble,
    harness::{Broken, Harness, Misread, call, certain, promise, refused, wait, write_id},
    ledger::Ledger,
    verdict::{Outcomes, Stop},
};

/// How long health may take to notice.
const NOTICE: Duration = Duration::from_secs(10);

pub(crate) const CASES: &[Case] = &[
    Case::new("health_of_working_store_is_ready", "health is the truth, found out by asking the store", healthy),
    Case::new(
        "health_says_when_the_store_is_gone_and_when_it_is_back",
        "health is not ready while the store is gone, live all the same, and ready once it is back; calls meanwhile fail and lose nothing",
        |h| through_trouble(h, Trouble::Gone),
    )
    .when(has_store_beneath),
    Case::new(
        "store_that_is_full_refuses_writes_and_loses_nothing",
        "a full store refuses writes, serves reads, and health says so; with room everything works again",
        |h| through_trouble(h, Trouble::Full),
    )
    .when(has_store_beneath),
    Case::new(
        "store_that_is_read_only_refuses_writes_and_loses_nothing",
        "a read-only store refuses writes, serves reads, and health says so; then everything works again",
        |h| through_trouble(h, Trouble::ReadOnly),
    )
    .when(has_store_beneath),
    Case::new(
        "extension_that_is_unknown_is_not_found",
        "an extension that the backend does not have is NotFound",
        unknown_extension,
    ),
    Case::new(
        "upgrade_of_current_format_changes_nothing",
        "upgrade brings the data to the plugin's format; if it has that format already, nothing changes",
        upgrade,
    ),
    Case::new(
        "get_declared_inline_is_ready_at_once",
        "if INLINE_GET is declared, get waits for nothing: its answer is ready at once",
        inline,
    )
    .when(|capabilities| capabilities.features.contains(Features::INLINE_GET)),
];

/// Whether there is anything beneath the backend that can be in trouble without it.
pub(super) fn has_store_beneath(capabilities: &Capabilities) -> bool {
    capabilities.durability > Durability::VOLATILE
}

fn health(h: &Harness<'_>) -> Result<Health, Error> {
    wait(h.store().health(&call()))
}

fn healthy(h: &Harness<'_>) -> Outcomes {
    let health = health(h)?;
    promise!(health.is_ready(), "a working store says that it is not ready: {}", health.detail());
    promise!(health.is_live(), "a working store says that it is not live");
    Ok(())
}

fn through_trouble(h: &Harness<'_>, trouble: Trouble) -> Outcomes {
    let faults = h.faults(&trouble.to_string())?;
    let (mut ledger, mut random) = (Ledger::new(0), h.random(0));
    for _ in 0..20 {
        ledger.write(&h.store(), &mut random, &mut |_| ())?;
    }
    h.put(b"probe", b"before")?;
    faults.trouble(Some(trouble))?;
    let told = noticed(h, trouble)?;
    promise!(
        told.is_live(),
        "the store {trouble}, and health says that only opening it again can help: {}",
        told.detail()
    );
    certain!(!told.detail().is_empty(), "the store {trouble}, and health does not say what is wrong");
    if trouble != Trouble::Gone {
        certain!(!told.is_writable(), "the store {trouble}, and health says that it can be written");
        ledger.check(&h.store()).map_err(|found| Misread(format!("while the store {trouble}: {found}")))?;
    }
    let acknowledged = (0..20_u64).filter(|number| put_in_time(h, *number).is_ok()).count();
    certain!(acknowledged == 0, "the store {trouble}, and {acknowledged} of 20 writes were acknowledged");
    faults.trouble(None)?;
    let begun = Instant::now();
    while !health(h).is_ok_and(|health| health.is_ready()) {
        promise!(
            begun.elapsed() < NOTICE,
            "the store is well again, and after {} s health does not say so",
            NOTICE.as_secs()
        );
        thread::sleep(Duration::from_millis(50));
    }
    let after = |found| Misread(format!("after the store was in trouble ({trouble}): {found}"));
    ledger.check(&h.store()).map_err(after)?;
    for _ in 0..20 {
        ledger.write(&h.store(), &mut random, &mut |_| ())?;
    }
    ledger.check(&h.store()).map_err(Broken)
}

/// A put of a large value, in the time of an ordinary call.
fn put_in_time(h: &Harness<'_>, number: u64) -> Result<Version, Error> {
    let hurried = CallContext::background().with_remaining_ms(1_000);
    let value = number.to_be_bytes().repeat(1_000);
    wait(h.store().put(&hurried, Put::new(h.key(b"probe"), &value).with_write_id(write_id())))
}

/// What health says of a store in trouble, within its time. Some stores notice it only when they are used.
fn noticed(h: &Harness<'_>, trouble: Trouble) -> Result<Health, Stop> {
    let begun = Instant::now();
    for number in 0.. {
        let asked = Instant::now();
        let health = health(h);
        promise!(
            asked.elapsed() < NOTICE,
            "the store {trouble}, and health took {} s to answer",
            asked.elapsed().as_secs()
        );
        match health {
            Ok(health) if !health.is_ready() => return Ok(health),
            Err(error) => {
                return Err(Broken(format!("the store {trouble}, and health has no answer but {error}")));
            }
            Ok(_) => {}
        }
        promise!(
            begun.elapsed() < NOTICE,
            "the store {trouble}, and after {} s health says that it is ready",
            NOTICE.as_secs()
        );
        // Only health is checked here: the result of the put does not matter yet.
        let _noted = put_in_time(h, number);
        thread::sleep(Duration::from_millis(50));
    }
    Err(Broken(format!("the store {trouble}, and health never says so")))
}

fn unknown_extension(h: &Harness<'_>) -> Outcomes {
    let answer = wait(h.store().extension(&call(), "keyway.no-such-extension", b""));
    refused(answer, ErrorCode::NOT_FOUND, "an extension that does not exist")
}

fn upgrade(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    let first = wait(h.store().upgrade(&call()))?;
    let second = wait(h.store().upgrade(&call()))?;
    promise!(first == second, "a second upgrade changed the format from {first} to {second}");
    promise!(h.value(b"k")? == b"v", "an upgrade changed a value");
    let declared = h.store().capabilities().data_format;
    promise!(first == declared, "upgrade answers the format {first}, and the capabilities say {declared}");
    Ok(())
}

fn inline(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    for key in [b"k".as_slice(), b"missing"] {
        let reply = h.store().get(&call(), h.key(key));
        promise!(reply.is_ready(), "get of \"{}\" answered with a future", key.escape_ascii());
        wait(reply)?;
    }
    Ok(())
}
