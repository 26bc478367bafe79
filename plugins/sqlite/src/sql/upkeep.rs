//! Backup, restore, and the removal of expired and orphaned records.
//!
//! A restore puts its records under numbers that have no name, so all of them are orphans until it ends. If
//! it stops in the middle, upkeep removes them. Publishing changes names, not records.

use keyway_sdk::{AbiBytes, BackupRecord, Bytes};
use rusqlite::{Connection, Result};

use super::{At, Format, NewRecord, expiry, version};

/// The position of a backup: after a key of a keyspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    keyspace: Option<String>,
    key: Option<Vec<u8>>,
}

/// The next records of a backup, ordered by keyspace and key, and whether there are no more.
pub(crate) fn backup_page(
    connection: &Connection,
    at: At,
    position: &mut Position,
    max_items: u32,
    max_bytes: u64,
) -> Result<(Vec<BackupRecord>, bool)> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        let Some(keyspace) = position.keyspace.clone() else {
            if first_keyspace(connection, at.format, "", position)? {
                return Ok((records, true));
            }
            continue;
        };
        let mut statement = connection.prepare_cached(walk_statement(at.format, position.key.is_some()))?;
        let mut rows = match &position.key {
            Some(key) => statement.query((&keyspace, key))?,
            None => statement.query([&keyspace])?,
        };
        while let Some(row) = rows.next()? {
            let expires_at_ms = expiry(row, 2)?;
            if at.is_expired(expires_at_ms) {
                continue;
            }
            let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(3)?.as_blob()?);
            let size = (key.len() + value.len()) as u64;
            let full = records.len() as u64 >= u64::from(max_items.max(1)) || bytes + size > max_bytes;
            if full && !records.is_empty() {
                return Ok((records, false));
            }
            bytes += size;
            let version = version(row, 1, at.incarnation)?;
            let value = Bytes::copy_from_slice(value);
            let record =
                BackupRecord::new(&keyspace, AbiBytes::copy_from_slice(key), value, version, expires_at_ms);
            records.push(record);
            position.key = Some(key.to_vec());
        }
        if first_keyspace(connection, at.format, &keyspace, position)? {
            return Ok((records, true));
        }
    }
}

/// Moves to the first keyspace after `after`; answers whether there is none.
fn first_keyspace(
    connection: &Connection,
    format: Format,
    after: &str,
    position: &mut Position,
) -> Result<bool> {
    let next = super::keyspaces(connection, format, after, 1)?.pop();
    let none = next.is_none();
    *position = Position { keyspace: next, key: None };
    Ok(none)
}

fn walk_statement(format: Format, goes_on: bool) -> &'static str {
    match (format, goes_on) {
        (Format::One, false) => {
            "SELECT key, version, expires_at_ms, value FROM records WHERE keyspace = ?1 ORDER BY key"
        }
        (Format::One, true) => {
            "SELECT key, version, expires_at_ms, value FROM records WHERE keyspace = ?1 AND key > ?2 ORDER BY key"
        }
        (Format::Two, false) => {
            "SELECT key, version, expires_at_ms, value FROM entries
             WHERE space = (SELECT id FROM spaces WHERE name = ?1) ORDER BY key"
        }
        (Format::Two, true) => {
            "SELECT key, version, expires_at_ms, value FROM entries
             WHERE space = (SELECT id FROM spaces WHERE name = ?1) AND key > ?2 ORDER BY key"
        }
    }
}

/// Whether no keyspace has a record.
pub(crate) fn is_empty(connection: &Connection, at: At) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT NOT EXISTS (
             SELECT 1 FROM spaces WHERE EXISTS (
                 SELECT 1 FROM entries WHERE space = spaces.id
                 AND (expires_at_ms IS NULL OR expires_at_ms NOT BETWEEN 0 AND ?1)))",
    )?;
    statement.query_row([at.now_ms().cast_signed()], |row| row.get(0))
}

/// A keyspace of a restore under way.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    pub(crate) name: String,
    pub(crate) id: u64,
}

/// Writes a record under a number without a name: an orphan, should nothing come after it.
pub(crate) fn stage(connection: &Connection, id: u64, record: &NewRecord<'_>) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO orphans (id) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([id.cast_signed()])?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO entries (space, key, version, expires_at_ms, value) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (space, key) DO UPDATE SET
             version = excluded.version, expires_at_ms = excluded.expires_at_ms, value = excluded.value",
    )?;
    let expires_at_ms = record.expires_at_ms.map(u64::cast_signed);
    let version = record.version.cast_signed();
    statement.execute((id.cast_signed(), record.key, version, expires_at_ms, record.value)).map(|_| ())
}

/// Gives staged keyspaces their names, and takes all others' away.
pub(crate) fn publish(connection: &Connection, staged: &[Staged]) -> Result<()> {
    connection.prepare_cached("INSERT INTO orphans (id) SELECT id FROM spaces")?.execute([])?;
    connection.prepare_cached("DELETE FROM spaces")?.execute([])?;
    for Staged { name, id } in staged {
        connection
            .prepare_cached("INSERT INTO spaces (id, name) VALUES (?1, ?2)")?
            .execute((id.cast_signed(), name))?;
        connection.prepare_cached("DELETE FROM orphans WHERE id = ?1")?.execute([id.cast_signed()])?;
    }
    Ok(())
}

/// How much one step removes: records, and bytes of their values, which are overwritten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) records: u32,
    pub(crate) bytes: u64,
}

/// Removes some records of one orphan that `is_staged` does not keep, and the orphan after its last. Answers
/// how much was removed, the orphan included.
pub(crate) fn remove_orphans(
    connection: &Connection,
    is_staged: impl Fn(u64) -> bool,
    step: Step,
) -> Result<usize> {
    let mut statement = connection.prepare_cached("SELECT id FROM orphans ORDER BY id")?;
    let ids = statement.query_map([], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<i64>>>()?;
    let Some(id) = ids.into_iter().find(|id| !is_staged(id.cast_unsigned())) else { return Ok(0) };
    let removed =
        remove(connection, "SELECT rowid, length(value) FROM entries WHERE space = ?1 LIMIT ?2", id, step)?;
    if removed == 0 {
        return connection.prepare_cached("DELETE FROM orphans WHERE id = ?1")?.execute([id]);
    }
    Ok(removed)
}

/// Removes some records that have expired; answers how many. An expiry that SQLite's integers cannot hold is
/// stored as a negative one, and is never over.
pub(crate) fn remove_expired(connection: &Connection, at: At, step: Step) -> Result<usize> {
    let expired = "SELECT rowid, length(value) FROM entries WHERE expires_at_ms BETWEEN 0 AND ?1 LIMIT ?2";
    remove(connection, expired, at.now_ms().cast_signed(), step)
}

/// Removes what `select` finds, as far as the step goes, and one record at least. Lengths are read without
/// the values.
fn remove(connection: &Connection, select: &str, of: i64, step: Step) -> Result<usize> {
    let mut statement = connection.prepare_cached(select)?;
    let found = statement.query_map((of, step.records), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    let found = found.collect::<Result<Vec<_>>>()?;
    let mut delete = connection.prepare_cached("DELETE FROM entries WHERE rowid = ?1")?;
    let (mut removed, mut bytes) = (0, 0);
    for (rowid, length) in found {
        bytes += length;
        if removed > 0 && bytes > step.bytes {
            break;
        }
        removed += delete.execute([rowid])?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_find_their_records_by_an_index_and_keep_what_never_expires() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::create(&mut connection, 1, 0).unwrap();
        connection
            .execute_batch(
                "INSERT INTO spaces VALUES (1, 'k');
                 INSERT INTO entries VALUES (1, x'01', 1, NULL, x''), (1, x'02', 2, -1, x''), (1, x'03', 3, 5, zeroblob(900)),
                                            (1, x'04', 4, 6, zeroblob(900)), (1, x'05', 5, 9e15, x'')",
            )
            .unwrap();
        let at = At::present(1, Format::Two);
        let step = Step { records: 10, bytes: 1_000 };
        assert!(!is_empty(&connection, at).unwrap());
        assert_eq!(remove_expired(&connection, at, step).unwrap(), 1, "bounded in bytes");
        assert_eq!(remove_expired(&connection, at, step).unwrap(), 1);
        assert_eq!(remove_expired(&connection, at, step).unwrap(), 0, "the others are live");
        connection.execute_batch("DELETE FROM entries WHERE expires_at_ms IS NOT -1").unwrap();
        assert!(!is_empty(&connection, at).unwrap(), "an expiry beyond SQLite's integers is never over");
        let plan: String = connection
            .query_row(
                "EXPLAIN QUERY PLAN SELECT rowid, length(value) FROM entries WHERE expires_at_ms BETWEEN 0 AND ?1 LIMIT ?2",
                [1, 1],
                |row| row.get(3),
            )
            .unwrap();
        assert!(plan.contains("INDEX expiring"), "{plan}");
    }
}
