//! Optimistic transactions: work on a snapshot, and at commit see whether anything that was read has changed.
//!
//! A snapshot with every read validated under the lock that publishes the writes is serializable.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use keyway_sdk::{
    Begin, Bytes, CallContext, Committed, CommittedKey, Delete, Error, ErrorCode, Key, Page, Put, Record,
    Reply, Result, Transaction, Version, WriteId, backend::check_condition, paging::ScanPlan,
};

use crate::{
    client::{Entry, Map},
    state::{Shared, State},
};

/// Versions of own writes before the commit: in an incarnation that no store has.
const UNCOMMITTED: u64 = 0;

pub(crate) struct MemoryTransaction {
    shared: Arc<Shared>,
    read_only: bool,
    work: Mutex<Work>,
}

struct Work {
    base: Map,
    /// The snapshot with own writes in it.
    view: Map,
    writes: BTreeMap<(String, Bytes), Option<Written>>,
    reads: Vec<Read>,
    last_version: u64,
}

struct Written {
    value: Bytes,
    expires_at_ms: Option<u64>,
}

/// What was read, and so must still be true at commit.
enum Read {
    One { keyspace: String, key: Bytes },
    Range { keyspace: String, lower: Vec<u8>, upper: Option<Vec<u8>> },
}

impl MemoryTransaction {
    pub(crate) fn begin(shared: Arc<Shared>, begin: Begin) -> Self {
        let base = shared.read().map.frozen_at_now();
        let work = Work {
            view: base.clone(),
            base,
            writes: BTreeMap::new(),
            reads: Vec::new(),
            last_version: transaction_number(),
        };
        Self { shared, read_only: begin.read_only, work: Mutex::new(work) }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_now(&self) -> Result<Committed> {
        let work = self.work();
        if self.read_only || work.writes.is_empty() {
            return Ok(Committed::default());
        }
        let mut state = self.shared.write();
        if work.reads.iter().any(|read| !read.still_holds(&work.base, &state.map)) {
            return Err(Error::new(ErrorCode::CONFLICT, "something that the transaction read has changed"));
        }
        let growth = work.writes.iter().map(|((keyspace, key), written)| {
            state.map.look(keyspace, key, written.as_ref().map(|written| written.value.len())).growth
        });
        self.shared.check_room(&state, growth.sum())?;
        let committed = work.writes.iter().filter_map(|((keyspace, key), written)| {
            self.publish(&mut state, keyspace, key, written.as_ref())
        });
        Ok(committed.collect())
    }

    fn publish(
        &self,
        state: &mut State,
        keyspace: &str,
        key: &Bytes,
        written: Option<&Written>,
    ) -> Option<CommittedKey> {
        let Some(written) = written else {
            state.map.delete(keyspace, key);
            return None;
        };
        let version = self.shared.next_version(state);
        state.map.put(keyspace, key, Entry::new(written.value.clone(), version, written.expires_at_ms));
        Some(CommittedKey::new(keyspace, key.clone(), version))
    }
}

/// The first half of a number: no two transactions share it, so that no own version is seen twice.
fn transaction_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 24
}

impl Work {
    fn next_version(&mut self) -> Version {
        self.last_version += 1;
        Version::numbered(UNCOMMITTED, self.last_version)
    }

    fn read(&mut self, key: Key<'_>) -> Option<&Entry> {
        let read =
            Read::One { keyspace: key.keyspace().to_owned(), key: Bytes::copy_from_slice(key.bytes()) };
        self.reads.push(read);
        self.view.get(key.keyspace(), key.bytes())
    }

    fn put(&mut self, put: Put<'_>) -> Result<()> {
        let key = put.key();
        check_condition(put.condition(), self.read(key).map(Entry::version))?;
        let value = Bytes::copy_from_slice(put.value());
        let version = self.next_version();
        self.view.put(key.keyspace(), key.bytes(), Entry::new(value.clone(), version, put.expires_at_ms()));
        let written = Written { value, expires_at_ms: put.expires_at_ms() };
        self.writes.insert((key.keyspace().to_owned(), Bytes::copy_from_slice(key.bytes())), Some(written));
        Ok(())
    }

    fn delete(&mut self, delete: Delete<'_>) -> Result<bool> {
        let key = delete.key();
        check_condition(delete.condition(), self.read(key).map(Entry::version))?;
        let existed = self.view.delete(key.keyspace(), key.bytes());
        self.writes.insert((key.keyspace().to_owned(), Bytes::copy_from_slice(key.bytes())), None);
        Ok(existed)
    }

    fn scan(&mut self, plan: ScanPlan<'_>) -> Page {
        let page = self.view.scan(plan.clone());
        let (mut lower, mut upper) = (plan.lower().to_vec(), plan.upper().map(<[u8]>::to_vec));
        // The scan has not read the keys after the page's end.
        if let Some(position) = page.cursor() {
            if plan.is_reverse() {
                lower = position.to_vec();
            } else {
                upper = Some(position.to_vec());
            }
        }
        self.reads.push(Read::Range { keyspace: plan.keyspace().to_owned(), lower, upper });
        page
    }
}

impl Read {
    fn still_holds(&self, base: &Map, now: &Map) -> bool {
        match self {
            Self::One { keyspace, key } => {
                base.get(keyspace, key).map(Entry::version) == now.get(keyspace, key).map(Entry::version)
            }
            Self::Range { keyspace, lower, upper } => {
                let upper = upper.as_deref();
                base.versions(keyspace, lower, upper).eq(now.versions(keyspace, lower, upper))
            }
        }
    }
}

impl Transaction for MemoryTransaction {
    fn get(&self, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::ready(Ok(self.work().read(key).map(Entry::record)))
    }

    fn put(&self, _call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        Reply::ready(self.work().put(put))
    }

    fn delete(&self, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::ready(self.work().delete(delete))
    }

    fn scan(&self, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        Reply::ready(Ok(self.work().scan(plan)))
    }

    fn commit(&self, _call: &CallContext<'_>, _write_id: WriteId) -> Reply<Committed> {
        Reply::ready(self.commit_now())
    }

    fn rollback(&self, _call: &CallContext<'_>) -> Reply<()> {
        Reply::ready(Ok(()))
    }
}
