//! Records in order.
//!
//! SQLite compares blobs as unsigned bytes, so that the order of its index is the interface's.

use keyway_sdk::{
    AbiBytes, Bytes, Page, Record,
    paging::{Pager, ScanPlan, Step},
};
use rusqlite::{Connection, Result};

use super::{At, Format, expiry, version};

/// One page, and how many rows were visited for it.
pub(crate) fn scan(connection: &Connection, at: At, plan: ScanPlan<'_>) -> Result<(Page, u64)> {
    let (mut pager, mut visited) = (Pager::new(plan), 0);
    while !pager.plan().is_empty() && walk(connection, at, &mut pager, &mut visited)? == Step::Seek {}
    Ok((pager.finish(), visited))
}

fn walk(connection: &Connection, at: At, pager: &mut Pager<'_>, visited: &mut u64) -> Result<Step> {
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
        *visited += 1;
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

#[cfg(test)]
mod tests {
    use keyway_sdk::Scan;
    use rusqlite::StatementStatus;

    use super::*;

    const FEW: u64 = 10_000;
    const MANY: u64 = 1_000_000;
    const LIMIT: u64 = 100;

    /// Keys from `a/00000001` on, a second keyspace with as many keys, and one key after all of them.
    fn store(records: u64) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::create(&mut connection, 1, 0).unwrap();
        let names = "INSERT INTO spaces (id, name) VALUES (1, 'k'), (2, 'l')";
        connection.execute(names, []).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
                    INSERT INTO entries (space, key, version, value)
                    SELECT ?1, CAST(printf('a/%08d', i) AS BLOB), i, x'' FROM n";
        for space in [1, 2] {
            connection.execute(fill, (space, records.cast_signed())).unwrap();
        }
        let last = "INSERT INTO entries (space, key, version, value) VALUES (1, CAST('b' AS BLOB), 1, x'')";
        connection.execute(last, []).unwrap();
        connection
    }

    /// Rows visited, and instructions of SQLite's virtual machine, which also count rows that SQLite skips.
    fn cost(connection: &Connection, scan: &Scan<'_>) -> (u64, i32) {
        let at = At::present(1, Format::Two);
        let plan = ScanPlan::new(scan, None);
        let statement = walk_statement(Format::Two, &plan);
        connection.prepare_cached(statement).unwrap().reset_status(StatementStatus::VmStep);
        let (page, visited) = super::scan(connection, at, plan).unwrap();
        assert!(page.entries().len() + page.prefixes().len() > 0, "{scan:?} found nothing");
        (visited, connection.prepare_cached(statement).unwrap().get_status(StatementStatus::VmStep))
    }

    #[test]
    fn page_visits_one_row_more_than_its_limit_however_large_the_store() {
        let (few, many) = (store(FEW), store(MANY));
        let limit = u32::try_from(LIMIT).unwrap();
        let all = || Scan::prefix("k", b"").with_max_items(limit);
        let scans = [
            all(),
            all().in_reverse(),
            all().keys_only(),
            all().keys_only().in_reverse(),
            all().starting_at(b"a/00005000"),
            all().starting_at(b"a/00005000").in_reverse(),
            all().ending_before(Some(b"a/00009000")),
            all().ending_before(Some(b"a/00009000")).in_reverse(),
            // One level of a tree: all descendants of `a/` are one prefix.
            all().delimited_by(b"/"),
            all().delimited_by(b"/").in_reverse(),
            all().delimited_by(b"/").keys_only(),
            all().delimited_by(b"/").keys_only().in_reverse(),
        ];
        for scan in scans {
            let (small, large) = (cost(&few, &scan), cost(&many, &scan));
            assert!(small.0 <= LIMIT + 1, "{scan:?} visits {} rows", small.0);
            assert_eq!(small, large, "{scan:?} costs more in a larger store");
        }
    }
}
