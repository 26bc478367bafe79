//! What a backend claims, by its capabilities.

use keyway_loader::{Capabilities, Features, Isolation, ReadConsistency, ScanOrder};

pub(in crate::cases) fn is_linearizable(capabilities: &Capabilities) -> bool {
    capabilities.read_consistency >= ReadConsistency::LINEARIZABLE
}

pub(in crate::cases) fn is_ordered(capabilities: &Capabilities) -> bool {
    capabilities.scan_order >= ScanOrder::BYTEWISE
}

pub(in crate::cases) fn is_reversible(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::REVERSE_SCAN)
}

pub(in crate::cases) fn is_atomic(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::ATOMIC_BATCH)
}

pub(in crate::cases) fn has_transactions(capabilities: &Capabilities) -> bool {
    capabilities.isolation > Isolation::NONE
}

pub(in crate::cases) fn has_snapshots(capabilities: &Capabilities) -> bool {
    capabilities.isolation >= Isolation::SNAPSHOT
}

pub(in crate::cases) fn is_serializable(capabilities: &Capabilities) -> bool {
    capabilities.isolation >= Isolation::SERIALIZABLE
}
