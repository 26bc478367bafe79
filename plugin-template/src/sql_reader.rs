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

/// Most keys that a scan reads at a time.
const KEYS: u32 = 1_000;

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

/// A keyspace and a key in it.
type Position = (String, Vec<u8>);

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
        let (order, is_reverse) = if plan.is_reverse() { ("DESC", true) } else { ("ASC", false) };
        let values = if plan.is_keys_only() { "x''" } else { "value" };
        let keyspace = plan.keyspace().as_bytes().to_vec();
        let most = u32::try_from(plan.max_items() + 1).unwrap_or(KEYS).min(KEYS);
        let sql = format!(
            "SELECT key, {values}, version, expires_at_ms FROM records JOIN keyspaces ON id = keyspace
             WHERE name = ? AND key >= ? AND (?3 IS NULL OR key < ?3)
               AND (expires_at_ms IS NULL OR expires_at_ms > ?4)
             ORDER BY key {order} LIMIT {most}"
        );
        scan_with(plan, |plan| {
            let walk = Walk {
                connection: &self.0,
                sql: sql.clone(),
                keyspace: keyspace.clone(),
                lower: plan.lower().to_vec(),
                upper: plan.upper().map(<[u8]>::to_vec),
                is_reverse,
                most,
                found: Vec::new().into_iter(),
                is_done: false,
            };
            Ok(walk)
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

    /// Records in the order of keyspace and key, and the position of the last one; none at the end.
    pub(crate) fn records_after(
        &self,
        position: &Position,
        pull: BackupPull,
    ) -> Result<(Vec<BackupRecord>, Option<Position>)> {
        let sql =
            "SELECT value, version, expires_at_ms, name, key FROM records JOIN keyspaces ON id = keyspace
                   WHERE (name, key) > (?, ?) AND (expires_at_ms IS NULL OR expires_at_ms > ?)
                   ORDER BY name, key";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let arguments = params![position.0.as_bytes(), position.1, now_ms()];
        let mut rows = statement.query(arguments).map_err(failed)?;
        let (mut records, mut bytes, mut last) = (Vec::new(), 0, None);
        while let Some(row) = rows.next().map_err(failed)? {
            let (name, key): (Vec<u8>, Vec<u8>) = (row.get(3).map_err(failed)?, row.get(4).map_err(failed)?);
            let (name, record) = (text(name)?, record(row, 0)?);
            bytes += (key.len() + record.value().len()) as u64;
            // One record is returned however large it is.
            let is_full = records.len() >= pull.max_items as usize || bytes > pull.max_bytes;
            if is_full && !records.is_empty() {
                return Ok((records, last));
            }
            last = Some((name.clone(), key.clone()));
            let (version, expiry) = (record.version(), record.expires_at_ms());
            records.push(BackupRecord::new(&name, key, record.into_value(), version, expiry));
        }
        Ok((records, None))
    }
}

/// The keys of a scan, some of them at a time.
struct Walk<'a> {
    connection: &'a Connection,
    sql: String,
    keyspace: Vec<u8>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    is_reverse: bool,
    most: u32,
    found: std::vec::IntoIter<(Vec<u8>, Record)>,
    is_done: bool,
}

impl Walk<'_> {
    fn fill(&mut self) -> Result<()> {
        let mut statement = self.connection.prepare_cached(&self.sql).map_err(failed)?;
        let arguments = params![self.keyspace, self.lower, self.upper, now_ms()];
        let rows = statement
            .query_map(arguments, |row| Ok((row.get::<_, Vec<u8>>(0)?, record(row, 1))))
            .map_err(failed)?;
        let mut found = Vec::new();
        for row in rows {
            let (key, record) = row.map_err(failed)?;
            found.push((key, record?));
        }
        self.is_done = found.len() < self.most as usize;
        if let Some((key, _)) = found.last() {
            if self.is_reverse {
                self.upper = Some(key.clone());
            } else {
                // The smallest key after this one.
                self.lower = [key, &[0][..]].concat();
            }
        }
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
