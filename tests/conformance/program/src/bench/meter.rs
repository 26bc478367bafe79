//! One round of work, and what it used.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use keyway_loader::{Error, ErrorCode, Outcome};

use super::{
    contender::Contender,
    work::{Clock, Work},
};

/// What one round has come to.
#[derive(Default)]
pub(super) struct Round {
    /// How long each turn took, in nanoseconds.
    pub(super) latencies_ns: Vec<u64>,
    /// Turns that were refused because of others, for a conflict or a limit, and were tried again.
    pub(super) retries: u64,
    /// The time of all callers together within calls, before their replies were waited for.
    pub(super) in_calls: Duration,
    pub(super) wall: Duration,
    /// Of all threads of this process.
    pub(super) processor: Duration,
    /// Sent to the disk by this process; none where the system does not count it.
    pub(super) written_bytes: Option<u64>,
}

/// How long a caller waits when a limit is reached.
const PAUSE: Duration = Duration::from_millis(1);
/// How much longer than a round a turn is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

fn is_refused(error: &Error) -> bool {
    let codes = [ErrorCode::CONFLICT, ErrorCode::RESOURCE_EXHAUSTED];
    codes.contains(&error.code()) && error.outcome() == Outcome::NOT_APPLIED
}

/// What this process has used so far.
struct Usage {
    processor: Duration,
    written_bytes: Option<u64>,
}

impl Usage {
    fn now() -> Self {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let processor = Duration::try_from(spent).unwrap_or_default();
        let counted = fs::read_to_string("/proc/self/io").ok();
        let written = counted
            .as_deref()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix("write_bytes: ")));
        Self { processor, written_bytes: written.and_then(|bytes| bytes.parse().ok()) }
    }
}

/// Works for `round`, with `callers` at a time. `turns` counts over all rounds of a contender.
pub(super) fn measure(
    work: &Work,
    contender: &Contender,
    callers: usize,
    round: Duration,
    turns: &AtomicUsize,
) -> Result<Round, Error> {
    let failed = AtomicBool::new(false);
    let before = Usage::now();
    let begun = Instant::now();
    let caller = || -> Result<Round, Error> {
        let mut done = Round::default();
        // One turn at least, however long it takes.
        while done.latencies_ns.is_empty() || (begun.elapsed() < round && !failed.load(Ordering::Relaxed)) {
            let (turn, turn_begun) = (turns.fetch_add(1, Ordering::Relaxed), Instant::now());
            let mut clock = Clock::default();
            while let Err(error) = (work.turn)(contender, turn, &mut clock) {
                // What the interface lets a caller try again: others may be at the limit, or in the way.
                if !is_refused(&error) || begun.elapsed() > round + PATIENCE {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                done.retries += 1;
                if error.code() == ErrorCode::RESOURCE_EXHAUSTED {
                    thread::sleep(PAUSE);
                }
            }
            done.latencies_ns.push(u64::try_from(turn_begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            done.in_calls += clock.0;
        }
        Ok(done)
    };
    let ended: Vec<Result<Round, Error>> = if callers == 1 {
        vec![caller()]
    } else {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            // A panic is this program's own, and goes on.
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
                .collect()
        })
    };
    let wall = begun.elapsed();
    let after = Usage::now();
    let mut whole = Round {
        wall,
        processor: after.processor.saturating_sub(before.processor),
        written_bytes: after.written_bytes.zip(before.written_bytes).map(|(after, before)| after - before),
        ..Round::default()
    };
    for round in ended {
        let round = round?;
        whole.latencies_ns.extend(round.latencies_ns);
        whole.retries += round.retries;
        whole.in_calls += round.in_calls;
    }
    Ok(whole)
}
