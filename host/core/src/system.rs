//! The system's own records: plain data, sealed like secrets, in the system's keyspace. Tokens, policies and
//! roles lie here; what they mean, their modules know.

use keyway_crypto::{
    envelope::{OpenError, RecordKind, key_number},
    keyring::Record,
};
use keyway_loader::{Condition, Delete, Key, Op, Put, Scan, Version};
use keyway_storage::{SYSTEM_KEYSPACE, StorageError, Work, epoch, prefetch::Prefetched};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::barrier::{Barrier, BarrierError, Resealed};

/// How often a change that loses races is tried.
const ATTEMPTS: u32 = 256;

/// Why a record could not be read or written.
#[derive(Debug, Error)]
pub enum SystemError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The keys.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// It is not what was written.
    #[error("the system's record {key:?} cannot be opened: {reason}")]
    Unopenable {
        /// Its key.
        key: String,
        /// Why.
        reason: OpenError,
    },
    /// Other writers were faster each time.
    #[error("too many changes of one record at the same time; nothing was changed")]
    Contended,
}

impl SystemError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_transient(),
            Self::Barrier(_) => true,
            Self::Unopenable { .. } | Self::Contended => false,
        }
    }
}

/// The system's records, for one request.
#[derive(Clone, Copy)]
pub struct Records<'a> {
    barrier: &'a Barrier,
    work: &'a Work,
    /// What was read already.
    prefetched: Option<&'a Prefetched>,
    /// Whether hosts cache the records, so that each write must change the epoch.
    is_kept_by_hosts: bool,
}

/// A record as it is in the store.
#[derive(Debug)]
pub struct StoredRecord<T> {
    /// What it says.
    pub value: T,
    /// Which writing of it this is.
    pub version: Version,
}

/// One record that is to be written.
pub struct New<'a, T> {
    /// What kind of record.
    pub kind: RecordKind,
    /// Its key.
    pub key: &'a [u8],
    /// What it says.
    pub value: &'a T,
}

/// The next state of a record.
pub enum Next<T> {
    /// It stays as it is.
    Keep,
    /// It is this from now on.
    Put(T),
    /// It is gone.
    Remove,
}

impl<'a> Records<'a> {
    /// The records that this barrier seals.
    pub fn new(barrier: &'a Barrier, work: &'a Work) -> Self {
        Self { barrier, work, prefetched: None, is_kept_by_hosts: false }
    }

    /// What was prefetched is not read again.
    #[must_use]
    pub fn with_prefetched(self, prefetched: &'a Prefetched) -> Self {
        Self { prefetched: Some(prefetched), ..self }
    }

    /// Records that hosts cache: each change of one changes the epoch too, so that all hosts read it again.
    #[must_use]
    pub(crate) fn kept_by_hosts(self) -> Self {
        Self { is_kept_by_hosts: true, ..self }
    }

    /// The record of a key.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Barrier` or `Unopenable` if the record does not open.
    pub async fn get<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        key: &[u8],
    ) -> Result<Option<StoredRecord<T>>, SystemError> {
        let place = Key::new(SYSTEM_KEYSPACE, key);
        match self.barrier.system().get_or_prefetched(self.work, place, self.prefetched).await?.record() {
            None => Ok(None),
            Some(stored) => Ok(Some(self.open(kind, key, stored).await?)),
        }
    }

    /// The records of several keys, in their order.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Barrier` or `Unopenable` if a record does not open.
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<StoredRecord<T>>>, SystemError> {
        let wanted: Vec<Key<'_>> = keys.iter().map(|key| Key::new(SYSTEM_KEYSPACE, key)).collect();
        let prefetched: Option<Vec<_>> = self
            .prefetched
            .and_then(|prefetched| wanted.iter().map(|place| prefetched.get(*place)).collect());
        let read;
        let stored: Vec<Option<&keyway_loader::Record>> = match prefetched {
            Some(stored) => stored,
            None => {
                read = self.barrier.system().get_many(self.work, &wanted).await?;
                read.iter().map(Option::as_ref).collect()
            }
        };
        let mut held = Vec::with_capacity(stored.len());
        for (key, stored) in keys.iter().zip(stored) {
            held.push(match stored {
                None => None,
                Some(stored) => Some(self.open(kind, key, stored).await?),
            });
        }
        Ok(held)
    }

    /// Writes a record, and finds out what has become of it if the store does not know.
    ///
    /// # Errors
    ///
    /// `Storage`, as a lost race if the condition does not hold; `Barrier` if the record cannot be sealed.
    pub async fn put<T: Serialize>(
        &self,
        new: &New<'_, T>,
        condition: Condition,
    ) -> Result<Version, SystemError> {
        let sealed = self.seal(new).await?;
        let put = Put::new(Key::new(SYSTEM_KEYSPACE, new.key), &sealed).when(condition);
        let system = self.barrier.system();
        Ok(if self.is_kept_by_hosts {
            epoch::put(system, self.work, put).await?
        } else {
            system.put_settled(self.work, put).await?
        })
    }

    /// Writes a record to which another refers that is new: first that one, then, and only if there is none
    /// yet, the other; both at once if the store can.
    ///
    /// # Errors
    ///
    /// `Storage`, as a lost race if the second record exists; `Barrier` if a record cannot be sealed.
    pub(crate) async fn put_both<A: Serialize, B: Serialize>(
        &self,
        before: &New<'_, A>,
        point: &New<'_, B>,
    ) -> Result<(), SystemError> {
        let (first, second) = (self.seal(before).await?, self.seal(point).await?);
        let before = Op::put(Key::new(SYSTEM_KEYSPACE, before.key), &first);
        let point = Put::new(Key::new(SYSTEM_KEYSPACE, point.key), &second).when(Condition::Absent);
        match self.barrier.system().commit(self.work, &[before], point).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_unknown() => {
                // Written again it is the same.
                let again = self.barrier.system().commit(self.work, &[before], point).await;
                let stored = self.barrier.system().get(self.work, point.key()).await?;
                match stored {
                    Some(stored) if stored.value() == point.value() => Ok(()),
                    _ => Err(again.err().unwrap_or(error).into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a record by its present value, and again after each lost race. Answers the result of `edit`.
    ///
    /// # Errors
    ///
    /// What `edit` returns; `Contended` if others are faster each time; `Storage` if the store cannot be read
    /// or written; `Barrier` or `Unopenable` if the record does not open or cannot be sealed.
    pub async fn change<T: Serialize + DeserializeOwned, R, E: From<SystemError>>(
        &self,
        kind: RecordKind,
        key: &[u8],
        edit: impl Fn(Option<T>) -> Result<(Next<T>, R), E>,
    ) -> Result<R, E> {
        for _ in 0..ATTEMPTS {
            let held = self.get::<T>(kind, key).await?;
            let version = held.as_ref().map(|held| held.version);
            let (next, result) = edit(held.map(|held| held.value))?;
            let condition = version.map_or(Condition::Absent, Condition::Version);
            let changed = match next {
                Next::Keep => return Ok(result),
                Next::Put(value) => self.put(&New { kind, key, value: &value }, condition).await.map(|_| ()),
                Next::Remove => match version {
                    None => return Ok(result),
                    Some(version) => self.remove_when(key, Condition::Version(version)).await,
                },
            };
            match changed {
                Ok(()) => return Ok(result),
                Err(SystemError::Storage(error)) if error.is_lost_race() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(SystemError::Contended.into())
    }

    /// Removes a record, whatever its value is.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn remove(&self, key: &[u8]) -> Result<(), SystemError> {
        self.remove_when(key, Condition::Any).await
    }

    async fn remove_when(&self, key: &[u8], condition: Condition) -> Result<(), SystemError> {
        let place = Key::new(SYSTEM_KEYSPACE, key);
        let system = self.barrier.system();
        let removed = if self.is_kept_by_hosts {
            epoch::delete(system, self.work, place, condition).await
        } else {
            system.delete(self.work, Delete::new(place).when(condition)).await.map(|_| ())
        };
        match removed {
            Ok(()) => Ok(()),
            // The caller need not know whether this removal or an earlier one did it.
            Err(error) if error.is_unknown() => {
                let left = self.barrier.system().get(self.work, place).await?;
                if left.is_none() { Ok(()) } else { Err(error.into()) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes several records, whatever their values are.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(crate) async fn remove_all(&self, keys: &[Vec<u8>]) -> Result<(), SystemError> {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| Key::new(SYSTEM_KEYSPACE, key)).collect();
        Ok(self.barrier.system().delete_all(self.work, &keys).await?)
    }

    /// The keys that begin like this, in order, without the beginning.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn names(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, SystemError> {
        self.scan(Scan::prefix(SYSTEM_KEYSPACE, prefix), prefix).await
    }

    /// The names on the next level below a beginning, in order; those with more below them end with a slash.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn level(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, SystemError> {
        let mut names = self.scan(Scan::prefix(SYSTEM_KEYSPACE, prefix).delimited_by(b"/"), prefix).await?;
        names.sort_unstable();
        Ok(names)
    }

    async fn scan(&self, scan: Scan<'_>, prefix: &[u8]) -> Result<Vec<Vec<u8>>, SystemError> {
        let (mut names, mut cursor) = (Vec::new(), Vec::new());
        loop {
            let page = scan.keys_only().with_max_items(Scan::MAX_PAGE_ITEMS).resuming_at(&cursor);
            let page = self.barrier.system().scan(self.work, page).await?;
            let keys = page.entries().iter().map(keyway_loader::Entry::key);
            let found = keys.chain(page.prefixes().iter().map(|prefix| &**prefix));
            names.extend(found.filter_map(|key| key.strip_prefix(prefix).map(<[u8]>::to_vec)));
            match page.cursor() {
                Some(next) => cursor = next.to_vec(),
                None => return Ok(names),
            }
        }
    }

    /// Looks at some of the system's records after the key `after`. Those that a key before `key` has sealed,
    /// it seals again with the newest key.
    ///
    /// # Errors
    ///
    /// If the store does not serve, before any record of this part was changed. A record that cannot be
    /// sealed again is counted and logged.
    pub async fn reencrypt(&self, key: u32, after: &[u8]) -> Result<Resealed, SystemError> {
        let page = self.barrier.system().keys_after(self.work, SYSTEM_KEYSPACE, b"", after).await?;
        let mut resealed = Resealed::default();
        let mut done = None;
        for name in &page.keys {
            match self.reencrypt_one(name, key).await {
                Ok(sealed) => resealed.sealed += u64::from(sealed),
                // A store that is away is no fault of the record's: what was done until then counts.
                Err(error) if error.is_transient() => {
                    return match done {
                        Some(done) => Ok(Resealed { next: Some(done), ..resealed }),
                        None => Err(error),
                    };
                }
                Err(error) => {
                    tracing::error!(%error, "a record of the system's cannot be sealed again");
                    resealed.failed += 1;
                }
            }
            resealed.seen += 1;
            done = Some(name.clone());
        }
        resealed.next = page.next;
        Ok(resealed)
    }

    async fn reencrypt_one(&self, name: &[u8], key: u32) -> Result<bool, SystemError> {
        for _ in 0..ATTEMPTS {
            let place = Key::new(SYSTEM_KEYSPACE, name);
            let Some(stored) = self.barrier.system().get(self.work, place).await? else {
                return Ok(false);
            };
            // A record that the root key has sealed has number zero, and an unsealed one has none.
            if !key_number(stored.value()).is_ok_and(|number| number > 0 && number < key) {
                return Ok(false);
            }
            let (record, value) = self.open_any(name, stored.value()).await?;
            let resealed = self.barrier.seal(self.work, &record, &value).await?;
            let put = Put::new(place, &resealed).when(Condition::Version(stored.version()));
            match self.barrier.system().put(self.work, put).await {
                Ok(_) => return Ok(true),
                // Read again: it may be done, or be another's.
                Err(error) if error.is_lost_race() || error.is_unknown() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(SystemError::Contended)
    }

    /// Opens a record of any kind: it opens as its own kind, and as no other.
    async fn open_any<'k>(
        &self,
        key: &'k [u8],
        sealed: &[u8],
    ) -> Result<(Record<'k>, Zeroizing<Vec<u8>>), SystemError> {
        for kind in RecordKind::SYSTEM {
            let record = Record::system(kind, key);
            match self.barrier.open(self.work, &record, sealed).await {
                Ok(value) => return Ok((record, value)),
                Err(BarrierError::Open(OpenError::NotAuthentic)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let key = String::from_utf8_lossy(key).into_owned();
        Err(SystemError::Unopenable { key, reason: OpenError::NotAuthentic })
    }

    async fn open<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        key: &[u8],
        stored: &keyway_loader::Record,
    ) -> Result<StoredRecord<T>, SystemError> {
        let unopenable =
            |reason| SystemError::Unopenable { key: String::from_utf8_lossy(key).into_owned(), reason };
        let opened = self.barrier.open(self.work, &Record::system(kind, key), stored.value()).await;
        let opened = opened.map_err(|error| match error {
            BarrierError::Open(reason) => unopenable(reason),
            error => error.into(),
        })?;
        let value = serde_json::from_slice(&opened).map_err(|_| unopenable(OpenError::Malformed))?;
        Ok(StoredRecord { value, version: stored.version() })
    }

    async fn seal<T: Serialize>(&self, new: &New<'_, T>) -> Result<Vec<u8>, SystemError> {
        let text = Zeroizing::new(serde_json::to_vec(new.value).expect("a system's record is plain data"));
        Ok(self.barrier.seal(self.work, &Record::system(new.kind, new.key), &text).await?)
    }
}
