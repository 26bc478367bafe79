//! Records in order.
//!
//! SQLite compares blobs as unsigned bytes, so that the order of its index is the interface's.

use keyway_sdk::{
    AbiBytes, Bytes, Page, Record,
    paging::{Pager, ScanPlan, Step},
};
use rusqlite::{Connection, Result};

use super::{At, Format, expiry, version};

/// One page.
pub(crate) fn scan(connection: &Connection, at: At, plan: ScanPlan<'_>) -> Result<Page> {
    let mut pager = Pager::new(plan);
    while !pager.plan().is_empty() && walk(connection, at, &mut pager)? == Step::Seek {}
    Ok(pager.finish())
}

fn walk(connection: &Connection, at: At, pager: &mut Pager<'_>) -> Result<Step> {
    let plan = pager.plan();
    let mut statement = connection.prepare_cached(walk_statement(at.format, plan))?;
    let (keyspace, lower) = (plan.keyspace().to_owned(), plan.lower().to_vec());
    let upper = plan.upper().map(<[u8]>::to_vec);
    let keys_only = plan.is_keys_only();
    let mut rows = match &upper {
        Some(upper) => statement.query((&keyspace, &lower, upper))?,
        None => statement.query((&keyspace, &lower))?,
    };
    while let Some(row) = rows.next()? {
        let expires_at_ms = expiry(row, 2)?;
        if at.is_expired(expires_at_ms) {
            continue;
        }
        let key = row.get_ref(0)?.as_blob()?;
        let version = version(row, 1, at.incarnation)?;
        let value = if keys_only { &[] } else { row.get_ref(3)?.as_blob()? };
        let record = || {
            let record = Record::new(Bytes::copy_from_slice(value), version).with_expiry(expires_at_ms);
            (AbiBytes::copy_from_slice(key), record)
        };
        let step = pager.offer(key, value.len(), record);
        if step != Step::Next {
            return Ok(step);
        }
    }
    Ok(Step::Done)
}

/// The upper bound is part of the statement or not there at all: as `?3 IS NULL OR key < ?3` it would keep SQLite
/// walking to the keyspace's end.
fn walk_statement(format: Format, plan: &ScanPlan<'_>) -> &'static str {
    macro_rules! walk {
        ($columns:literal, $bound:literal, $order:literal) => {
            match format {
                Format::One => concat!(
                    "SELECT key, version, expires_at_ms",
                    $columns,
                    " FROM records WHERE keyspace = ?1 AND key >= ?2",
                    $bound,
                    " ORDER BY key",
                    $order
                ),
                Format::Two => concat!(
                    "SELECT key, version, expires_at_ms",
                    $columns,
                    " FROM entries WHERE space = (SELECT id FROM spaces WHERE name = ?1) AND key >= ?2",
                    $bound,
                    " ORDER BY key",
                    $order
                ),
            }
        };
    }
    match (plan.is_keys_only(), plan.upper().is_some(), plan.is_reverse()) {
        (false, false, false) => walk!(", value", "", ""),
        (false, false, true) => walk!(", value", "", " DESC"),
        (false, true, false) => walk!(", value", " AND key < ?3", ""),
        (false, true, true) => walk!(", value", " AND key < ?3", " DESC"),
        (true, false, false) => walk!("", "", ""),
        (true, false, true) => walk!("", "", " DESC"),
        (true, true, false) => walk!("", " AND key < ?3", ""),
        (true, true, true) => walk!("", " AND key < ?3", " DESC"),
    }
}
