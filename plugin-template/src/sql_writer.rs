//! What writes the database: one connection, and one transaction for all writes that wait.

use keyway_sdk::{
    Batch, BatchMode, Condition, Error, ErrorCode, Key, Op, OpKind, OpResult, Result, Version,
    backend::check_condition, group::Committer, owned::BatchBuf, versions::Versions,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::sql_tables::{corrupt, failed, now_ms};

/// Most expired records that a transaction removes.
const EXPIRED: u32 = 100;

/// A write, with all that it needs.
pub(crate) enum Write {
    Batch(BatchBuf),
    DropKeyspace(String),
    /// A change of a row that has no other use: it shows that the database can be written.
    Health,
}

/// The only writer.
pub(crate) struct Writer {
    connection: Connection,
    versions: Versions,
}

/// The results of a write's operations, or why none of them was done.
type Answer = Result<Vec<Result<OpResult>>>;

impl Committer for Writer {
    type Request = Write;
    type Answer = Vec<Result<OpResult>>;

    fn commit(&mut self, writes: Vec<Write>) -> Vec<Answer> {
        match self.try_commit(&writes) {
            Ok(answers) => answers,
            Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl Writer {
    pub(crate) fn new(connection: Connection) -> Result<Self> {
        Ok(Self { connection, versions: Versions::new_incarnation()? })
    }

    /// An error of the database undoes the whole group.
    fn try_commit(&self, writes: &[Write]) -> Result<Vec<Answer>> {
        self.leave_transaction()?;
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        let answers = self
            .remove_expired()
            .and_then(|()| writes.iter().map(|write| self.write(write)).collect::<Result<Vec<_>>>());
        let done = answers.and_then(|answers| {
            // An error of the commit leaves open whether it has happened.
            let unknown = |error| failed(error).with_unknown_outcome();
            self.connection.execute_batch("COMMIT").map(|()| answers).map_err(unknown)
        });
        if done.is_err() {
            // The error of the group is the one to tell. If this fails, too, the next group does it first.
            let _again = self.leave_transaction();
        }
        done
    }

    fn leave_transaction(&self) -> Result<()> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("ROLLBACK").map_err(failed)
    }

    /// The outer error is one of the database, the inner one of this write alone.
    fn write(&self, write: &Write) -> Result<Answer> {
        match write {
            Write::Health => {
                self.execute("UPDATE health SET changes = changes + 1", params![])?;
                Ok(Ok(Vec::new()))
            }
            Write::DropKeyspace(name) => {
                let records =
                    "DELETE FROM records WHERE keyspace = (SELECT id FROM keyspaces WHERE name = ?)";
                self.execute(records, params![name.as_bytes()])?;
                let dropped =
                    self.execute("DELETE FROM keyspaces WHERE name = ?", params![name.as_bytes()])?;
                Ok(Ok(vec![Ok(OpResult::unversioned(dropped > 0))]))
            }
            Write::Batch(batch) => batch.with(|batch| self.write_batch(&batch)),
        }
    }

    fn write_batch(&self, batch: &Batch<'_>) -> Result<Answer> {
        // Conditions see the state before the batch.
        let mut found = Vec::with_capacity(batch.ops().len());
        for op in batch.ops() {
            let version = self.version(op.key())?;
            let existed = version.is_some();
            let check = match op.condition() {
                // A record that is damaged can be replaced and removed.
                Condition::Any => Ok(()),
                condition => version.transpose().and_then(|version| check_condition(condition, version)),
            };
            found.push((existed, check.and_then(|()| expiry(op))));
        }
        if batch.mode() == BatchMode::Atomic
            && let Some((index, error)) =
                found.iter().enumerate().find_map(|(index, (_, check))| Some((index, check.as_ref().err()?)))
        {
            return Ok(Err(error.clone().with_index(index)));
        }
        let mut results = Vec::with_capacity(found.len());
        for (op, (existed, check)) in batch.ops().iter().zip(found) {
            results.push(match check {
                Ok(()) => Ok(self.write_op(op, existed)?),
                Err(error) => Err(error),
            });
        }
        Ok(Ok(results))
    }

    fn write_op(&self, op: &Op<'_>, existed: bool) -> Result<OpResult> {
        let (keyspace, key) = (op.key().keyspace().as_bytes(), op.key().bytes());
        match op.kind() {
            OpKind::Check => Ok(OpResult::unversioned(existed)),
            OpKind::Delete => {
                let sql = "DELETE FROM records WHERE key = ?2
                           AND keyspace = (SELECT id FROM keyspaces WHERE name = ?1)";
                self.execute(sql, params![keyspace, key])?;
                Ok(OpResult::unversioned(existed))
            }
            OpKind::Put => {
                let version = self.versions.next();
                let expires_at_ms = op.expires_at_ms().and_then(|expiry| i64::try_from(expiry).ok());
                self.execute("INSERT OR IGNORE INTO keyspaces (name) VALUES (?)", params![keyspace])?;
                let sql = "INSERT OR REPLACE INTO records (keyspace, key, value, version, expires_at_ms)
                           VALUES ((SELECT id FROM keyspaces WHERE name = ?), ?, ?, ?, ?)";
                self.execute(sql, params![keyspace, key, op.value(), version.as_bytes(), expires_at_ms])?;
                Ok(OpResult::written(version, existed))
            }
        }
    }

    /// The version of a key, unless its record has expired; the inner error is of this record alone.
    fn version(&self, key: Key<'_>) -> Result<Option<Result<Version>>> {
        let sql = "SELECT version FROM records JOIN keyspaces ON id = keyspace
                   WHERE name = ? AND key = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)";
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let arguments = params![key.keyspace().as_bytes(), key.bytes(), now_ms()];
        let found: Option<Vec<u8>> =
            statement.query_row(arguments, |row| row.get(0)).optional().map_err(failed)?;
        Ok(found.map(|bytes| Version::from_bytes(&bytes).ok_or_else(|| corrupt("version"))))
    }

    fn remove_expired(&self) -> Result<()> {
        let sql = "DELETE FROM records WHERE (keyspace, key) IN
                   (SELECT keyspace, key FROM records WHERE expires_at_ms <= ? LIMIT ?)";
        self.execute(sql, params![now_ms(), EXPIRED]).map(|_| ())
    }

    fn execute(&self, sql: &str, arguments: &[&dyn rusqlite::ToSql]) -> Result<usize> {
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        statement.execute(arguments).map_err(failed)
    }
}

/// Whether the database can hold the expiry of an operation.
fn expiry(op: &Op<'_>) -> Result<()> {
    let too_late = |_| Error::new(ErrorCode::INVALID_ARGUMENT, "the expiry is later than the store can say");
    op.expires_at_ms().map_or(Ok(()), |expiry| i64::try_from(expiry).map(|_| ()).map_err(too_late))
}
