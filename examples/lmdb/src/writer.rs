//! Makes changes: one transaction of LMDB, and so one sync, for all writes that wait. Each write is a child of it, which
//! can fail alone.

use std::sync::Arc;

use keyway_sdk::{
    Batch, BatchMode, Condition, Key, Op, OpKind, OpResult, Result, backend::check_condition,
    group::Committer, owned::BatchBuf, versions::Versions,
};

use crate::{
    environment::{Environment, Write},
    layout::{HEALTH_KEY, LAST_KEYSPACE_KEY, end_of, keyspace_key, number, record_key, to_value, to_version},
};

/// A write, with all that it needs.
pub(crate) enum Change {
    Batch(BatchBuf),
    DropKeyspace(String),
    /// A value that has no other use: it shows that the file can be written.
    Health,
}

/// The only writer.
pub(crate) struct Writer {
    environment: Arc<Environment>,
    versions: Versions,
}

/// The results of a write's operations.
type Results = Vec<Result<OpResult>>;

impl Committer for Writer {
    type Request = Change;
    type Answer = Results;

    fn commit(&mut self, changes: Vec<Change>) -> Vec<Result<Results>> {
        match self.try_commit(&changes) {
            Ok(answers) => answers,
            Err(error) => changes.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl Writer {
    pub(crate) fn new(environment: Arc<Environment>) -> Result<Self> {
        Ok(Self { environment, versions: Versions::new_incarnation()? })
    }

    /// The outer error is one of the whole group.
    fn try_commit(&self, changes: &[Change]) -> Result<Vec<Result<Results>>> {
        let mut group = self.environment.write()?;
        let answers = changes.iter().map(|change| self.change(&mut group, change)).collect();
        group.commit()?;
        Ok(answers)
    }

    fn change(&self, group: &mut Write<'_>, change: &Change) -> Result<Results> {
        let mut write = group.child()?;
        let results = match change {
            Change::Batch(batch) => batch.with(|batch| self.batch(&mut write, &batch))?,
            Change::DropKeyspace(name) => vec![Ok(OpResult::unversioned(drop_keyspace(&mut write, name)?))],
            Change::Health => {
                write.put(HEALTH_KEY, self.versions.next().as_bytes())?;
                Vec::new()
            }
        };
        // Part of the group so far: if this fails, nothing has happened.
        write.commit().map_err(|error| error.not_applied())?;
        Ok(results)
    }

    fn batch(&self, write: &mut Write<'_>, batch: &Batch<'_>) -> Result<Results> {
        // Conditions see the state before the batch.
        let mut found = Vec::with_capacity(batch.ops().len());
        for (index, op) in batch.ops().iter().enumerate() {
            let bytes = stored(write, op.key())?;
            let check = match op.condition() {
                // A record that is damaged can be replaced and removed.
                Condition::Any => Ok(()),
                condition => bytes
                    .as_deref()
                    .map(to_version)
                    .transpose()
                    .and_then(|version| check_condition(condition, version)),
            };
            if let (BatchMode::Atomic, Err(error)) = (batch.mode(), &check) {
                return Err(error.clone().with_index(index));
            }
            found.push((bytes.is_some(), check));
        }
        let mut results = Vec::with_capacity(found.len());
        for (op, (existed, check)) in batch.ops().iter().zip(found) {
            results.push(match check {
                Ok(()) => Ok(self.write_op(write, op, existed)?),
                Err(error) => Err(error),
            });
        }
        Ok(results)
    }

    fn write_op(&self, write: &mut Write<'_>, op: &Op<'_>, existed: bool) -> Result<OpResult> {
        Ok(match op.kind() {
            OpKind::Check => OpResult::unversioned(existed),
            OpKind::Delete => {
                if let Some(keyspace) = keyspace(write, op.key().keyspace())? {
                    write.delete(&record_key(keyspace, op.key().bytes()))?;
                }
                OpResult::unversioned(existed)
            }
            OpKind::Put => {
                let keyspace = match keyspace(write, op.key().keyspace())? {
                    Some(keyspace) => keyspace,
                    None => make_keyspace(write, op.key().keyspace())?,
                };
                let version = self.versions.next();
                write.put(&record_key(keyspace, op.key().bytes()), &to_value(version, op.value()))?;
                OpResult::written(version, existed)
            }
        })
    }
}

fn keyspace(write: &Write<'_>, name: &str) -> Result<Option<u64>> {
    write.get(&keyspace_key(name))?.as_deref().map(number).transpose()
}

/// Numbers are never used again: a keyspace that is dropped and made again is another one.
fn make_keyspace(write: &mut Write<'_>, name: &str) -> Result<u64> {
    let last = write.get(LAST_KEYSPACE_KEY)?.as_deref().map(number).transpose()?.unwrap_or(0);
    let next = (last + 1).to_be_bytes();
    write.put(LAST_KEYSPACE_KEY, &next)?;
    write.put(&keyspace_key(name), &next)?;
    Ok(last + 1)
}

fn drop_keyspace(write: &mut Write<'_>, name: &str) -> Result<bool> {
    let Some(number) = keyspace(write, name)? else { return Ok(false) };
    let (mut from, end) = (record_key(number, b""), end_of(number));
    while let Some(key) = write.first_key(&from)?.filter(|key| *key < end) {
        write.delete(&key)?;
        from = key;
    }
    write.delete(&keyspace_key(name))
}

fn stored(write: &Write<'_>, key: Key<'_>) -> Result<Option<Vec<u8>>> {
    let Some(keyspace) = keyspace(write, key.keyspace())? else { return Ok(None) };
    write.get(&record_key(keyspace, key.bytes()))
}
