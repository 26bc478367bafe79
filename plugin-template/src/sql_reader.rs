//! What reads the database: connections in addition to the writer's, which see each committed transaction.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use keyway_sdk::{
    BackupPull, BackupRecord, Key, Page, Record, Result, Version,
    paging::{ScanPlan, scan_with},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::sql_tables::{connect, corrupt, failed, now_ms};

/// How many rows a scan reads first, and most at a time. A scan for common prefixes needs one of each.
const FIRST_ROWS: usize = 16;
const MOST_ROWS: usize = 1_001;

/// Connections that are not in use.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// A connection for one caller. There are no more of them than callers at a time: the SDK limits its threads.
    pub(crate) fn take(&self) -> Result<Reader> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| connect(&self.path).map(Reader), Ok)
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let reader = self.take()?;
        let result = work(&reader);
        // A connection that has failed may be in any state.
        if result.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        result
    }
}

/// One connection.
pub(crate) struct Reader(Connection);

impl Reader {
    pub(crate) fn get(&self, key: Key<'_>) -> Result<Option<Record>> {
        let sql = "SELECT value, version, expires_at_ms FROM records JOIN keyspaces ON id = keyspace
                   WHERE name = ? AND key = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let arguments = params![key.keyspace().as_bytes(), key.bytes(), now_ms()];
        let found = statement.query_row(arguments, |row| Ok(record(row, 0))).optional().map_err(failed)?;
        found.transpose()
    }

    pub(crate) fn page(&self, plan: ScanPlan<'_>) -> Result<Page> {
        scan_with(plan, |plan| {
            Ok(Walk {
                connection: &self.0,
                keyspace: plan.keyspace().as_bytes().to_vec(),
                lower: plan.lower().to_vec(),
                upper: plan.upper().map(<[u8]>::to_vec),
                is_reverse: plan.is_reverse(),
                values: if plan.is_keys_only() { "x''" } else { "value" },
                max_bytes: plan.max_bytes(),
                rows: FIRST_ROWS,
                found: Vec::new().into_iter(),
                is_done: false,
            })
        })
    }

    pub(crate) fn keyspaces(&self, after: &str) -> Result<Vec<String>> {
        let sql = "SELECT name FROM keyspaces WHERE name > ? ORDER BY name LIMIT 1000";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let names =
            statement.query_map([after.as_bytes()], |row| row.get::<_, Vec<u8>>(0)).map_err(failed)?;
        names.map(|name| text(name.map_err(failed)?)).collect()
    }

    /// From now on, this connection reads the present state.
    pub(crate) fn begin_snapshot(&self) -> Result<()> {
        // The first statement that reads takes the snapshot.
        self.0.execute_batch("BEGIN; SELECT count(*) FROM health;").map_err(failed)
    }

    /// The next records in the order of keyspace and key, and where it goes on; none at the end.
    pub(crate) fn records_from(
        &self,
        mut position: Position,
        pull: BackupPull,
    ) -> Result<(Vec<BackupRecord>, Option<Position>)> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        loop {
            let Some(keyspace) = position.keyspace.clone() else {
                match self.keyspace_after(&position.done)? {
                    None => return Ok((records, None)),
                    next => position.keyspace = next,
                }
                continue;
            };
            let sql = "SELECT key, value, version, expires_at_ms FROM records
                       WHERE keyspace = (SELECT id FROM keyspaces WHERE name = ?) AND key >= ?
                         AND (expires_at_ms IS NULL OR expires_at_ms > ?) ORDER BY key";
            let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
            let arguments = params![keyspace.as_bytes(), position.lower, now_ms()];
            let mut rows = statement.query(arguments).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let (key, record): (Vec<u8>, _) = (row.get(0).map_err(failed)?, record(row, 1)?);
                bytes += (key.len() + record.value().len()) as u64;
                // One record is returned however large it is.
                let is_full = records.len() >= pull.max_items as usize || bytes > pull.max_bytes;
                if is_full && !records.is_empty() {
                    position.lower = key;
                    return Ok((records, Some(position)));
                }
                let (version, expiry) = (record.version(), record.expires_at_ms());
                records.push(BackupRecord::new(&keyspace, key, record.into_value(), version, expiry));
            }
            position = Position { done: keyspace, ..Position::default() };
        }
    }

    fn keyspace_after(&self, name: &str) -> Result<Option<String>> {
        let sql = "SELECT name FROM keyspaces WHERE name > ? ORDER BY name LIMIT 1";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_row([name.as_bytes()], |row| row.get::<_, Vec<u8>>(0));
        found.optional().map_err(failed)?.map(text).transpose()
    }
}

/// Where a backup goes on.
#[derive(Default)]
pub(crate) struct Position {
    /// The keyspace that it is in, if it is in one.
    keyspace: Option<String>,
    /// The first key there that is left.
    lower: Vec<u8>,
    /// The last keyspace that it has left.
    done: String,
}

/// The keys of a scan, some of them at a time.
struct Walk<'a> {
    connection: &'a Connection,
    keyspace: Vec<u8>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    is_reverse: bool,
    /// What is read in place of the value.
    values: &'static str,
    max_bytes: u64,
    /// How many rows are read next.
    rows: usize,
    found: std::vec::IntoIter<(Vec<u8>, Record)>,
    is_done: bool,
}

impl Walk<'_> {
    fn fill(&mut self) -> Result<()> {
        let order = if self.is_reverse { "DESC" } else { "ASC" };
        let upper = if self.upper.is_some() { "AND key < ?5" } else { "AND ?5 IS NULL" };
        let values = self.values;
        let sql = format!(
            "SELECT key, {values}, version, expires_at_ms FROM records
             WHERE keyspace = (SELECT id FROM keyspaces WHERE name = ?1) AND key >= ?2 {upper}
               AND (expires_at_ms IS NULL OR expires_at_ms > ?3)
             ORDER BY key {order} LIMIT ?4"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(failed)?;
        let limit = u32::try_from(self.rows).unwrap_or(u32::MAX);
        let arguments = params![self.keyspace, self.lower, now_ms(), limit, self.upper];
        let mut rows = statement.query(arguments).map_err(failed)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        self.is_done = true;
        while let Some(row) = rows.next().map_err(failed)? {
            let (key, record): (Vec<u8>, _) = (row.get(0).map_err(failed)?, record(row, 1)?);
            bytes += (key.len() + record.value().len()) as u64;
            found.push((key, record));
            // No more than the page takes, and one record that shows that there is more.
            if found.len() == self.rows || bytes > self.max_bytes {
                self.is_done = false;
                break;
            }
        }
        if let Some((key, _)) = found.last() {
            if self.is_reverse {
                self.upper = Some(key.clone());
            } else {
                // The smallest key after this one.
                self.lower = [key, &[0][..]].concat();
            }
        }
        self.rows = MOST_ROWS.min(self.rows * 4);
        self.found = found.into_iter();
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, Record)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.found.len() == 0
            && !self.is_done
            && let Err(error) = self.fill()
        {
            self.is_done = true;
            return Some(Err(error));
        }
        self.found.next().map(Ok)
    }
}

/// The record in the columns value, version and expiry, of which the first is `at`.
fn record(row: &Row<'_>, at: usize) -> Result<Record> {
    let value: Vec<u8> = row.get(at).map_err(failed)?;
    let version: Vec<u8> = row.get(at + 1).map_err(failed)?;
    let expires_at_ms: Option<i64> = row.get(at + 2).map_err(failed)?;
    let version = Version::from_bytes(&version).ok_or_else(|| corrupt("version"))?;
    let expires_at_ms = expires_at_ms.map(u64::try_from).transpose().map_err(|_| corrupt("expiry"))?;
    Ok(Record::new(value, version).with_expiry(expires_at_ms))
}

fn text(name: Vec<u8>) -> Result<String> {
    String::from_utf8(name).map_err(|_| corrupt("keyspace"))
}
