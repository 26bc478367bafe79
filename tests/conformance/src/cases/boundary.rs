//! What crosses the boundary: any argument, from many threads, for a long time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use keyway_loader::{
    BatchMode, Begin, Condition, DropKeyspace, Error, ErrorCode, Isolation, Key, Op, Put, Scan, Version,
};

use crate::{
    Case,
    harness::{Broken, Harness, again_on_conflict, call, certain, promise, wait, write_id},
    random::Random,
    verdict::{Outcomes, Stop},
};

const THREADS: u64 = 64;
/// How much a process may grow over a thousand openings. The host keeps a few hundred bytes for each on
/// purpose.
const GROWTH_BYTES: u64 = 16 * 1024 * 1024;

/// How long what was closed may take to be gone.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "boundary_any_argument_is_an_answer",
        "every call is done or refused with a reason: nothing panics, and nothing is an internal error",
        any_argument,
    ),
    Case::new(
        "boundary_calls_from_64_threads_are_answered",
        "any method may be called from any thread, many at a time",
        many_threads,
    ),
    Case::new(
        "boundary_a_thousand_openings_leave_nothing",
        "a closed store leaves nothing: memory, files and threads stay flat over a thousand openings",
        openings,
    )
    .within(Duration::from_mins(4)),
];

/// Fails on an error that is a defect of the backend for every operation.
fn sound<T>(result: Result<T, Error>, what: &str) -> Outcomes {
    let defects = [ErrorCode::PANICKED, ErrorCode::INTERNAL, ErrorCode::CORRUPT, ErrorCode::CLOSED];
    match result {
        Err(error) if defects.contains(&error.code()) => Err(Broken(format!("{what} failed with {error}"))),
        Err(error) if error.message().is_empty() => {
            Err(Broken(format!("{what} failed with {error:?}, which says nothing to an operator")))
        }
        _ => Ok(()),
    }
}

/// A keyspace's name of any kind.
fn any_keyspace(h: &Harness<'_>, random: &mut Random) -> String {
    match random.below(6) {
        0 => String::new(),
        1 => "x".repeat(1 + random.index(300)),
        2 => format!("{}\0\u{202e}'\"", h.keyspace()),
        3 => "../../etc/passwd".to_owned(),
        _ => h.keyspace().to_owned(),
    }
}

fn any_bytes(random: &mut Random) -> Vec<u8> {
    let length = match random.below(6) {
        0 => 0,
        1 => 1 + random.index(2_000),
        2 => 70_000,
        _ => random.index(20),
    };
    let byte = random.number().to_le_bytes()[0];
    if random.below(2) == 0 {
        vec![byte; length]
    } else {
        (0..length).map(|_| random.number().to_le_bytes()[0]).collect()
    }
}

fn any_condition(random: &mut Random) -> Condition {
    match random.below(3) {
        0 => Condition::Any,
        1 => Condition::Absent,
        _ => Condition::Version(Version::numbered(random.number(), random.number())),
    }
}

fn any_argument(h: &Harness<'_>) -> Outcomes {
    let mut random = h.random(0);
    for _ in 0..h.rounds(2_000, 200_000) {
        let random = &mut random;
        let (keyspace, key, value) = (any_keyspace(h, random), any_bytes(random), any_bytes(random));
        let store = h.store();
        let key = Key::new(&keyspace, &key);
        match random.below(8) {
            0 | 1 => sound(
                wait(store.put(
                    &call(),
                    Put::new(key, &value).when(any_condition(random)).with_write_id(write_id()),
                )),
                "a put",
            )?,
            2 => sound(wait(store.get(&call(), key)), "a get")?,
            3 => {
                let (start, end) = (any_bytes(random), any_bytes(random));
                let mut scan = Scan::prefix(&keyspace, key.bytes()).starting_at(&start).delimited_by(&value);
                if random.below(2) == 0 {
                    scan = scan.ending_before(Some(&end));
                }
                let (max_items, max_bytes) = (random.number(), random.number());
                let scan = scan
                    .with_max_items(u32::try_from(max_items >> 40).unwrap_or(0))
                    .with_max_bytes(max_bytes);
                let cursor = any_bytes(random);
                let resumed = if random.below(3) == 0 { scan.resuming_at(&cursor) } else { scan };
                sound(h.scan(resumed), "a scan")?;
            }
            4 => {
                let ops = [
                    Op::put(key, &value).when(any_condition(random)),
                    Op::check(Key::new(h.keyspace(), b"c"), any_condition(random)),
                    Op::delete(Key::new(h.keyspace(), &value)),
                ];
                let mode = if random.below(2) == 0 { BatchMode::Atomic } else { BatchMode::Independent };
                sound(h.apply(&ops, mode), "a batch")?;
            }
            5 => {
                let begin = Begin { isolation: Isolation::READ_COMMITTED, read_only: random.below(2) == 0 };
                if let Ok(tx) = wait(store.begin(&call(), begin)) {
                    sound(
                        wait(tx.put(&call(), Put::new(key, &value).when(any_condition(random)))),
                        "a transaction's put",
                    )?;
                    sound(wait(tx.scan(&call(), Scan::prefix(&keyspace, &value))), "a transaction's scan")?;
                    sound(wait(tx.commit(&call(), write_id())), "a commit")?;
                }
            }
            6 => sound(wait(store.keyspaces(&call(), &keyspace)), "keyspaces")?,
            _ if keyspace != h.keyspace() => {
                sound(
                    wait(store.drop_keyspace(&call(), DropKeyspace::new(&keyspace, write_id()))),
                    "drop_keyspace",
                )?;
            }
            _ => sound(wait(store.extension(&call(), &keyspace, &value)), "an extension")?,
        }
    }
    h.put(b"after", b"v")?;
    promise!(h.value(b"after")? == b"v", "after all that the store does not work");
    Ok(())
}

fn many_threads(h: &Harness<'_>) -> Outcomes {
    let rounds = h.rounds(40, 4_000);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || -> Outcomes {
                    let mut random = h.random(number);
                    for round in 0..rounds {
                        let key = format!("{number}/{}", random.below(4)).into_bytes();
                        let value = format!("{number} {round}").into_bytes();
                        again_on_conflict(|| h.put(&key, &value))?;
                        let read = h.get(&key)?.map(|record| record.value().escape_ascii().to_string());
                        promise!(
                            read.as_deref() == Some(value.escape_ascii().to_string().as_str()),
                            "thread {number} of {THREADS} wrote {:?} to its own key and read {read:?}",
                            value.escape_ascii().to_string()
                        );
                        if round % 8 == 0 {
                            let prefix = format!("{number}/").into_bytes();
                            let found = h.entries(&prefix)?.len();
                            promise!(
                                (1..=4).contains(&found),
                                "a scan over the four keys of a thread answered {found}"
                            );
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread does not panic"))
    })
}

/// What this process has in use.
#[derive(Debug)]
struct Usage {
    resident_bytes: u64,
    files: u64,
    threads: u64,
}

/// By `statm`, `fd` and `task` of proc(5); none if the system has no proc(5).
fn usage() -> Option<Usage> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let entries = |directory: &str| fs::read_dir(directory).ok().map(|entries| entries.count() as u64);
    // A page has at least 4 KiB. Only the growth is compared, so a lower bound is enough.
    Some(Usage {
        resident_bytes: pages * 4_096,
        files: entries("/proc/self/fd")?,
        threads: entries("/proc/self/task")?,
    })
}

fn openings(h: &Harness<'_>) -> Outcomes {
    let times = h.rounds(1_000, 10_000);
    h.close()?;
    let open_and_close = || -> Outcomes {
        let store = h.open_another()?;
        wait(store.put(&call(), Put::new(h.key(b"k"), b"v").with_write_id(write_id())))?;
        Ok(wait(store.shutdown(&call()))?)
    };
    // The first openings make everything that is made only once.
    for _ in 0..times / 5 {
        open_and_close()?;
    }
    let before =
        usage().ok_or_else(|| Stop::Unproved("this system does not tell what a process uses".into()))?;
    for _ in 0..times - times / 5 {
        open_and_close()?;
    }
    let begun = Instant::now();
    loop {
        let after =
            usage().ok_or_else(|| Stop::Unproved("this system does not tell what a process uses".into()))?;
        let growth = GROWTH_BYTES * times as u64 / 1_000;
        let grown = [
            (after.resident_bytes > before.resident_bytes + growth).then(|| {
                format!(
                    "the process grew from {} to {} KiB",
                    before.resident_bytes / 1_024,
                    after.resident_bytes / 1_024
                )
            }),
            (after.files > before.files + 4)
                .then(|| format!("the open files grew from {} to {}", before.files, after.files)),
            (after.threads > before.threads + 4)
                .then(|| format!("the threads grew from {} to {}", before.threads, after.threads)),
        ];
        let grown: Vec<String> = grown.into_iter().flatten().collect();
        if grown.is_empty() {
            return Ok(());
        }
        // A thread may still be on its way out.
        certain!(begun.elapsed() < ON_ITS_WAY, "over {times} openings {}", grown.join(", and "));
        thread::sleep(Duration::from_millis(100));
    }
}
