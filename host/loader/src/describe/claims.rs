//! The capabilities in a descriptor, by name. What this version does not know is left out: it is not asked
//! for either.

use std::collections::BTreeMap;

use keyway_abi::{
    BackupLevel, Capabilities, Durability, Features, Isolation, Limits, ReadConsistency, ScanOrder, Sharing,
};
use serde::{Deserialize, Deserializer};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    read_consistency: String,
    isolation: String,
    durability: String,
    scan_order: String,
    backup: String,
    sharing: String,
    features: Vec<String>,
    limits: BTreeMap<String, u64>,
}

pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Capabilities, D::Error> {
    let claims = Claims::deserialize(from)?;
    let has = |name: &str| claims.features.iter().any(|claimed| claimed == name);
    let limit = |name: &str| claims.limits.get(name).copied().unwrap_or_default();
    Ok(Capabilities {
        read_consistency: ReadConsistency::parse(&claims.read_consistency).unwrap_or_default(),
        isolation: Isolation::parse(&claims.isolation).unwrap_or_default(),
        durability: Durability::parse(&claims.durability).unwrap_or_default(),
        scan_order: ScanOrder::parse(&claims.scan_order).unwrap_or_default(),
        backup: BackupLevel::parse(&claims.backup).unwrap_or_default(),
        sharing: Sharing::parse(&claims.sharing).unwrap_or_default(),
        features: Features::NAMED
            .into_iter()
            .filter(|(name, _)| has(name))
            .fold(Features::EMPTY, |all, (_, feature)| all.union(feature)),
        limits: Limits {
            key_bytes: limit("key_bytes"),
            value_bytes: limit("value_bytes"),
            batch_ops: limit("batch_ops"),
            batch_bytes: limit("batch_bytes"),
            transaction_ops: limit("transaction_ops"),
            transaction_bytes: limit("transaction_bytes"),
            transaction_age_ms: limit("transaction_age_ms"),
            transactions: limit("transactions"),
            ..Limits::USUAL
        },
        ..Capabilities::LEAST
    })
}
