//! Durability: acknowledged writes survive the failures that the backend claims, and none is half there.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use keyway_loader::{
    Capabilities, Durability, Error, ErrorCode, Features, Generation, Key, RestoreMode, RestoreRecord,
};

use super::workplace::Workplace;
use crate::{
    Case, Faults,
    harness::{Broken, Harness, Misread, call, promise, wait, write_id},
    ledger::{Event, Ledger},
    random::Random,
    verdict::{Outcomes, Stop},
};

const WRITERS: u64 = 4;
/// Records of a restore that is cut short.
const RESTORED: u32 = 200;
/// The keyspace that it fills.
const KEYSPACE: &str = "restored";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "durable_writes_survive_closing_and_opening",
        "acknowledged writes are there after the store is closed and opened again (durability: process crash)",
        survive_reopening,
    )
    .when(survives_crash),
    Case::new(
        "durable_writes_survive_kill",
        "acknowledged writes survive kill -9, and no batch or transaction is half there (durability: process crash)",
        survive_kill,
    )
    .when(survives_crash)
    .within(Duration::from_mins(3)),
    Case::new(
        "durable_restore_killed_midway_is_old_or_new",
        "a restore that is cut short has changed nothing, and one that was finished everything",
        restore_killed,
    )
    .when(|capabilities| survives_crash(capabilities) && capabilities.features.contains(Features::RESTORE))
    .within(Duration::from_mins(3)),
    Case::new(
        "durable_writes_survive_loss_of_power",
        "acknowledged writes survive a loss of power, and no batch or transaction is half there (durability: power loss)",
        survive_power_loss,
    )
    .when(|capabilities| capabilities.durability >= Durability::POWER_LOSS)
    .within(Duration::from_mins(5)),
    Case::new(
        "durable_writes_survive_loss_of_a_machine",
        "acknowledged writes survive the loss of a machine (durability: replicated)",
        |_| Err(Stop::Unproved("it takes a store of several machines, one of which can be lost".into())),
    )
    .when(|capabilities| capabilities.durability >= Durability::REPLICATED),
];

fn survives_crash(capabilities: &Capabilities) -> bool {
    capabilities.durability >= Durability::PROCESS_CRASH
}

fn broken(what: &str) -> impl Fn(String) -> Stop {
    move |found| Misread(format!("{what}: {found}"))
}

fn survive_reopening(h: &Harness<'_>) -> Outcomes {
    let (mut ledger, mut random) = (Ledger::new(0), h.random(0));
    for round in 0..h.rounds(5, 100) {
        for _ in 0..60 {
            ledger.write(&h.store(), &mut random, &mut |_| ())?;
        }
        h.reopen()?;
        ledger
            .check(&h.store())
            .map_err(broken(&format!("after closing and opening it {} times", round + 1)))?;
    }
    Ok(())
}

fn survive_kill(h: &Harness<'_>) -> Outcomes {
    h.close()?;
    let mut random = h.random(0);
    // One for all writers: their slots differ.
    let mut ledger = Ledger::new(0);
    let rounds = h.rounds(10, 300) as u64;
    for round in 0..rounds {
        let mut worker = h.start_worker("write", round)?;
        worker.wait_for(20, h.patience())?;
        thread::sleep(Duration::from_millis(random.below(150)));
        for line in worker.kill()? {
            if let Some(event) = Event::from_line(&line) {
                ledger.note(&event);
            }
        }
        let store = h.open_after_kill()?;
        ledger.check(&store).map_err(broken(&format!("after kill -9, round {round}")))?;
        wait(store.shutdown(&call()))?;
    }
    promise!(
        ledger.acknowledged() >= rounds,
        "a process that writes all the time got {} writes acknowledged in {rounds} lives",
        ledger.acknowledged()
    );
    Ok(())
}

/// Writes with several threads until killed.
pub(crate) fn work_writes(place: &Workplace<'_>) -> Outcomes {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write_on(place, writer, stop))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })
}

fn write_on(place: &Workplace<'_>, writer: u64, stop: &AtomicBool) -> Outcomes {
    let mut ledger = Ledger::in_life(writer, place.number);
    let mut random = Random::new(place.ground.seed ^ (place.number << 32) ^ writer);
    let mut unheard = Ok(());
    while unheard.is_ok() && !stop.load(Ordering::Relaxed) {
        let mut tell = |event: &Event| {
            if let Err(error) = place.tell(&event.to_line()) {
                unheard = Err(Stop::Unproved(format!("write the journal: {error}")));
            }
        };
        match ledger.write(&place.store, &mut random, &mut tell) {
            Err(error) if error.code() != ErrorCode::CONFLICT => {
                // All writers end, so that the process ends and its parent sees the error.
                stop.store(true, Ordering::Relaxed);
                return Err(error.into());
            }
            _ => {}
        }
    }
    unheard
}

fn restore_killed(h: &Harness<'_>) -> Outcomes {
    h.put(b"old", b"v")?;
    h.close()?;
    let mut random = h.random(0);
    for round in 0..h.rounds(8, 300) as u64 {
        let mut worker = h.start_worker("restore", round)?;
        // A line for each record, one before the end and one after it. Half of the rounds aim at the end.
        let before_end = RESTORED as usize + 1;
        let lines = if round % 2 == 0 { before_end } else { 1 + random.index(before_end) };
        worker.wait_for(lines, h.patience())?;
        thread::sleep(Duration::from_micros(random.below(if round % 4 == 0 { 300 } else { 3_000 })));
        let is_finished = worker.kill()?.iter().any(|line| line == "finished");
        let store = h.open_after_kill()?;
        let found = restored(&store, round)?;
        let is_old = wait(store.get(&call(), h.key(b"old")))?.is_some();
        match (found, is_old) {
            (0, true) => promise!(!is_finished, "a restore that was finished before kill -9 is gone"),
            (RESTORED, false) => {
                // Ready for the next round.
                let put = keyway_loader::Put::new(h.key(b"old"), b"v").with_write_id(write_id());
                wait(store.put(&call(), put))?;
            }
            _ => {
                return Err(Broken(format!(
                    "after kill -9 in a restore {found} of its {RESTORED} records are there, and the old ones are {}",
                    if is_old { "too" } else { "gone" }
                )));
            }
        }
        wait(store.shutdown(&call()))?;
    }
    Ok(())
}

/// How many records there are of the restore of that round.
fn restored(store: &Generation, round: u64) -> Result<u32, Error> {
    let mut found = 0;
    for index in 0..RESTORED {
        let record = wait(store.get(&call(), Key::new(KEYSPACE, &index.to_be_bytes())))?;
        found += u32::from(record.is_some_and(|record| record.value() == round.to_be_bytes()));
    }
    Ok(found)
}

/// Restores a number of records, a few at a time.
pub(crate) fn work_restores(place: &Workplace<'_>) -> Outcomes {
    let told =
        |line: &str| place.tell(line).map_err(|error| Stop::Unproved(format!("write the journal: {error}")));
    let sink = wait(place.store.restore(&call(), RestoreMode::REPLACE))?;
    for index in 0..RESTORED {
        let (key, value) = (index.to_be_bytes(), place.number.to_be_bytes());
        wait(sink.write(&call(), &[RestoreRecord::new(Key::new(KEYSPACE, &key), &value, 0)]))?;
        told("record")?;
    }
    told("finishing")?;
    wait(sink.finish(&call(), write_id()))?;
    told("finished")?;
    // The parent has the last line that it waits for, and kills this process here at the latest.
    thread::sleep(place.ground.deadline);
    Ok(())
}

fn survive_power_loss(h: &Harness<'_>) -> Outcomes {
    let faults = h.faults("loses its power at a chosen write")?;
    h.close()?;
    let mut random = h.random(0);
    let mut ledgers: Vec<Ledger> = (0..WRITERS).map(Ledger::new).collect();
    let (rounds, mut went_dark) = (h.rounds(120, 5_000), 0);
    for round in 0..rounds {
        faults.lose_power_at(1 + random.below(if round % 4 == 0 { 400 } else { 150 }))?;
        // The opening may be what does not come back.
        if let Ok(store) = h.try_open() {
            write_until_dark(&store, &mut ledgers, faults, random.number());
            went_dark += usize::from(faults.is_dark());
            faults.lose_power_at(0)?;
            // It has nothing to close any more; what it says of it is not the question.
            let _dark = wait(store.shutdown(&call()));
        }
        faults.settle(random.number())?;
        let lost = |found| Misread(format!("after a loss of power, round {round}: {found}"));
        let store = h.try_open().map_err(lost)?;
        for ledger in &mut ledgers {
            ledger.check(&store).map_err(lost)?;
        }
        wait(store.shutdown(&call()))?;
    }
    let acknowledged: u64 = ledgers.iter().map(Ledger::acknowledged).sum();
    if went_dark < rounds / 4 || acknowledged < rounds as u64 {
        return Err(Stop::Unproved(format!(
            "of {rounds} losses of power {went_dark} were felt, and {acknowledged} writes were acknowledged"
        )));
    }
    Ok(())
}

/// Writes with all writers until the power goes; short of that, a time.
fn write_until_dark(store: &Generation, ledgers: &mut [Ledger], faults: &dyn Faults, seed: u64) {
    thread::scope(|scope| {
        for (writer, ledger) in (0_u64..).zip(ledgers) {
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (writer << 32));
                for _ in 0..150 {
                    // The ledger notes an error; only the loss of power ends the loop.
                    let _noted = ledger.write(store, &mut random, &mut |_| ());
                    if faults.is_dark() {
                        break;
                    }
                }
            });
        }
    });
}
