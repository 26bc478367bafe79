//! The backend. Its methods block: the SDK runs them on threads of this backend.

use std::{mem, num::NonZeroU32, path::PathBuf, sync::Arc, time::Instant};

use keyway_sdk::{
    BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, BlockingBackend,
    Capabilities, Delete, DropKeyspace, Durability, Error, ErrorCode, Features, Health, Key, Limits, Op,
    OpResult, OpenContext, Page, PluginInfo, Put, ReadConsistency, Record, Result, ScanOrder, Version,
    WriteId,
    blocking::BlockingBackup,
    group::GroupCommit,
    owned::BatchBuf,
    paging::{ScanPlan, chunk_with, scan_with},
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

use crate::{
    environment::{Environment, Read, Walk},
    layout::{
        FORMAT, FORMAT_KEY, KEY_BYTES, end_of, key_of, keyspace_key, keyspace_name, number, record_key,
        to_record,
    },
    writer::{Change, Writer},
};

/// Most writes that share one transaction of LMDB, and so one sync.
const MOST_WRITES: usize = 64;
/// A page of keyspaces, by the interface.
const KEYSPACES: usize = 1_000;

/// What an operator may set. An unknown setting is an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", default, deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The file, relative to the server's data directory. It is made if there is none.
    pub path: PathBuf,
    /// How large the file may become, in MiB. It takes so much address space, and no more disk than it needs.
    pub map_mib: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: "store.mdb".into(), map_mib: const { NonZeroU32::new(4_096).expect("is not zero") } }
    }
}

/// A store in a file of LMDB.
pub struct Store {
    environment: Arc<Environment>,
    writer: GroupCommit<Writer>,
}

impl Store {
    fn write_one(&self, op: Op<'_>, write_id: WriteId) -> Result<OpResult> {
        let batch = Batch::new(std::slice::from_ref(&op), BatchMode::Independent, write_id);
        self.write(Change::Batch(BatchBuf::from(batch)))
    }

    fn write(&self, change: Change) -> Result<OpResult> {
        let no_answer = || Error::new(ErrorCode::INTERNAL, "no answer").with_unknown_outcome();
        self.writer.submit(change)?.pop().unwrap_or_else(|| Err(no_answer()))
    }
}

impl BlockingBackend for Store {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        licence: env!("CARGO_PKG_LICENSE"),
        homepage: env!("CARGO_PKG_HOMEPAGE"),
        config_schema: include_str!("../config.schema.json"),
        data_format: FORMAT,
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            // LMDB syncs each commit, and says that it survives a loss of power. No test here takes its power, so that
            // this example does not promise it.
            durability: Durability::PROCESS_CRASH,
            scan_order: ScanOrder::BYTEWISE,
            backup: BackupLevel::POINT_IN_TIME,
            features: Features::ATOMIC_BATCH.union(Features::REVERSE_SCAN),
            limits: Limits { key_bytes: KEY_BYTES, ..Limits::USUAL },
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    /// Threads that wait for a sync share it.
    const THREADS: usize = 32;

    fn open(config: Config, context: OpenContext) -> Result<Self> {
        let map_bytes = usize::try_from(u64::from(config.map_mib.get()) << 20).map_err(|_| {
            Error::new(ErrorCode::INVALID_ARGUMENT, "map_mib is more than this machine can address")
        })?;
        let environment = Environment::open(&context.data_dir().join(&config.path), map_bytes)?;
        see_format(&environment)?;
        let writer = GroupCommit::new(Writer::new(Arc::clone(&environment))?, MOST_WRITES);
        Ok(Self { environment, writer })
    }

    fn get(&self, key: Key<'_>) -> Result<Option<Record>> {
        let read = self.environment.read()?;
        let Some(keyspace) = keyspace(&read, key.keyspace())? else { return Ok(None) };
        let found = read.get(&record_key(keyspace, key.bytes()))?;
        found.map(|bytes| to_record(bytes, false)).transpose()
    }

    fn put(&self, put: Put<'_>) -> Result<Version> {
        self.write_one(put.into(), put.write_id()).map(|result| result.version())
    }

    fn delete(&self, delete: Delete<'_>) -> Result<bool> {
        self.write_one(delete.into(), delete.write_id()).map(|result| result.existed())
    }

    fn scan(&self, plan: ScanPlan<'_>) -> Result<Page> {
        let read = self.environment.read()?;
        let keyspace = keyspace(&read, plan.keyspace())?;
        scan_with(plan, |plan| {
            keyspace
                .map(|keyspace| within(&read, keyspace, plan))
                .transpose()
                .map(|walk| walk.into_iter().flatten())
        })
    }

    fn apply(&self, batch: Batch<'_>) -> Result<BatchResult> {
        Ok(self.writer.submit(Change::Batch(batch.into()))?.into_iter().collect())
    }

    fn keyspaces(&self, after: &str) -> Result<Vec<String>> {
        let read = self.environment.read()?;
        // The first key that is longer.
        let walk = read.forward([&keyspace_key(after)[..], b"\0"].concat())?;
        walk.map_while(|entry| entry.map(|(key, _)| keyspace_name(key)).transpose().map(Result::flatten))
            .take(KEYSPACES)
            .collect()
    }

    fn drop_keyspace(&self, drop: DropKeyspace<'_>) -> Result<bool> {
        self.write(Change::DropKeyspace(drop.name().to_owned())).map(|result| result.existed())
    }

    fn health(&self) -> Result<Health> {
        let begun = Instant::now();
        Ok(match self.writer.submit(Change::Health) {
            Ok(_) => Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Err(error) => match self.environment.read().and_then(|read| read.get(FORMAT_KEY).map(|_| ())) {
                Ok(()) => Health::degraded(true, false, error.message()),
                // After some errors LMDB serves nothing until it is opened again.
                Err(error) => Health::degraded(false, false, error.message()).dead(),
            },
        })
    }

    fn backup(&self) -> Result<Box<dyn BlockingBackup>> {
        let read = self.environment.read()?;
        let walk = read.forward(keyspace_key(""))?;
        let keyspaces: Result<Vec<(String, u64)>> = walk
            .map_while(|entry| {
                let found = entry.map(|(key, value)| Some((keyspace_name(key)?, value))).transpose()?;
                Some(found.and_then(|(name, value)| Ok((name?, number(value)?))))
            })
            .collect();
        let keyspaces = keyspaces?;
        Ok(Box::new(Backup { read, keyspaces, next: Some((0, Vec::new())) }))
    }
}

/// Refuses a file of a newer format, and marks a new one.
fn see_format(environment: &Environment) -> Result<()> {
    let mut write = environment.write()?;
    match write.get(FORMAT_KEY)? {
        None => write.put(FORMAT_KEY, &u64::from(FORMAT).to_be_bytes())?,
        Some(bytes) if number(&bytes)? == u64::from(FORMAT) => {}
        Some(bytes) => {
            let message = format!("the file has format {}, and this version knows {FORMAT}", number(&bytes)?);
            return Err(Error::new(ErrorCode::UNSUPPORTED, message));
        }
    }
    write.commit()
}

fn keyspace(read: &Read, name: &str) -> Result<Option<u64>> {
    read.get(&keyspace_key(name))?.map(number).transpose()
}

/// The keys of a keyspace between the bounds of a plan, in its direction, with their records.
fn within<'r>(
    read: &'r Read,
    keyspace: u64,
    plan: &ScanPlan<'_>,
) -> Result<impl Iterator<Item = Result<(&'r [u8], Record)>> + use<'r>> {
    let lower = record_key(keyspace, plan.lower());
    let upper = plan.upper().map_or_else(|| end_of(keyspace), |upper| record_key(keyspace, upper));
    let (is_reverse, is_keys_only) = (plan.is_reverse(), plan.is_keys_only());
    let walk = if is_reverse { read.backward(upper.clone()) } else { read.forward(lower.clone()) }?;
    let is_inside = move |key: &[u8]| if is_reverse { key >= &lower[..] } else { key < &upper[..] };
    Ok(walk
        .take_while(move |entry| entry.as_ref().map_or(true, |(key, _)| is_inside(key)))
        .map(move |entry| entry.and_then(|(key, value)| Ok((key_of(key)?, to_record(value, is_keys_only)?)))))
}

/// A backup: the state of the time when it began.
struct Backup {
    read: Read,
    /// All keyspaces of that time, in the order of their names, with their numbers.
    keyspaces: Vec<(String, u64)>,
    /// The keyspace and the key from which it goes on; none at the end.
    next: Option<(usize, Vec<u8>)>,
}

impl Backup {
    /// The records from a key of a keyspace on, through the keyspaces after it.
    fn records_from(&self, first: usize, key: &[u8]) -> impl Iterator<Item = Result<BackupRecord>> + use<'_> {
        let mut from = key.to_vec();
        self.keyspaces.iter().skip(first).flat_map(move |(name, number)| {
            let (records, failed) = match self.records_of(name, *number, &mem::take(&mut from)) {
                Ok(records) => (Some(records), None),
                Err(error) => (None, Some(Err(error))),
            };
            failed.into_iter().chain(records.into_iter().flatten())
        })
    }

    fn records_of(
        &self,
        name: &str,
        number: u64,
        from: &[u8],
    ) -> Result<impl Iterator<Item = Result<BackupRecord>> + use<'_>> {
        let (end, name) = (end_of(number), name.to_owned());
        let walk: Walk<'_> = self.read.forward(record_key(number, from))?;
        Ok(walk.take_while(move |entry| entry.as_ref().map_or(true, |(key, _)| *key < &end[..])).map(
            move |entry| {
                let (key, value) = entry?;
                let record = to_record(value, false)?;
                let version = record.version();
                Ok(BackupRecord::new(&name, key_of(key)?.to_vec(), record.into_value(), version, None))
            },
        ))
    }
}

impl BlockingBackup for Backup {
    fn next(&mut self, pull: BackupPull) -> Result<BackupChunk> {
        let Some((first, key)) = self.next.take() else { return Ok(BackupChunk::new(Vec::new(), true)) };
        let chunk = chunk_with(&mut self.records_from(first, &key).peekable(), pull)?;
        if let (false, Some(last)) = (chunk.is_done(), chunk.records().last()) {
            let keyspace = self.keyspaces.iter().position(|(name, _)| name == last.keyspace());
            // The first key after the last one.
            self.next = Some((keyspace.unwrap_or(first), [last.key(), b"\0"].concat()));
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use keyway_sdk::Outcome;

    use super::*;

    fn environment(directory: &tempfile::TempDir) -> Arc<Environment> {
        Environment::open(&directory.path().join("s.mdb"), 1 << 20).unwrap()
    }

    fn stored(environment: &Environment, key: &[u8], value: &[u8]) {
        let mut write = environment.write().unwrap();
        write.put(key, value).unwrap();
        write.commit().unwrap();
    }

    #[test]
    fn file_of_a_newer_format_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(&directory);
        see_format(&environment).unwrap();
        see_format(&environment).unwrap();
        stored(&environment, FORMAT_KEY, &2_u64.to_be_bytes());
        assert_eq!(see_format(&environment).unwrap_err().code(), ErrorCode::UNSUPPORTED);
        assert_eq!(environment.read().unwrap().get(FORMAT_KEY).unwrap(), Some(&2_u64.to_be_bytes()[..]));
    }

    #[test]
    fn damaged_record_is_told_and_can_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(&directory);
        let writer = GroupCommit::new(Writer::new(Arc::clone(&environment)).unwrap(), MOST_WRITES);
        let store = Store { environment: Arc::clone(&environment), writer };
        let key = Key::new("k", b"key");
        store.put(Put::new(key, b"value")).unwrap();
        stored(&environment, &record_key(1, b"key"), b"\xff");
        assert_eq!(store.get(key).unwrap_err().code(), ErrorCode::CORRUPT);
        store.put(Put::new(key, b"again")).unwrap();
        assert_eq!(store.get(key).unwrap().unwrap().value(), b"again");
    }

    #[test]
    fn second_opener_is_refused_until_the_first_and_what_reads_from_it_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = environment(&directory);
        let read = first.read().unwrap();
        let again = || Environment::open(&directory.path().join("s.mdb"), 1 << 20).map(|_| ());
        assert_eq!(again().unwrap_err().code(), ErrorCode::UNAVAILABLE);
        let link = directory.path().join("link.mdb");
        std::os::unix::fs::symlink("s.mdb", &link).unwrap();
        assert_eq!(Environment::open(&link, 1 << 20).map(|_| ()).unwrap_err().code(), ErrorCode::UNAVAILABLE);
        drop(first);
        assert_eq!(again().unwrap_err().code(), ErrorCode::UNAVAILABLE);
        drop(read);
        again().unwrap();
    }

    #[test]
    fn full_file_refuses_writes_and_keeps_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(&directory);
        let writer = GroupCommit::new(Writer::new(Arc::clone(&environment)).unwrap(), MOST_WRITES);
        let store = Store { environment, writer };
        let key = |number: u32| number.to_be_bytes();
        let put = |number: u32| store.put(Put::new(Key::new("k", &key(number)), &[7; 10_000]));
        let written = (0..1_000).take_while(|number| put(*number).is_ok()).count() as u32;
        assert!(written > 20, "{written}");
        let full = put(written).unwrap_err();
        assert_eq!((full.code(), full.outcome()), (ErrorCode::RESOURCE_EXHAUSTED, Outcome::NOT_APPLIED));
        for number in 0..written {
            assert_eq!(store.get(Key::new("k", &key(number))).unwrap().unwrap().value(), [7; 10_000]);
        }
        // LMDB uses freed pages again from the transaction after the next one on.
        for number in 0..5 {
            assert!(store.delete(Delete::new(Key::new("k", &key(number)))).unwrap());
        }
        put(0).unwrap();
    }
}
