//! How a store is doing.

use abi_stable::{StableAbi, std_types::RString};

/// The truth about a store, found out by asking it.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct Health {
    live: bool,
    readable: bool,
    writable: bool,
    latency_us: u64,
    detail: RString,
}

impl Health {
    /// A store that reads and writes.
    pub fn ok(latency_us: u64) -> Self {
        Self { live: true, readable: true, writable: true, latency_us, detail: RString::new() }
    }

    /// A store that does not do all it should. `detail` is for operators and holds no secrets.
    pub fn degraded(readable: bool, writable: bool, detail: impl Into<String>) -> Self {
        Self { live: true, readable, writable, latency_us: 0, detail: RString::from(detail.into()) }
    }

    /// A backend that only a restart can mend.
    #[must_use]
    pub fn dead(mut self) -> Self {
        self.live = false;
        self
    }

    /// Whether the backend itself works; false if only opening it again can help.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether reads succeed.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether writes succeed.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether everything does.
    pub fn is_ready(&self) -> bool {
        self.live && self.readable && self.writable
    }

    /// How long the store took to answer, in microseconds.
    pub fn latency_us(&self) -> u64 {
        self.latency_us
    }

    /// The problem, or an empty text.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}
