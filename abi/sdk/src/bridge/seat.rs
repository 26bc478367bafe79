//! How many transactions may be open at a time.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use keyway_abi::{Error, ErrorCode};

use crate::Result;

/// One of the transactions that may be open at a time: until it has ended, or its last copy is dropped.
#[derive(Debug, Clone)]
pub(super) struct Seat(Arc<Mutex<Option<Taken>>>);

#[derive(Debug)]
struct Taken(Arc<AtomicU64>);

impl Seat {
    pub(super) fn take(open: &Arc<AtomicU64>, limit: u64) -> Result<Self> {
        let one_more = |count| (count < limit).then_some(count + 1);
        match open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(Self(Arc::new(Mutex::new(Some(Taken(Arc::clone(open))))))),
            Err(_) => {
                let message = format!("{limit} transactions are open, and that is the limit");
                Err(Error::new(ErrorCode::RESOURCE_EXHAUSTED, message))
            }
        }
    }

    /// Gives the seat back, even if the caller still holds the transaction that has ended.
    pub(super) fn leave(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
