//! Writes that are not what was asked for.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use keyway_sdk::{
    Backend, CallContext, Condition, Error, ErrorCode, Key, Put, Reply, Result, Version,
    backend::check_condition,
};

use crate::{
    defect::Defect,
    mutant::{Mutant, lock, now, place},
};

/// How many calls can leak before every call is refused.
const PLACES: u64 = 8;

/// The reply if the defect has one for this write, of that number; none if the write is done correctly.
pub(crate) fn put<B: Backend>(
    mutant: &Arc<Mutant<B>>,
    call: &CallContext<'_>,
    put: Put<'_>,
    count: u64,
) -> Option<Reply<Version>> {
    if mutant.defect == Defect::CancelledCallLeaks {
        return Some(leaking(mutant, call, put));
    }
    answered(mutant, call, put, count).map(Reply::ready)
}

/// The result if the defect has one for this write.
fn answered<B: Backend>(
    mutant: &Arc<Mutant<B>>,
    call: &CallContext<'_>,
    put: Put<'_>,
    count: u64,
) -> Option<Result<Version>> {
    let inner = |put: Put<'_>| now(mutant.inner.put(call, put));
    let present = || mutant.now(call, put.key()).ok().flatten();
    match (mutant.defect, put.condition()) {
        (Defect::PanicsOnLongKeys, _) => {
            assert!(put.key().bytes().len() <= 700, "the key is too long for me");
            None
        }
        (Defect::LosesEveryThousandthWrite, _) if count.is_multiple_of(1_000) => {
            Some(Ok(Version::numbered(9, count)))
        }
        (Defect::StaleReads, _) => {
            mutant.remember(put.key(), present());
            None
        }
        (Defect::AbsentIsCheckedBeforehand, Condition::Absent)
        | (Defect::VersionIsCheckedBeforehand, Condition::Version(_)) => {
            let checked = check_condition(put.condition(), present().map(|record| record.version()));
            thread::sleep(Duration::from_millis(1));
            Some(checked.and_then(|()| inner(put.when(Condition::Any))))
        }
        (Defect::RefusedWriteIsDone, Condition::Version(_)) => {
            let checked = inner(put);
            if checked.is_err() {
                // Done and refused: the caller hears of one of the two.
                let _unheard = inner(put.when(Condition::Any));
            }
            Some(checked)
        }
        (Defect::RefusalSpreads, _) => {
            static REFUSED: AtomicBool = AtomicBool::new(false);
            let checked = inner(put);
            let is_refused = checked.is_err();
            if REFUSED.swap(is_refused, Ordering::Relaxed) && !is_refused && put.condition() == Condition::Any
            {
                return Some(Err(Error::new(ErrorCode::INVALID_ARGUMENT, "the group was refused")));
            }
            Some(checked)
        }
        (Defect::ConditionOnMissingKeyCreates, Condition::Version(_)) if present().is_none() => {
            Some(inner(put.when(Condition::Absent)))
        }
        (Defect::KeepsOldExpiry, _) if put.expires_at_ms().is_none() => {
            let old = present().and_then(|record| record.expires_at_ms());
            Some(inner(put.expiring_at_ms(old.unwrap_or(0))))
        }
        (Defect::WrongErrorCode, Condition::Absent) => {
            Some(inner(put).map_err(|error| Error::new(ErrorCode::PRECONDITION_FAILED, error.message())))
        }
        (Defect::UnknownOutcomeOfRefusal, Condition::Absent | Condition::Version(_)) => {
            Some(inner(put).map_err(Error::with_unknown_outcome))
        }
        (Defect::AcknowledgesEarly, _) => {
            later(mutant, put, Duration::from_millis(20));
            Some(Ok(Version::numbered(10, count)))
        }
        (Defect::IgnoresDeadline, _) if call.remaining_ms() == Some(1) => {
            thread::sleep(Duration::from_secs(6));
            None
        }
        (Defect::TimeoutIsApplied, _) if call.remaining_ms().is_some() => {
            later(mutant, put, Duration::ZERO);
            // Long enough to be there when the caller looks.
            thread::sleep(Duration::from_millis(20));
            Some(Err(Error::new(ErrorCode::TIMEOUT, "the time is over")))
        }
        (Defect::ConfusesThreads, _) => {
            *lock(&mutant.current) = put.key().bytes().to_vec();
            thread::yield_now();
            let current = lock(&mutant.current).clone();
            Some(inner(Put::new(Key::new(put.key().keyspace(), &current), put.value())))
        }
        (Defect::ScanSkipsUnderChurn, _) => {
            mutant.is_writing.store(true, Ordering::Release);
            let written = inner(put);
            thread::yield_now();
            mutant.is_writing.store(false, Ordering::Release);
            Some(written)
        }
        _ => None,
    }
}

/// Writes on a separate thread, without waiting for it.
fn later<B: Backend>(mutant: &Arc<Mutant<B>>, put: Put<'_>, delay: Duration) {
    let (mutant, key, value) = (Arc::clone(mutant), place(put.key()), put.value().to_vec());
    thread::spawn(move || {
        thread::sleep(delay);
        let put = Put::new(Key::new(&key.0, &key.1), &value);
        // The outcome is dropped: that is the defect.
        let _unheard = now(mutant.inner.put(&CallContext::background(), put));
    });
}

/// Writes in one of a few slots. If the caller goes away, its slot is never free again.
fn leaking<B: Backend>(mutant: &Arc<Mutant<B>>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
    let places: Arc<AtomicU64> = Arc::clone(&mutant.leaked);
    if places.fetch_add(1, Ordering::AcqRel) >= PLACES {
        places.fetch_sub(1, Ordering::AcqRel);
        return Reply::ready(Err(Error::new(ErrorCode::UNAVAILABLE, "all places are taken")));
    }
    let reply = mutant.inner.put(call, put);
    Reply::pending(async move {
        // Once around, so that there is a time at which the caller may go away.
        let mut is_first = true;
        future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        let result = reply.wait().await;
        places.fetch_sub(1, Ordering::AcqRel);
        result
    })
}
