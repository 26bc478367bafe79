//! A store in memory that writes each change to a log first, and is made of the log again when it opens.

use std::{
    fs,
    iter::Peekable,
    mem,
    ops::Bound,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use imbl::{OrdMap, OrdSet};
use keyway_sdk::{
    BackupChunk, BackupPull, BackupRecord, BatchMode, Bytes, Error, ErrorCode, Health, Key, Op, OpKind,
    OpResult, OpenContext, Page, Record, Result, Version,
    backend::check_condition,
    group::{Committer, GroupCommit},
    owned::BatchBuf,
    paging::{ScanPlan, chunk_with, scan_with},
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
    versions::Versions,
};

use crate::{
    log_changes::{Change, Changes},
    log_disk,
    log_file::LogFile,
};

/// Most writes that share one sync.
const MOST_WRITES: usize = 64;

/// What an operator may set. An unknown setting is an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", default, deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The directory of the log, relative to the server's data directory. It is made if there is none.
    pub directory: PathBuf,
    /// The most keys and values that the store holds, in MiB. Small records need several times that in memory.
    pub max_mib: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { directory: "log".into(), max_mib: 256 }
    }
}

/// All records at one time. A copy costs nothing: it shares what it does not change.
#[derive(Clone, Default)]
pub(crate) struct Records {
    records: OrdMap<(Arc<str>, Bytes), (Bytes, Version)>,
    /// A keyspace exists from its first write until it is dropped, even if it has no key.
    keyspaces: OrdSet<Arc<str>>,
    /// Of all keys and values.
    bytes: u64,
}

impl Records {
    pub(crate) fn get(&self, key: Key<'_>) -> Option<Record> {
        let (value, version) = self.records.get(&place(key))?;
        Some(Record::new(value.clone(), *version))
    }

    pub(crate) fn page(&self, plan: ScanPlan<'_>) -> Result<Page> {
        let keyspace: Arc<str> = plan.keyspace().into();
        scan_with(plan, |plan| {
            let begin = (Arc::clone(&keyspace), Bytes::copy_from_slice(plan.lower()));
            let upper = plan.upper().map(<[u8]>::to_vec);
            let keyspace = Arc::clone(&keyspace);
            let inside = self.records.range(begin..).take_while(move |((name, key), _)| {
                *name == keyspace && upper.as_ref().is_none_or(|upper| key[..] < upper[..])
            });
            Ok(inside.map(|((_, key), (value, version))| Ok((key, Record::new(value.clone(), *version)))))
        })
    }

    pub(crate) fn keyspaces(&self, after: &str) -> Vec<String> {
        let later = self.keyspaces.range::<_, str>((Bound::Excluded(after), Bound::Unbounded));
        later.take(1_000).map(|name| name.to_string()).collect()
    }

    fn version(&self, key: Key<'_>) -> Option<Version> {
        Some(self.records.get(&place(key))?.1)
    }

    /// How many bytes a key and its value count for.
    fn size(&self, key: Key<'_>) -> u64 {
        let found = self.records.get(&place(key));
        found.map_or(0, |(value, _)| key.bytes().len() + value.len()) as u64
    }

    /// Makes a change, and says whether the key or the keyspace existed.
    fn apply(&mut self, change: Change<'_>) -> bool {
        match change {
            Change::Put { key, value, version } => {
                let (keyspace, bytes) = place(key);
                self.keyspaces.insert(Arc::clone(&keyspace));
                self.bytes += (bytes.len() + value.len()) as u64;
                let record = (Bytes::copy_from_slice(value), version);
                let before = self.records.insert((keyspace, bytes), record);
                self.forget(key, before.as_ref())
            }
            Change::Delete { key } => {
                let before = self.records.remove(&place(key));
                self.forget(key, before.as_ref())
            }
            Change::DropKeyspace { name } => {
                let keys: Vec<_> = self.keys_of(name).collect();
                for key in keys {
                    let before = self.records.remove(&key);
                    self.forget(Key::new(name, &key.1), before.as_ref());
                }
                self.keyspaces.remove(name).is_some()
            }
        }
    }

    fn keys_of(&self, name: &str) -> impl Iterator<Item = (Arc<str>, Bytes)> + use<'_> {
        let name: Arc<str> = name.into();
        let begin = (Arc::clone(&name), Bytes::new());
        self.records.range(begin..).map(|(key, _)| key.clone()).take_while(move |key| key.0 == name)
    }

    fn forget(&mut self, key: Key<'_>, before: Option<&(Bytes, Version)>) -> bool {
        self.bytes -= before.map_or(0, |(value, _)| key.bytes().len() + value.len()) as u64;
        before.is_some()
    }

    /// Payloads from which the records can be made again.
    fn payloads(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let keyspaces = self.keyspaces.iter().map(|name| {
            // A key that is put and deleted leaves its keyspace.
            let key = Key::new(name, b"k");
            let mut changes = Changes::default();
            changes.push(Change::Put { key, value: b"", version: Version::numbered(0, 0) });
            changes.push(Change::Delete { key });
            changes.into_bytes()
        });
        let records = self.records.iter().map(|((keyspace, key), (value, version))| {
            let mut changes = Changes::default();
            changes.push(Change::Put { key: Key::new(keyspace, key), value, version: *version });
            changes.into_bytes()
        });
        keyspaces.chain(records)
    }
}

fn place(key: Key<'_>) -> (Arc<str>, Bytes) {
    (key.keyspace().into(), Bytes::copy_from_slice(key.bytes()))
}

/// A write, with all that it needs.
pub(crate) enum Write {
    Batch(BatchBuf),
    DropKeyspace(String),
    /// Nothing but a frame: it shows that the log can be written.
    Health,
}

/// The open store.
pub(crate) struct Log {
    records: Arc<RwLock<Records>>,
    writer: GroupCommit<Writer>,
    /// Locked while the store is open.
    _lock: fs::File,
}

impl Log {
    pub(crate) fn open(config: &Config, context: &OpenContext) -> Result<Self> {
        let directory = context.data_dir().join(&config.directory);
        fs::create_dir_all(&directory)?;
        for parent in
            directory.ancestors().skip(1).take_while(|parent| parent.starts_with(context.data_dir()))
        {
            log_disk::disk().sync_directory(parent)?;
        }
        let lock =
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        if let Err(error) = lock.try_lock() {
            let message = format!("lock {}: {error}", directory.display());
            return Err(Error::new(ErrorCode::UNAVAILABLE, message));
        }
        let mut found = Records::default();
        let file = LogFile::open(&directory, |payload| {
            for change in Changes::parse(payload) {
                found.apply(change?);
            }
            Ok(())
        })?;
        let records = Arc::new(RwLock::new(found));
        let writer = Writer {
            file,
            records: Arc::clone(&records),
            versions: Versions::new_incarnation()?,
            max_bytes: config.max_mib.saturating_mul(1024 * 1024),
        };
        Ok(Self { records, writer: GroupCommit::new(writer, MOST_WRITES), _lock: lock })
    }

    /// The records at this time.
    pub(crate) fn records(&self) -> Records {
        self.records.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the write is durable.
    pub(crate) fn write(&self, write: Write) -> Result<Vec<Result<OpResult>>> {
        self.writer.submit(write)
    }

    /// Waits until a write of one operation is durable.
    pub(crate) fn write_one(&self, write: Write) -> Result<OpResult> {
        let no_answer = || Error::new(ErrorCode::INTERNAL, "the log has not answered").with_unknown_outcome();
        self.write(write)?.pop().unwrap_or_else(|| Err(no_answer()))
    }

    pub(crate) fn health(&self) -> Health {
        let begun = Instant::now();
        match self.write(Write::Health) {
            Ok(_) => Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Err(error) => Health::degraded(true, false, error.message()),
        }
    }
}

/// The only writer of the log.
struct Writer {
    file: LogFile,
    records: Arc<RwLock<Records>>,
    versions: Versions,
    max_bytes: u64,
}

impl Committer for Writer {
    type Request = Write;
    type Answer = Vec<Result<OpResult>>;

    fn commit(&mut self, writes: Vec<Write>) -> Vec<Result<Self::Answer>> {
        let before = self.records.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Err(error) = self.make_sure_of_file(&before) {
            return writes.iter().map(|_| Err(error.clone().not_applied())).collect();
        }
        // Readers see the records before the group until the group is durable.
        let (mut after, mut changes) = (before, Changes::default());
        let answers: Vec<_> =
            writes.iter().map(|write| self.prepare(write, &mut after, &mut changes)).collect();
        if let Err(error) = self.file.append(&changes.into_bytes()) {
            // Refusals as well: they may rest on writes of this group.
            return answers.iter().map(|_| Err(error.clone())).collect();
        }
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *records, after);
        // Readers do not wait for what is freed.
        drop(records);
        drop(before);
        answers
    }
}

impl Writer {
    /// Replaces the file if it is doubtful, or if it is mostly history.
    fn make_sure_of_file(&mut self, records: &Records) -> Result<()> {
        if !self.file.is_doubtful() && !self.file.is_long() {
            return Ok(());
        }
        match self.file.replace(records.payloads()) {
            // A long file can be written to as well.
            Err(_) if !self.file.is_doubtful() => {
                self.file.postpone();
                Ok(())
            }
            replaced => replaced,
        }
    }

    fn prepare(
        &self,
        write: &Write,
        after: &mut Records,
        changes: &mut Changes,
    ) -> Result<Vec<Result<OpResult>>> {
        match write {
            Write::Health => Ok(Vec::new()),
            Write::DropKeyspace(name) => {
                let drop = Change::DropKeyspace { name };
                changes.push(drop);
                Ok(vec![Ok(OpResult::unversioned(after.apply(drop)))])
            }
            Write::Batch(batch) => batch.with(|batch| {
                // Conditions see the state before the batch.
                let checks: Vec<Result<()>> = batch
                    .ops()
                    .iter()
                    .map(|op| check_condition(op.condition(), after.version(op.key())))
                    .collect();
                let is_atomic = batch.mode() == BatchMode::Atomic;
                let (mut trial, mut prepared, mut results) = (after.clone(), Changes::default(), Vec::new());
                for (index, (op, check)) in batch.ops().iter().zip(checks).enumerate() {
                    let result = check.and_then(|()| self.prepare_op(op, &mut trial, &mut prepared));
                    match result {
                        Err(error) if is_atomic => return Err(error.with_index(index)),
                        result => results.push(result),
                    }
                }
                *after = trial;
                changes.append(prepared);
                Ok(results)
            }),
        }
    }

    fn prepare_op(&self, op: &Op<'_>, after: &mut Records, changes: &mut Changes) -> Result<OpResult> {
        let key = op.key();
        match op.kind() {
            OpKind::Check => Ok(OpResult::unversioned(after.version(key).is_some())),
            OpKind::Delete => {
                let delete = Change::Delete { key };
                changes.push(delete);
                Ok(OpResult::unversioned(after.apply(delete)))
            }
            OpKind::Put => {
                let bytes = after.bytes - after.size(key) + (key.bytes().len() + op.value().len()) as u64;
                if bytes > self.max_bytes {
                    let message =
                        format!("the store has {} bytes; max_mib is {}", after.bytes, self.max_bytes >> 20);
                    return Err(Error::new(ErrorCode::RESOURCE_EXHAUSTED, message));
                }
                let version = self.versions.next();
                let put = Change::Put { key, value: op.value(), version };
                changes.push(put);
                Ok(OpResult::written(version, after.apply(put)))
            }
        }
    }
}

/// A backup: the records of the time when it began.
pub(crate) struct Backup(Peekable<Box<dyn Iterator<Item = Result<BackupRecord>> + Send>>);

impl Backup {
    pub(crate) fn of(records: Records) -> Self {
        let records = records.records.into_iter().map(|((keyspace, key), (value, version))| {
            Ok(BackupRecord::new(&keyspace, key, value, version, None))
        });
        let records: Box<dyn Iterator<Item = _> + Send> = Box::new(records);
        Self(records.peekable())
    }

    pub(crate) fn next(&mut self, pull: BackupPull) -> Result<BackupChunk> {
        chunk_with(&mut self.0, pull)
    }
}
