//! Linearizability of one key: Wing and Gong's search with Lowe's memory, by `todc-utils`.

use std::sync::{Mutex, PoisonError};

use todc_utils::{
    Action::{Call, Response},
    History, Specification, WGLChecker,
};

/// What a client asked, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegisterOp {
    /// The value; zero is absence, and none is not known yet.
    Read(Option<u64>),
    Write(u64),
    /// A write on condition that the value is still `from`, and whether that was so.
    Swap {
        from: u64,
        to: u64,
        done: Option<bool>,
    },
}

/// A key that does what it should.
struct Register;

impl Specification for Register {
    type State = u64;
    type Operation = RegisterOp;

    fn init() -> u64 {
        0
    }

    fn apply(operation: &RegisterOp, state: &u64) -> (bool, u64) {
        match *operation {
            RegisterOp::Read(value) => (value == Some(*state), *state),
            RegisterOp::Write(value) => (true, value),
            // Values are written once, so that the same value is the same version.
            RegisterOp::Swap { from, to, done: Some(true) } => (from == *state, to),
            RegisterOp::Swap { from, done: Some(false), .. } => (from != *state, *state),
            RegisterOp::Swap { done: None, .. } => (false, *state),
        }
    }
}

/// Calls and answers in the order in which they happened.
#[derive(Debug, Default)]
pub(crate) struct RegisterHistory {
    actions: Mutex<Vec<(u64, bool, RegisterOp)>>,
}

impl RegisterHistory {
    /// A call begins. Answers who called.
    pub(crate) fn call(&self, client: u64, op: RegisterOp) -> u64 {
        self.push(client, true, op);
        client
    }

    /// It was answered.
    pub(crate) fn answer(&self, client: u64, op: RegisterOp) {
        self.push(client, false, op);
    }

    fn push(&self, client: u64, is_call: bool, op: RegisterOp) {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner).push((client, is_call, op));
    }

    /// Whether there is an order that explains all answers.
    pub(crate) fn is_linearizable(&self) -> bool {
        let actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        if actions.is_empty() {
            return true;
        }
        let actions = actions.iter().map(|(client, is_call, op)| {
            (usize::try_from(*client).unwrap_or(0), if *is_call { Call(*op) } else { Response(*op) })
        });
        WGLChecker::<Register>::is_linearizable(History::from_actions(actions.collect()))
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        let actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = actions.iter().map(|(client, is_call, op)| {
            format!("  client {client} {} {op:?}", if *is_call { "calls  " } else { "is told" })
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RegisterOp::{Read, Swap, Write};

    fn history(actions: &[(u64, bool, RegisterOp)]) -> RegisterHistory {
        RegisterHistory { actions: Mutex::new(actions.to_vec()) }
    }

    #[test]
    fn good_histories_are_linearizable() {
        let one_after_the_other = history(&[
            (0, true, Write(1)),
            (0, false, Write(1)),
            (1, true, Read(None)),
            (1, false, Read(Some(1))),
        ]);
        assert!(one_after_the_other.is_linearizable());
        // Two reads during a write: the first does not see it yet, the second does.
        let beside = history(&[
            (0, true, Write(1)),
            (1, true, Read(None)),
            (1, false, Read(Some(0))),
            (2, true, Read(None)),
            (2, false, Read(Some(1))),
            (0, false, Write(1)),
        ]);
        assert!(beside.is_linearizable());
        assert!(RegisterHistory::default().is_linearizable());
    }

    #[test]
    fn stale_read_is_found() {
        let stale = history(&[
            (0, true, Write(1)),
            (0, false, Write(1)),
            (0, true, Write(2)),
            (0, false, Write(2)),
            (1, true, Read(None)),
            (1, false, Read(Some(1))),
        ]);
        assert!(!stale.is_linearizable());
        assert!(stale.shown().contains("client 1 is told Read(Some(1))"));
    }

    #[test]
    fn read_that_goes_back_is_found() {
        let back = history(&[
            (0, true, Write(1)),
            (1, true, Read(None)),
            (1, false, Read(Some(1))),
            (2, true, Read(None)),
            (2, false, Read(Some(0))),
            (0, false, Write(1)),
        ]);
        assert!(!back.is_linearizable());
    }

    #[test]
    fn two_winners_of_one_condition_are_found() {
        let swap = |to, done| Swap { from: 0, to, done };
        let both = history(&[
            (0, true, swap(1, None)),
            (1, true, swap(2, None)),
            (0, false, swap(1, Some(true))),
            (1, false, swap(2, Some(true))),
        ]);
        assert!(!both.is_linearizable());
        let none = history(&[(0, true, swap(1, None)), (0, false, swap(1, Some(false)))]);
        assert!(!none.is_linearizable(), "a condition that held was refused");
    }
}
