//! Transactions that are not isolated.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    thread,
    time::Duration,
};

use keyway_sdk::{
    Backend, Begin, CallContext, Committed, CommittedKey, Delete, Error, ErrorCode, Key, Page, Put, Record,
    Reply, Result, Transaction, Version, WriteId, backend::check_condition, paging::ScanPlan,
};

use crate::{
    defect::Defect,
    mutant::{Mutant, Place, copy, lock, now, place},
};

/// A transaction with a defect, over one transaction that writes and another that only reads.
pub(crate) struct MutantTransaction<B: Backend> {
    mutant: Arc<Mutant<B>>,
    inner: Option<Box<dyn Transaction>>,
    /// The state at the begin, without later writes.
    snapshot: Box<dyn Transaction>,
    /// Whether there is nothing to commit.
    read_only: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was written; none is a delete.
    written: BTreeMap<Place, Option<Vec<u8>>>,
    /// What was there before it was written at once.
    undo: Vec<(Place, Option<Vec<u8>>)>,
    /// What was read, when it was first asked for.
    seen: BTreeMap<Place, Option<Record>>,
    is_ended: bool,
}

impl<B: Backend> MutantTransaction<B> {
    /// Whether the defect is one of transactions.
    pub(crate) fn concerns(defect: Defect) -> bool {
        matches!(
            defect,
            Defect::SoundTransactions
                | Defect::SnapshotIsLive
                | Defect::SnapshotIsTakenKeyByKey
                | Defect::WritesBeforeCommit
                | Defect::LosesUpdates
                | Defect::AllowsWriteSkew
                | Defect::AllowsPhantoms
                | Defect::ScanMissesOwnWrites
                | Defect::DropCommits
                | Defect::LeaksALock
                | Defect::ConflictIsInternal
                | Defect::CommitIsNotAtomic
                | Defect::CommitAnswersOtherVersions
        )
    }

    pub(crate) fn begin(mutant: &Arc<Mutant<B>>, call: &CallContext<'_>, begin: Begin) -> Result<Self> {
        let _turn = lock(&mutant.turn);
        let snapshot = now(mutant.inner.begin(call, Begin { read_only: true, ..begin }))?;
        let inner = Some(now(mutant.inner.begin(call, begin))?);
        if mutant.defect == Defect::LeaksALock {
            mutant.leaked.fetch_add(1, Ordering::AcqRel);
        }
        let state = Mutex::default();
        Ok(Self { mutant: Arc::clone(mutant), inner, snapshot, read_only: begin.read_only, state })
    }

    fn is(&self, defects: &[Defect]) -> bool {
        defects.contains(&self.mutant.defect)
    }

    fn inner(&self) -> &dyn Transaction {
        &**self.inner.as_ref().expect("it is taken by the drop alone")
    }

    /// Whether it keeps its writes itself.
    fn keeps_writes(&self) -> bool {
        self.is(&[Defect::LosesUpdates, Defect::CommitIsNotAtomic])
    }

    fn read(&self, call: &CallContext<'_>, key: Key<'_>) -> Result<Option<Record>> {
        let mut state = lock(&self.state);
        if self.keeps_writes() {
            if let Some(own) = state.written.get(&place(key)) {
                return Ok(own.clone().map(|value| Record::new(value, Version::numbered(11, 1))));
            }
            return now(self.snapshot.get(call, key));
        }
        let is_own = state.written.contains_key(&place(key));
        match self.mutant.defect {
            Defect::SnapshotIsLive if !is_own => self.mutant.now(call, key),
            Defect::SnapshotIsTakenKeyByKey if !is_own => {
                if let Some(seen) = state.seen.get(&place(key)) {
                    return Ok(seen.as_ref().map(copy));
                }
                let read = self.mutant.now(call, key)?;
                state.seen.insert(place(key), read.as_ref().map(copy));
                Ok(read)
            }
            // Not through the transaction that writes: it does not notice.
            Defect::AllowsWriteSkew if !is_own => now(self.snapshot.get(call, key)),
            _ => now(self.inner().get(call, key)),
        }
    }

    /// Writes at once, and notes what to take back.
    fn write_live(&self, call: &CallContext<'_>, key: Key<'_>, value: Option<&[u8]>) -> Result<()> {
        let before = self.mutant.now(call, key)?.map(|record| record.value().to_vec());
        lock(&self.state).undo.push((place(key), before));
        self.set(call, &place(key), value)
    }

    fn set(&self, call: &CallContext<'_>, (keyspace, key): &Place, value: Option<&[u8]>) -> Result<()> {
        let key = Key::new(keyspace, key);
        match value {
            Some(value) => now(self.mutant.inner.put(call, Put::new(key, value))).map(drop),
            None => now(self.mutant.inner.delete(call, Delete::new(key))).map(drop),
        }
    }

    fn commit_own(&self, call: &CallContext<'_>) -> Result<Committed> {
        let written = std::mem::take(&mut lock(&self.state).written);
        let mut committed = Vec::new();
        for (place, value) in &written {
            self.set(call, place, value.as_deref())?;
            if value.is_some() {
                let version =
                    self.mutant.now(call, Key::new(&place.0, &place.1))?.map(|record| record.version());
                committed.push(CommittedKey::new(
                    &place.0,
                    place.1.clone(),
                    version.unwrap_or(Version::numbered(11, 2)),
                ));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(committed.into_iter().collect())
    }

    fn undo(&self) {
        let undo = std::mem::take(&mut lock(&self.state).undo);
        for (place, before) in undo.iter().rev() {
            // Readers may have seen the writes already: that is the defect.
            let _unheard = self.set(&CallContext::background(), place, before.as_deref());
        }
    }
}

impl<B: Backend> Transaction for MutantTransaction<B> {
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::ready(self.read(call, key))
    }

    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        let written = || lock(&self.state).written.insert(place(put.key()), Some(put.value().to_vec()));
        if self.keeps_writes() {
            let current = self.read(call, put.key()).map(|record| record.map(|record| record.version()));
            return Reply::ready(current.and_then(|current| check_condition(put.condition(), current)).map(
                |()| {
                    written();
                },
            ));
        }
        written();
        if self.is(&[Defect::WritesBeforeCommit]) {
            return Reply::ready(self.write_live(call, put.key(), Some(put.value())));
        }
        self.inner().put(call, put)
    }

    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let existed = match self.read(call, delete.key()) {
            Ok(record) => record.is_some(),
            Err(error) => return Reply::ready(Err(error)),
        };
        lock(&self.state).written.insert(place(delete.key()), None);
        if self.keeps_writes() {
            return Reply::ready(Ok(existed));
        }
        if self.is(&[Defect::WritesBeforeCommit]) {
            return Reply::ready(self.write_live(call, delete.key(), None).map(|()| existed));
        }
        self.inner().delete(call, delete)
    }

    fn scan(&self, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        if self.is(&[Defect::SnapshotIsLive]) {
            return self.mutant.inner.scan(call, plan);
        }
        if self.is(&[
            Defect::AllowsPhantoms,
            Defect::ScanMissesOwnWrites,
            Defect::LosesUpdates,
            Defect::AllowsWriteSkew,
        ]) {
            return self.snapshot.scan(call, plan);
        }
        self.inner().scan(call, plan)
    }

    fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed> {
        lock(&self.state).is_ended = true;
        self.mutant.leaked.store(0, Ordering::Release);
        if self.keeps_writes() {
            return Reply::ready(self.commit_own(call));
        }
        if self.is(&[Defect::WritesBeforeCommit]) {
            lock(&self.state).undo.clear();
            return Reply::ready(Ok(Committed::default()));
        }
        let committed = {
            let _turn = lock(&self.mutant.turn);
            now(self.inner().commit(call, write_id))
        };
        Reply::ready(match self.mutant.defect {
            Defect::ConflictIsInternal => {
                committed.map_err(|error| Error::new(ErrorCode::INTERNAL, error.message()))
            }
            Defect::CommitAnswersOtherVersions => committed.map(|committed| {
                let wrong = |key: &CommittedKey| {
                    CommittedKey::new(key.keyspace(), key.key().to_vec(), Version::numbered(11, 3))
                };
                committed.keys().iter().map(wrong).collect()
            }),
            _ => committed,
        })
    }

    fn rollback(&self, call: &CallContext<'_>) -> Reply<()> {
        lock(&self.state).is_ended = true;
        self.mutant.leaked.store(0, Ordering::Release);
        self.undo();
        self.inner().rollback(call)
    }
}

impl<B: Backend> Drop for MutantTransaction<B> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if lock(&self.state).is_ended {
            return;
        }
        self.undo();
        if self.mutant.defect == Defect::DropCommits && !self.read_only {
            // What was dropped is done.
            let _unheard = now(inner.commit(&CallContext::background(), WriteId::default()));
        }
    }
}
