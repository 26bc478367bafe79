//! The single operations of a backend with a defect.

use std::{
    fs::File,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use keyway_sdk::{
    AbiBytes, Backend, BackupStream, Batch, BatchResult, Begin, CallContext, Capabilities, Condition, Delete,
    DropKeyspace, Durability, Error, ErrorCode, Features, Health, Key, OpenContext, Page, PluginInfo, Put,
    Record, Records, Reply, RestoreMode, RestoreSink, Sharing, Transaction, Version, paging::ScanPlan,
};

use crate::{
    batches,
    defect::Defect,
    mutant::{Config, Mutant, copy, lock, now, place},
    pages,
    streams::{LiveBackup, RestoreInPlace},
    transactions::MutantTransaction,
    writes,
};

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
        match self.defect {
            Defect::BlocksItsThread => {
                let reply = self.inner.put(call, put);
                return Reply::pending(async move {
                    thread::sleep(Duration::from_millis(10));
                    reply.wait().await
                });
            }
            Defect::BlocksTheCall => thread::sleep(Duration::from_millis(10)),
            _ => {}
        }
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
