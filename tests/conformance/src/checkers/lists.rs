//! Isolation of transactions that read and append to lists: Elle's method (Kingsbury and Alvaro, VLDB 2020),
//! by `adya`.
//!
//! A list tells the order of the writes to its key, so that who saw what makes a graph whose cycles are the
//! anomalies.

use std::sync::{Mutex, PoisonError};

use adya::{History, Opts, Report, Valid, Workload, check};
use serde_json::{Value, json};

/// One step of a transaction, on the list of that number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// What it held; none is not known yet.
    Read(usize, Option<Vec<i64>>),
    /// A number that is appended once.
    Append(usize, i64),
}

/// How a transaction has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With these answers.
    Committed(Vec<Step>),
    /// Provably without effect.
    Aborted(Vec<Step>),
    /// Perhaps with effect.
    Unknown(Vec<Step>),
}

/// Transactions' begins and ends in the order in which they happened.
#[derive(Debug, Default)]
pub(crate) struct ListHistory {
    events: Mutex<Vec<Value>>,
}

impl ListHistory {
    /// A transaction begins.
    pub(crate) fn begin(&self, client: u64, planned: &[Step]) {
        self.push("invoke", client, planned);
    }

    /// It has ended.
    pub(crate) fn end(&self, client: u64, ended: &Ended) {
        let (kind, steps) = match ended {
            Ended::Committed(steps) => ("ok", steps),
            Ended::Aborted(steps) => ("fail", steps),
            Ended::Unknown(steps) => ("info", steps),
        };
        self.push(kind, client, steps);
    }

    fn push(&self, kind: &str, client: u64, steps: &[Step]) {
        let steps: Vec<Value> = steps
            .iter()
            .map(|step| match step {
                Step::Read(list, held) => json!(["r", list, held]),
                Step::Append(list, number) => json!(["append", list, number]),
            })
            .collect();
        let event = json!({ "type": kind, "process": client, "value": steps });
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Whether the history is one of `model`.
    ///
    /// # Errors
    ///
    /// The anomalies, with the transactions that show them.
    pub(crate) fn check(&self, model: &str) -> Result<(), String> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let history = History::from_json(&Value::from(events).to_string())
            .map_err(|error| format!("the history cannot be read: {}", error.msg))?;
        let options = Opts { models: vec![model.to_owned()], ..Opts::default() };
        let report = check(&history, Workload::ListAppend, &options);
        if report.valid == Valid::True { Ok(()) } else { Err(in_words(&report)) }
    }
}

fn in_words(report: &Report) -> String {
    let first = report.anomaly_types.iter().find_map(|kind| report.anomalies.get(kind)?.first());
    let explanation = first.map(|anomaly| anomaly.explanation.trim().to_owned()).unwrap_or_default();
    format!("{}\n{explanation}", report.anomaly_types.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Append, Read};

    /// Transactions that overlap: all begin, then all end.
    fn beside(transactions: &[(&[Step], bool)]) -> ListHistory {
        let history = ListHistory::default();
        for (client, (steps, _)) in (0..).zip(transactions) {
            let planned: Vec<Step> = steps
                .iter()
                .map(|step| match step {
                    Read(list, _) => Read(*list, None),
                    Append(..) => step.clone(),
                })
                .collect();
            history.begin(client, &planned);
        }
        for (client, (steps, is_committed)) in (0..).zip(transactions) {
            let steps = steps.to_vec();
            history.end(client, &if *is_committed { Ended::Committed(steps) } else { Ended::Aborted(steps) });
        }
        history
    }

    /// One after the other.
    fn in_turn(transactions: &[&[Step]]) -> ListHistory {
        let history = ListHistory::default();
        for (client, steps) in (0..).zip(transactions) {
            history.begin(client, steps);
            history.end(client, &Ended::Committed(steps.to_vec()));
        }
        history
    }

    fn held(list: usize, numbers: &[i64]) -> Step {
        Read(list, Some(numbers.to_vec()))
    }

    #[test]
    fn good_history_has_no_anomaly() {
        let history = in_turn(&[&[Append(0, 1)], &[held(0, &[1]), Append(0, 2)], &[held(0, &[1, 2])]]);
        for model in ["strict-serializable", "serializable", "snapshot-isolation", "read-committed"] {
            history.check(model).unwrap();
        }
    }

    #[test]
    fn write_skew_is_found_at_serializable_and_let_be_at_snapshot() {
        let skew = beside(&[
            (&[held(0, &[]), held(1, &[]), Append(0, 1)], true),
            (&[held(0, &[]), held(1, &[]), Append(1, 2)], true),
        ]);
        assert!(skew.check("serializable").unwrap_err().contains("G2-item"));
        skew.check("snapshot-isolation").unwrap();
    }

    #[test]
    fn aborted_read_is_found_at_every_level() {
        let dirty = beside(&[(&[Append(0, 1)], false), (&[held(0, &[1])], true)]);
        for model in ["serializable", "snapshot-isolation", "read-committed"] {
            assert!(dirty.check(model).unwrap_err().contains("G1a"), "{model}");
        }
    }

    #[test]
    fn intermediate_read_is_found_at_every_level() {
        let between = beside(&[
            (&[Append(0, 1), Append(0, 2)], true),
            (&[held(0, &[1])], true),
            (&[held(0, &[1, 2])], true),
        ]);
        assert!(between.check("read-committed").unwrap_err().contains("G1b"));
    }

    #[test]
    fn read_skew_is_found_at_snapshot_and_let_be_at_read_committed() {
        let skew = beside(&[
            (&[Append(0, 1), Append(1, 2)], true),
            (&[held(0, &[]), held(1, &[2])], true),
            (&[held(0, &[1]), held(1, &[2])], true),
        ]);
        assert!(skew.check("snapshot-isolation").unwrap_err().contains("G-single"));
        skew.check("read-committed").unwrap();
    }

    #[test]
    fn lost_update_is_found_at_snapshot() {
        // Both read nothing and append; afterwards one of the two is gone.
        let lost = beside(&[
            (&[held(0, &[]), Append(0, 1)], true),
            (&[held(0, &[]), Append(0, 2)], true),
            (&[held(0, &[2])], true),
        ]);
        assert!(lost.check("snapshot-isolation").is_err());
    }

    #[test]
    fn long_fork_is_found_at_snapshot() {
        let fork = beside(&[
            (&[Append(0, 1)], true),
            (&[Append(1, 2)], true),
            (&[held(0, &[1]), held(1, &[])], true),
            (&[held(0, &[]), held(1, &[2])], true),
        ]);
        assert!(fork.check("serializable").is_err());
        assert!(fork.check("snapshot-isolation").is_err());
    }

    #[test]
    fn stale_snapshot_is_found_where_time_counts() {
        let stale = in_turn(&[&[Append(0, 1)], &[held(0, &[])], &[held(0, &[1])]]);
        assert!(stale.check("strict-serializable").is_err());
        stale.check("serializable").unwrap();
    }
}
