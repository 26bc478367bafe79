//! What goes wrong, as a file says.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use keyway_sdk::{
    Error, ErrorCode, Result,
    serde::{self, Deserialize},
};

/// Something that goes wrong with some calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
pub(crate) struct Rule {
    /// Which operations, by their names; none means all.
    #[serde(default)]
    calls: Vec<String>,
    /// Only in keyspaces whose name begins with this; those of mounts do with `mount-`.
    keyspace: Option<String>,
    /// What goes wrong.
    does: Fault,
    /// How often; without it, always.
    times: Option<u64>,
    /// How many calls go well before.
    #[serde(default)]
    after: u64,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(crate = "serde", rename_all = "snake_case")]
pub(crate) enum Fault {
    /// It is answered so much later, in milliseconds.
    DelayMs(u64),
    /// It is never answered, and not done.
    Hang,
    /// It is never answered, and done.
    HangAfter,
    /// It fails, with proof that nothing was changed: a connection that cannot be had.
    Fail(Code),
    /// The connection is lost before the call was done; the outcome of a write is unknown.
    Disconnect,
    /// The connection is lost after the call was done; the outcome of a write is unknown.
    LoseAnswer,
    /// A `get` is answered from what was there before the last write of the key; other calls are as they
    /// should be.
    Stale,
    /// Health says that nothing can be read or written.
    Unhealthy,
    /// Health says that nothing can be written.
    ReadOnly,
}

/// The code of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(crate = "serde", rename_all = "snake_case")]
pub(crate) enum Code {
    /// `Unavailable`.
    Unavailable,
    /// `ResourceExhausted`.
    ResourceExhausted,
    /// `Internal`.
    Internal,
    /// `Corrupt`.
    Corrupt,
    /// `Conflict`.
    Conflict,
}

impl Code {
    pub(crate) fn error(self) -> Error {
        let code = match self {
            Self::Unavailable => ErrorCode::UNAVAILABLE,
            Self::ResourceExhausted => ErrorCode::RESOURCE_EXHAUSTED,
            Self::Internal => ErrorCode::INTERNAL,
            Self::Corrupt => ErrorCode::CORRUPT,
            Self::Conflict => ErrorCode::CONFLICT,
        };
        Error::new(code, "chaos asked for it")
    }
}

/// The file, and how often each of its rules has been met.
#[derive(Debug)]
pub(crate) struct Faults {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    rules: Vec<Rule>,
    met: Vec<u64>,
}

impl Faults {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, state: Mutex::default() }
    }

    /// The fault of this call, in that keyspace if it is in one; none if there is no fault.
    pub(crate) fn strike(&self, call: &str, keyspace: Option<&str>) -> Result<Option<Fault>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => "[]".to_owned(),
            Err(error) => return Err(Error::new(ErrorCode::INTERNAL, format!("read the faults: {error}"))),
        };
        if text != state.text {
            let rules: Vec<Rule> = serde_json::from_str(&text).map_err(|error| {
                Error::new(ErrorCode::INTERNAL, format!("the faults are not valid: {error}"))
            })?;
            *state = State { met: vec![0; rules.len()], rules, text };
        }
        let State { rules, met, .. } = &mut *state;
        for (rule, met) in rules.iter().zip(met) {
            let names_it = rule.calls.is_empty() || rule.calls.iter().any(|name| name == call);
            let is_there = |prefix: &String| keyspace.is_some_and(|keyspace| keyspace.starts_with(prefix));
            if !names_it || !rule.keyspace.as_ref().is_none_or(is_there) {
                continue;
            }
            *met += 1;
            let beyond = rule.times.is_some_and(|times| *met > rule.after + times);
            if *met > rule.after && !beyond {
                return Ok(Some(rule.does));
            }
        }
        Ok(None)
    }
}
