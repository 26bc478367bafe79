//! A backend with a defect: its state, and what its parts share.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use keyway_sdk::{
    AbiBytes, Backend, CallContext, Condition, Key, OpenContext, Put, Record, Reply, Result, Version,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

use crate::defect::Defect;

/// The defect, and the configuration of what has it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config<C> {
    /// What is wrong.
    #[serde(default)]
    pub defect: Defect,
    /// The settings of the backend beneath.
    pub base: C,
}

/// A backend with a defect.
pub struct Mutant<B: Backend> {
    pub(crate) inner: Arc<B>,
    pub(crate) defect: Defect,
    pub(crate) context: OpenContext,
    /// Writes so far.
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    /// Places that were taken and never given back.
    pub(crate) leaked: Arc<AtomicU64>,
    /// Whether a write goes on.
    pub(crate) is_writing: AtomicBool,
    /// The mutant's own versions by keyspace and key: the one that it answers, and the one beneath.
    pub(crate) versions: Mutex<HashMap<Place, (Version, Version)>>,
    /// What was there before the last write.
    pub(crate) before: Mutex<BTreeMap<Place, Record>>,
    /// Held while the two transactions of a mutant's begin, and while one commits, so that both see the same
    /// state.
    pub(crate) turn: Mutex<()>,
    /// What the last call was about; shared by all threads, which is the defect.
    pub(crate) current: Mutex<Vec<u8>>,
}

pub(crate) type Place = (String, Vec<u8>);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn place(key: Key<'_>) -> Place {
    (key.keyspace().to_owned(), key.bytes().to_vec())
}

/// A copy of a record.
pub(crate) fn copy(record: &Record) -> Record {
    Record::new(AbiBytes::copy_from_slice(record.value()), record.version())
        .with_expiry(record.expires_at_ms())
}

impl<B: Backend> Mutant<B> {
    pub(crate) fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// The place that a key is kept at.
    pub(crate) fn kept_at(&self, key: Key<'_>) -> Place {
        let (mut keyspace, mut bytes) = place(key);
        match self.defect {
            Defect::FoldsCase => bytes.make_ascii_lowercase(),
            Defect::TrimsTrailingBlanks => bytes.truncate(bytes.trim_ascii_end().len()),
            Defect::KeyEndsAtNul => {
                bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()))
            }
            Defect::KeyIsCutOff => bytes.truncate(255),
            Defect::FoldsKeyspaces => keyspace.make_ascii_lowercase(),
            Defect::JoinsKeyspaceAndKey => {
                bytes = [keyspace.as_bytes(), &bytes].concat();
                "joined".clone_into(&mut keyspace);
            }
            _ => {}
        }
        (keyspace, bytes)
    }

    pub(crate) fn value<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let nul = value.iter().position(|byte| *byte == 0);
        match (self.defect, nul) {
            (Defect::ValueEndsAtNul, Some(at)) => value.get(..at).unwrap_or(value),
            _ => value,
        }
    }

    /// What a reader is told of a record.
    pub(crate) fn told(&self, key: &Place, record: Record) -> Option<Record> {
        match self.defect {
            Defect::EmptyValueIsAbsent if record.value().is_empty() => None,
            Defect::VersionIsDigest => {
                let version = digest(record.value());
                Some(Record::new(AbiBytes::copy_from_slice(record.value()), version))
            }
            Defect::VersionRestartsAfterDelete | Defect::VersionRestartsAtOpen => {
                let told = lock(&self.versions).get(key).map_or(record.version(), |(told, _)| *told);
                Some(Record::new(AbiBytes::copy_from_slice(record.value()), told))
            }
            _ => Some(record),
        }
    }

    /// The condition for the store beneath, if the mutant has its own versions.
    pub(crate) fn beneath(&self, key: &Place, condition: Condition) -> Condition {
        match (condition, lock(&self.versions).get(key)) {
            (Condition::Version(wanted), Some((told, beneath))) if wanted == *told => {
                Condition::Version(*beneath)
            }
            (condition, _) => condition,
        }
    }

    /// The version that a writer is told.
    pub(crate) fn tell(&self, key: Place, value: &[u8], beneath: Version) -> Version {
        let mut versions = lock(&self.versions);
        let told = match self.defect {
            Defect::VersionIsDigest => digest(value),
            Defect::VersionRestartsAfterDelete => {
                let count = versions.get(&key).map_or(0, |(told, _)| number(*told));
                Version::numbered(7, count + 1)
            }
            Defect::VersionRestartsAtOpen => Version::numbered(7, self.writes.load(Ordering::Relaxed)),
            _ => return beneath,
        };
        versions.insert(key, (told, beneath));
        told
    }

    /// Keeps what was there before a write, for readers of the past.
    pub(crate) fn remember(&self, key: Key<'_>, before: Option<Record>) {
        if let Some(before) = before {
            lock(&self.before).insert(place(key), before);
        }
    }

    /// The record beneath, waited for.
    pub(crate) fn now(&self, call: &CallContext<'_>, key: Key<'_>) -> Result<Option<Record>> {
        now(self.inner.get(call, key))
    }
}

/// Waits for a reply on this thread. The backend beneath has its own threads, or answers at once.
pub(crate) fn now<T>(reply: Reply<T>) -> Result<T> {
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(reply.wait());
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

pub(crate) fn digest(value: &[u8]) -> Version {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Version::numbered(8, hasher.finish())
}

/// What [`Version::numbered`] has put into its last bytes.
pub(crate) fn number(version: Version) -> u64 {
    let bytes = version.as_bytes();
    bytes.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
}

impl<B: Backend> Mutant<B> {
    pub(crate) fn put_beneath(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let kept = self.kept_at(put.key());
        let condition = self.beneath(&kept, put.condition());
        let expiry = if self.is(Defect::ForgetsExpiry) { None } else { put.expires_at_ms() };
        let value = self.value(put.value()).to_vec();
        let beneath = Put::new(Key::new(&kept.0, &kept.1), &value)
            .when(condition)
            .expiring_at_ms(expiry.unwrap_or(0))
            .with_write_id(put.write_id());
        let reply = self.inner.put(call, beneath);
        let (this, key) = (Arc::clone(self), kept.clone());
        reply.map(move |version| this.tell(key, &value, version))
    }
}
