//! Calls of a store, one after the other.

use std::{
    hash::BuildHasher as _,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_executor::block_on;
use keyway_loader::{Answered, CallContext, Error, ErrorCode, Outcome, Reply, WriteId};

/// A call that no request made.
pub(crate) fn call() -> CallContext<'static> {
    CallContext::background()
}

/// A write id that no other mutation has: a store may outlive many runs, and take a repeated id for a
/// repeated mutation.
pub fn write_id() -> WriteId {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        // Two states of the standard library's differ by what the system gives at random.
        std::hash::RandomState::new().hash_one(std::process::id())
    });
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    let (process, number) = id.split_at_mut(8);
    process.copy_from_slice(&PROCESS.to_be_bytes());
    number.copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    WriteId::new(id)
}

/// Calls that were answered so far.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// Calls that were answered so far in this process.
pub(crate) fn answered() -> u64 {
    ANSWERED.load(Ordering::Relaxed)
}

/// Waits for a reply on this thread.
pub(crate) fn wait<T: Answered>(reply: Reply<T>) -> Result<T, Error> {
    let result = block_on(reply);
    ANSWERED.fetch_add(1, Ordering::Relaxed);
    result
}

/// Waits for the answer to a write. After a conflict with concurrent work, the write is retried.
pub(crate) fn again_on_conflict<T>(mut write: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        match write() {
            Err(error) if error.code() == ErrorCode::CONFLICT && error.outcome() == Outcome::NOT_APPLIED => {}
            answer => return answer,
        }
    }
}
