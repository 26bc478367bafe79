//! The single operations of a backend with a defect.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use keyway_sdk::{
    AbiBytes, Backend, BackupStream, Batch, BatchResult, Begin, CallContext, Capabilities, Condition, Delete,
    DropKeyspace, Durability, Error, ErrorCode, Features, Health, Key, OpenContext, Page, PluginInfo, Put,
    Record, Records, Reply, RestoreMode, RestoreSink, Result, Sharing, Transaction, Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

use crate::{
    batches,
    defect::Defect,
    pages,
    streams::{LiveBackup, RestoreInPlace},
    transactions::MutantTransaction,
    writes,
};

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
    context: OpenContext,
    /// Writes so far.
    writes: AtomicU64,
    reads: AtomicU64,
    /// Places that were taken and never given back.
    pub(crate) leaked: Arc<AtomicU64>,
    /// Whether a write goes on.
    pub(crate) is_writing: AtomicBool,
    /// The mutant's own versions by keyspace and key: the one that it answers, and the one beneath.
    versions: Mutex<HashMap<Place, (Version, Version)>>,
    /// What was there before the last write.
    before: Mutex<BTreeMap<Place, Record>>,
    /// Held while the two transactions of a mutant's begin, and while one commits, so that both see the same state.
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
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// The place that a key is kept at.
    fn kept_at(&self, key: Key<'_>) -> Place {
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

    fn value<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let nul = value.iter().position(|byte| *byte == 0);
        match (self.defect, nul) {
            (Defect::ValueEndsAtNul, Some(at)) => value.get(..at).unwrap_or(value),
            _ => value,
        }
    }

    /// What a reader is told of a record.
    fn told(&self, key: &Place, record: Record) -> Option<Record> {
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
    fn beneath(&self, key: &Place, condition: Condition) -> Condition {
        match (condition, lock(&self.versions).get(key)) {
            (Condition::Version(wanted), Some((told, beneath))) if wanted == *told => {
                Condition::Version(*beneath)
            }
            (condition, _) => condition,
        }
    }

    /// The version that a writer is told.
    fn tell(&self, key: Place, value: &[u8], beneath: Version) -> Version {
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

fn digest(value: &[u8]) -> Version {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Version::numbered(8, hasher.finish())
}

/// What [`Version::numbered`] has put into its last bytes.
fn number(version: Version) -> u64 {
    let bytes = version.as_bytes();
    bytes.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
}

impl<B: Backend> Mutant<B> {
    fn put_beneath(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
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

impl<B: Backend> Backend for Mutant<B> {
    type Config = Config<B::Config>;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "mutant",
        config_schema: r#"{"type":"object"}"#,
        capabilities: Capabilities {
            durability: Durability::POWER_LOSS,
            sharing: Sharing::MANY_HOSTS,
            features: B::PLUGIN.capabilities.features.union(Features::DETECTS_REWIND),
            ..B::PLUGIN.capabilities
        },
        ..B::PLUGIN
    };

    fn open(config: Self::Config, context: OpenContext) -> Reply<Self> {
        let Config { defect, base } = config;
        B::open(base, context.clone()).map(move |inner| Self {
            inner: Arc::new(inner),
            defect,
            context,
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            leaked: Arc::default(),
            is_writing: AtomicBool::new(false),
            versions: Mutex::default(),
            before: Mutex::default(),
            turn: Mutex::default(),
            current: Mutex::default(),
        })
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = self.inner.capabilities();
        match self.defect {
            Defect::ClaimsToDetectRewind => Capabilities {
                features: capabilities.features.union(Features::DETECTS_REWIND),
                ..capabilities
            },
            Defect::ClaimsManyHosts => Capabilities { sharing: Sharing::MANY_HOSTS, ..capabilities },
            Defect::ClaimsDurability => {
                Capabilities { durability: Durability::PROCESS_CRASH, ..capabilities }
            }
            _ => capabilities,
        }
    }

    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        match self.defect {
            Defect::Aborts => std::process::abort(),
            Defect::Hangs => return Reply::pending(std::future::pending()),
            Defect::StaleReads if self.reads.fetch_add(1, Ordering::Relaxed) % 50 == 49 => {
                let before = lock(&self.before).get(&place(key)).map(copy);
                return Reply::ready(Ok(before));
            }
            Defect::InlineGetIsPending => {
                let reply = self.inner.get(call, key);
                return Reply::pending(reply.wait());
            }
            _ => {}
        }
        let kept = self.kept_at(key);
        let reply = self.inner.get(call, Key::new(&kept.0, &kept.1));
        let this = Arc::clone(self);
        reply.map(move |record| record.and_then(|record| this.told(&kept, record)))
    }

    fn get_many(self: &Arc<Self>, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let mut keys = keys.to_vec();
        if self.is(Defect::GetManySorts) {
            keys.sort_by(|one, other| one.bytes().cmp(other.bytes()));
        }
        let mut records = Records::with_capacity(keys.len());
        for key in keys {
            match now(self.get(call, key)) {
                Ok(record) => records.push(record),
                Err(error) => return Reply::ready(Err(error)),
            }
        }
        Reply::ready(Ok(records))
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let count = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        writes::put(self, call, put, count).unwrap_or_else(|| self.put_beneath(call, put))
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let kept = self.kept_at(delete.key());
        if self.is(Defect::StaleReads) {
            self.remember(delete.key(), self.now(call, delete.key()).ok().flatten());
        }
        let condition = match self.defect {
            Defect::DeleteIgnoresCondition => Condition::Any,
            _ => self.beneath(&kept, delete.condition()),
        };
        let beneath =
            Delete::new(Key::new(&kept.0, &kept.1)).when(condition).with_write_id(delete.write_id());
        let reply = self.inner.delete(call, beneath);
        let this = Arc::clone(self);
        reply.map(move |existed| {
            lock(&this.versions).remove(&kept);
            existed || this.defect == Defect::DeleteSaysExisted
        })
    }

    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let skips = self.is(Defect::ScanSkipsUnderChurn) && self.is_writing.load(Ordering::Acquire);
        let shape = pages::Shape::of(self.defect, &plan, skips);
        match pages::altered(self.defect, &plan) {
            Some(other) => {
                self.inner.scan(call, ScanPlan::new(&other.scan(), None)).map(move |page| shape.apply(page))
            }
            None => self.inner.scan(call, plan).map(move |page| shape.apply(page)),
        }
    }

    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        match batches::apply(self, call, &batch) {
            Some(result) => Reply::ready(result),
            None => self.inner.apply(call, batch),
        }
    }

    fn begin(self: &Arc<Self>, call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        if self.is(Defect::LeaksALock) && self.leaked.load(Ordering::Acquire) > 0 {
            return Reply::ready(Err(Error::new(ErrorCode::CONFLICT, "a transaction holds the lock")));
        }
        if !MutantTransaction::<B>::concerns(self.defect) {
            return self.inner.begin(call, begin);
        }
        Reply::ready(
            MutantTransaction::begin(self, call, begin)
                .map(|transaction| Box::new(transaction) as Box<dyn Transaction>),
        )
    }

    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let (defect, is_first) = (self.defect, after.is_empty());
        self.inner.keyspaces(call, after).map(move |mut names| {
            match defect {
                Defect::ListsUnsorted => names.reverse(),
                Defect::ListsAPage if is_first => names.truncate(100),
                Defect::ListsAPage => names.clear(),
                _ => {}
            }
            names
        })
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let kept = self.is(Defect::DropKeepsOne).then(|| self.now(call, Key::new(drop.name(), b"l")));
        let name =
            if self.is(Defect::FoldsKeyspaces) { drop.name().to_lowercase() } else { drop.name().to_owned() };
        let dropped = now(self.inner.drop_keyspace(call, DropKeyspace::new(&name, drop.write_id())));
        if let Some(Ok(Some(record))) = kept {
            // One stays.
            let _unheard = now(self.inner.put(call, Put::new(Key::new(drop.name(), b"l"), record.value())));
        }
        Reply::ready(dropped)
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        if self.is(Defect::HealthLies) {
            return Reply::ready(Ok(Health::ok(1)));
        }
        self.inner.health(call)
    }

    fn backup(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        if self.is(Defect::BackupIsFuzzy) {
            let this = Arc::clone(self);
            return Reply::ready(Ok(Box::new(LiveBackup::new(move || {
                now(this.inner.backup(&CallContext::background()))
            }))));
        }
        self.inner.backup(call)
    }

    fn restore(self: &Arc<Self>, call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        match self.defect {
            Defect::RestoresInPlace | Defect::RestoreKeepsOld => {
                let at_once = self.is(Defect::RestoresInPlace);
                Reply::ready(
                    RestoreInPlace::begin(&self.inner, mode, at_once)
                        .map(|sink| Box::new(sink) as Box<dyn RestoreSink>),
                )
            }
            _ => self.inner.restore(call, mode),
        }
    }

    fn upgrade(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<u32> {
        let defect = self.defect;
        self.inner
            .upgrade(call)
            .map(move |format| if defect == Defect::UpgradeAnswersNonsense { format + 1 } else { format })
    }

    fn extension(self: &Arc<Self>, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        if self.is(Defect::UnknownExtensionAnswers) {
            return Reply::ready(Ok(AbiBytes::copy_from_slice(b"")));
        }
        self.inner.extension(call, name, request)
    }

    fn shutdown(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<()> {
        match self.defect {
            Defect::LeaksMemoryAtClose => std::mem::forget(vec![1_u8; 64 * 1024]),
            Defect::LeaksAFileAtClose => std::mem::forget(File::open(self.context.data_dir())),
            _ => {}
        }
        self.inner.shutdown(call)
    }
}
