//! What the host offers to a backend.

use std::ffi::c_void;

use abi_stable::{StableAbi, std_types::RStr};

/// How important a line of the log is. An integer on the wire.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogLevel(u32);

impl LogLevel {
    /// Something failed.
    pub const ERROR: Self = Self(1);
    /// Something is not as it should be.
    pub const WARN: Self = Self(2);
    /// Something that operators want to know.
    pub const INFO: Self = Self(3);
    /// Something that helps to find a cause.
    pub const DEBUG: Self = Self(4);
    /// Everything.
    pub const TRACE: Self = Self(5);
}

/// One line for the host's log, borrowed for the length of the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct LogEvent<'a> {
    level: LogLevel,
    request_id: [u8; 16],
    target: RStr<'a>,
    message: RStr<'a>,
    fields_json: RStr<'a>,
    flags: u64,
}

impl<'a> LogEvent<'a> {
    /// A line; `fields_json` is a JSON object or empty; `request_id` is zeros if no request is known.
    pub fn new(
        level: LogLevel,
        request_id: [u8; 16],
        target: &'a str,
        message: &'a str,
        fields_json: &'a str,
    ) -> Self {
        Self {
            level,
            request_id,
            target: target.into(),
            message: message.into(),
            fields_json: fields_json.into(),
            flags: 0,
        }
    }

    /// How important it is.
    pub fn level(&self) -> LogLevel {
        self.level
    }

    /// The request that was served, or zeros.
    pub fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    /// The module that speaks.
    pub fn target(&self) -> &'a str {
        self.target.as_str()
    }

    /// What it says.
    pub fn message(&self) -> &'a str {
        self.message.as_str()
    }

    /// Structured fields as a JSON object, or nothing.
    pub fn fields_json(&self) -> &'a str {
        self.fields_json.as_str()
    }
}

/// How a [`MetricSample`] adds up. An integer on the wire.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricKind(u32);

impl MetricKind {
    /// Added to a total that only grows.
    pub const COUNTER: Self = Self(1);
    /// Replaces the last value.
    pub const GAUGE: Self = Self(2);
    /// One observation of a distribution.
    pub const HISTOGRAM: Self = Self(3);
}

/// One measurement, borrowed for the length of the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct MetricSample<'a> {
    kind: MetricKind,
    name: RStr<'a>,
    value: f64,
    flags: u64,
}

impl<'a> MetricSample<'a> {
    /// A measurement; the unit is the last part of the name, as in Prometheus (`wal_size_bytes`).
    pub fn new(kind: MetricKind, name: &'a str, value: f64) -> Self {
        Self { kind, name: name.into(), value, flags: 0 }
    }

    /// How it adds up.
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// What was measured.
    pub fn name(&self) -> &'a str {
        self.name.as_str()
    }

    /// The value.
    pub fn value(&self) -> f64 {
        self.value
    }
}

/// Functions of the host that a backend may call, from any thread, at any time after `open` was called: the
/// context stays valid for the life of the process.
///
/// # Safety
///
/// Each function must be given the context that came with these services in [`crate::OpenArgs`], and no other
/// pointer.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostServicesRef)))]
pub struct HostServices {
    /// Whether a line of this level would be written.
    pub log_enabled: unsafe extern "C" fn(context: *const c_void, level: LogLevel) -> bool,
    /// Writes a line.
    pub log: unsafe extern "C" fn(context: *const c_void, event: &LogEvent<'_>),
    /// Records a measurement.
    #[sabi(last_prefix_field)]
    pub metric: unsafe extern "C" fn(context: *const c_void, sample: &MetricSample<'_>),
}
