//! The cases, one file for each kind of promise.

mod anomalies;
mod backups;
mod batches;
mod blocking;
mod boundary;
mod cancelling;
mod claims;
mod closing;
mod conditions;
mod conflicts;
mod durability;
mod expiry;
mod histories;
mod keys;
mod keyspaces;
mod limits;
mod operations;
mod scans;
mod transactions;
mod values;
mod versions;

mod workplace;
pub(crate) mod works;

use crate::Case;

/// All cases, in the order in which they run.
pub fn cases() -> Vec<Case> {
    [
        values::CASES,
        keys::CASES,
        keyspaces::CASES,
        limits::CASES,
        conditions::CASES,
        versions::CASES,
        expiry::CASES,
        scans::CASES,
        batches::CASES,
        transactions::CASES,
        anomalies::CASES,
        conflicts::CASES,
        histories::CASES,
        durability::CASES,
        backups::CASES,
        operations::CASES,
        cancelling::CASES,
        blocking::CASES,
        boundary::CASES,
        closing::CASES,
    ]
    .concat()
}
