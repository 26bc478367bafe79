//! Whose turn it is: objects that serve one call at a time, and of which a call that did not end well leaves
//! only the way out.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use keyway_abi::{Error, ErrorCode};

use super::seat::Seat;
use crate::{Reply, Result, reply::Answered};

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const BROKEN: u8 = 2;
const FINISHED: u8 = 3;

/// What a call does to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Nothing: others may follow.
    No,
    /// It is the last one.
    Yes,
    /// It is the last one, and possible after a call that was cancelled.
    Abandons,
}

/// The stage of one object.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    what: &'static str,
    stage: Arc<AtomicU8>,
    /// Whether a call that fails breaks the object as one that is cancelled does.
    failure_breaks: bool,
    /// What it gives back at its end.
    seat: Option<Seat>,
}

impl Stage {
    /// A transaction: after a call that failed, others may follow.
    pub(super) fn of_transaction(seat: Seat) -> Self {
        Self { what: "transaction", stage: Arc::default(), failure_breaks: false, seat: Some(seat) }
    }

    /// A stream: what failed once has a gap.
    pub(super) fn of_stream(what: &'static str) -> Self {
        Self { what, stage: Arc::default(), failure_breaks: true, seat: None }
    }

    /// Takes the object for one call, or says why it cannot be had.
    pub(super) fn claim(&self, ends: Ends) -> Result<Turn> {
        let what = self.what;
        let exchange = |from| self.stage.compare_exchange(from, BUSY, Ordering::AcqRel, Ordering::Acquire);
        let claimed = match exchange(IDLE) {
            Err(BROKEN) if ends == Ends::Abandons => exchange(BROKEN),
            claimed => claimed,
        };
        match claimed {
            Ok(_) => Ok(Turn { stage: Some(self.clone()), ends }),
            Err(BUSY) => {
                Err(Error::new(ErrorCode::INVALID_ARGUMENT, format!("a {what} serves one call at a time")))
            }
            Err(BROKEN) => {
                let message =
                    format!("a call of this {what} was cancelled or failed: it can only be abandoned");
                Err(Error::new(ErrorCode::CANCELLED, message))
            }
            Err(_) => Err(Error::new(ErrorCode::CLOSED, format!("the {what} is finished"))),
        }
    }
}

/// One call's claim. Dropped before its end (cancelled, or panicked), it leaves only the way out.
#[derive(Debug)]
pub(super) struct Turn {
    stage: Option<Stage>,
    ends: Ends,
}

impl Turn {
    /// Holds the claim until `reply` is answered.
    pub(super) fn around<T: Send + 'static>(mut self, reply: Reply<T>) -> Reply<T> {
        match reply.0 {
            Answered::Ready(result) => {
                self.done(result.is_ok());
                Reply::ready(result)
            }
            Answered::Pending(future) => Reply::pending(async move {
                let result = future.await;
                self.done(result.is_ok());
                result
            }),
        }
    }

    fn done(&mut self, succeeded: bool) {
        if let Some(stage) = self.stage.take() {
            let after = match self.ends {
                Ends::Yes | Ends::Abandons => FINISHED,
                Ends::No if !succeeded && stage.failure_breaks => BROKEN,
                Ends::No => IDLE,
            };
            if after == FINISHED
                && let Some(seat) = &stage.seat
            {
                seat.leave();
            }
            stage.stage.store(after, Ordering::Release);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(stage) = self.stage.take() {
            stage.stage.store(BROKEN, Ordering::Release);
        }
    }
}
