//! The cases, one file for each kind of promise.

mod anomalies;
mod backups;
mod batches;
mod boundary;
mod cancelling;
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

pub(crate) mod works;

use keyway_loader::{Capabilities, Features, Isolation, ReadConsistency, ScanOrder};

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
        boundary::CASES,
        closing::CASES,
    ]
    .concat()
}

fn is_linearizable(capabilities: &Capabilities) -> bool {
    capabilities.read_consistency >= ReadConsistency::LINEARIZABLE
}

fn is_ordered(capabilities: &Capabilities) -> bool {
    capabilities.scan_order >= ScanOrder::BYTEWISE
}

fn is_reversible(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::REVERSE_SCAN)
}

fn is_atomic(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::ATOMIC_BATCH)
}

fn has_transactions(capabilities: &Capabilities) -> bool {
    capabilities.isolation > Isolation::NONE
}

fn has_snapshots(capabilities: &Capabilities) -> bool {
    capabilities.isolation >= Isolation::SNAPSHOT
}

fn is_serializable(capabilities: &Capabilities) -> bool {
    capabilities.isolation >= Isolation::SERIALIZABLE
}
