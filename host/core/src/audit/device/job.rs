//! The jobs of a device's thread, and its state.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc;

use crate::audit::chain::Chain;

/// Whether a line was accepted, or why not.
pub(in crate::audit) type Told = mpsc::Sender<Result<(), String>>;

pub(super) struct Job {
    pub(super) message: WriterMessage,
    pub(super) told: Told,
}

pub(super) enum WriterMessage {
    /// To write an entry.
    Write(Arc<str>),
    /// To open the sink, so that it is known early whether the device can write.
    Open,
    /// Whether the device could write; the sink is closed again.
    Probe,
    /// To write an entry that says nothing but that the device writes again.
    Resume(Arc<str>),
}

impl WriterMessage {
    pub(super) fn entry(&self) -> Option<&Arc<str>> {
        match self {
            Self::Write(entry) | Self::Resume(entry) => Some(entry),
            Self::Open | Self::Probe => None,
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queued_bytes: AtomicUsize,
    pub(super) queued: AtomicUsize,
    pub(super) lines: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) is_failing: AtomicBool,
    /// When the thread began what it is doing; none while it waits for work.
    pub(super) busy_since: Mutex<Option<Instant>>,
    pub(super) chain: Mutex<Chain>,
}

impl State {
    pub(super) fn missed(&self, lines: u64) {
        self.failures.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Answers the caller that waits.
pub(super) fn tell(told: &Told, answer: Result<(), String>) {
    // The send fails only if the caller has gone, because each device answers once.
    let _given_up = told.try_send(answer);
}
