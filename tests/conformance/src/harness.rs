//! The harness of a case: an open backend, a separate keyspace, and helpers to report what broke.

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use keyway_loader::{
    Batch, BatchMode, BatchResult, Begin, Capabilities, Condition, Delete, Error, ErrorCode, Generation,
    Isolation, Key, Op, Outcome, Page, Put, Record, Scan, ScanOrder, Transaction, Version,
};

pub(crate) use crate::calls::{again_on_conflict, answered, call, wait, write_id};
use crate::{
    faults::{Faults, Unoffered},
    ground::Ground,
    process::worker::Worker,
    random::Random,
    subject::clear,
    verdict::{Effort, Outcomes, Stop},
};
pub(crate) use Stop::{Broken, Misread};

/// Breaks the case unless the promise holds, about what was read.
macro_rules! promise {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::Stop::Misread(format!($($text)+)));
        }
    };
}
pub(crate) use promise;

/// Breaks the case unless this holds, which no read of an earlier state explains: what an operation answered, what a
/// process holds.
macro_rules! certain {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::Stop::Broken(format!($($text)+)));
        }
    };
}
pub(crate) use certain;

/// A key and its value.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// More pages than any scan of a case can have.
const MAX_PAGES: usize = 200_000;
/// How long a store may take to be free again after its opener was killed: a lock may be a lease.
const FREE_AGAIN: Duration = Duration::from_secs(30);

/// An open backend and a keyspace that no other case uses.
pub struct Harness<'a> {
    ground: Ground<'a>,
    case: &'static str,
    capabilities: Capabilities,
    backend: RwLock<Option<Arc<Generation>>>,
    faults: Option<Result<Box<dyn Faults>, Unoffered>>,
}

impl<'a> Harness<'a> {
    /// With a freshly opened, empty store.
    pub(crate) fn open(ground: Ground<'a>, case: &'static str) -> Result<Self, Stop> {
        let faults = ground.subject.faults.map(|of| of(ground.data_dir));
        let backend = ground.subject.open(ground.data_dir).map_err(Broken)?;
        clear(&backend).map_err(|error| Broken(format!("clear the store: {error}")))?;
        let capabilities = backend.capabilities();
        let backend = RwLock::new(Some(Arc::new(backend)));
        Ok(Self { ground, case, capabilities, backend, faults })
    }

    /// The open backend.
    pub(crate) fn store(&self) -> Arc<Generation> {
        let backend = self.backend.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(backend.as_ref().expect("a case does not use a store that it has closed"))
    }

    /// Closes the store.
    pub(crate) fn close(&self) -> Outcomes {
        let backend = self.backend.write().unwrap_or_else(PoisonError::into_inner).take();
        match backend {
            Some(backend) => wait(backend.shutdown(&call())).map_err(Stop::from),
            None => Ok(()),
        }
    }

    /// Opens the store again. If it is open, it is closed first.
    pub(crate) fn reopen(&self) -> Outcomes {
        self.close()?;
        let opened = self.open_another()?;
        *self.backend.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(opened));
        Ok(())
    }

    /// Where the store lies, unless its settings say otherwise.
    pub(crate) fn data_dir(&self) -> &Path {
        self.ground.data_dir
    }

    /// The same store, opened once more; the text of why not.
    pub(crate) fn try_open(&self) -> Result<Generation, String> {
        self.ground.subject.open(self.ground.data_dir)
    }

    /// What can be done to the store beneath the backend. `what` is needed.
    pub(crate) fn faults(&self, what: &str) -> Result<&dyn Faults, Stop> {
        match &self.faults {
            Some(Ok(faults)) => Ok(&**faults),
            Some(Err(unoffered)) => Err(unoffered.clone().into()),
            None => Err(Stop::Unproved(format!(
                "it needs a store beneath the backend that {what}, which is not offered here"
            ))),
        }
    }

    /// Opens the same store after the process that had it open was killed.
    pub(crate) fn open_after_kill(&self) -> Result<Generation, Stop> {
        let begun = Instant::now();
        loop {
            match self.try_open() {
                Ok(store) => return Ok(store),
                Err(_) if begun.elapsed() < FREE_AGAIN => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => {
                    return Err(Broken(format!(
                        "after its process was killed the store cannot be opened: {error}"
                    )));
                }
            }
        }
    }

    /// The same store, opened once more.
    pub(crate) fn open_another(&self) -> Result<Generation, Stop> {
        self.try_open().map_err(|error| Broken(format!("the store cannot be opened again: {error}")))
    }

    /// A process that does a piece of work with the same store.
    pub(crate) fn start_worker(&self, work: &str, number: u64) -> Result<Worker, Stop> {
        let Some(program) = self.ground.program else {
            return Err(Stop::Unproved("it needs separate processes, and runs within one".into()));
        };
        Worker::start(program, &self.ground, work, number)
            .map_err(|error| Stop::Unproved(format!("start a process: {error}")))
    }

    /// How long another process may take with its part: as good as all the time that there is.
    pub(crate) fn patience(&self) -> Duration {
        self.ground.deadline.mul_f64(0.8)
    }

    /// The first number in a short run, the second in a full one.
    pub(crate) fn rounds(&self, short: usize, full: usize) -> usize {
        match self.ground.effort {
            Effort::Short => short,
            Effort::Full => full,
        }
    }

    /// Random numbers that are this case's, and differ with the seed. `stream` tells several apart.
    pub(crate) fn random(&self, stream: u64) -> Random {
        Random::named(self.ground.seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)), self.case)
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    pub(crate) fn keyspace(&self) -> &str {
        self.case
    }

    pub(crate) fn key<'k>(&self, key: &'k [u8]) -> Key<'k> {
        Key::new(self.case, key)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Record>, Error> {
        wait(self.store().get(&call(), self.key(key)))
    }

    /// The value of a key that must exist.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Vec<u8>, Stop> {
        match self.get(key)? {
            Some(record) => Ok(record.value().to_vec()),
            None => Err(Misread(format!("the key \"{}\" is missing", key.escape_ascii()))),
        }
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        self.put_when(key, value, Condition::Any)
    }

    pub(crate) fn put_when(&self, key: &[u8], value: &[u8], condition: Condition) -> Result<Version, Error> {
        let put = Put::new(self.key(key), value).when(condition).with_write_id(write_id());
        wait(self.store().put(&call(), put))
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        self.delete_when(key, Condition::Any)
    }

    pub(crate) fn delete_when(&self, key: &[u8], condition: Condition) -> Result<bool, Error> {
        let delete = Delete::new(self.key(key)).when(condition).with_write_id(write_id());
        wait(self.store().delete(&call(), delete))
    }

    pub(crate) fn scan(&self, scan: Scan<'_>) -> Result<Page, Error> {
        wait(self.store().scan(&call(), scan))
    }

    /// All entries under a prefix, with their values.
    pub(crate) fn entries(&self, prefix: &[u8]) -> Result<Vec<KeyValue>, Stop> {
        collect(&self.capabilities, Scan::prefix(self.case, prefix), |scan| self.scan(scan))
    }

    pub(crate) fn apply(&self, ops: &[Op<'_>], mode: BatchMode) -> Result<BatchResult, Error> {
        wait(self.store().apply(&call(), Batch::new(ops, mode, write_id())))
    }

    pub(crate) fn begin(&self, isolation: Isolation) -> Result<Transaction, Error> {
        wait(self.store().begin(&call(), Begin { isolation, read_only: false }))
    }

    pub(crate) fn begin_read_only(&self, isolation: Isolation) -> Result<Transaction, Error> {
        wait(self.store().begin(&call(), Begin { isolation, read_only: true }))
    }
}

/// All entries of a scan with their values, page by page; sorted if scans have no order.
pub(crate) fn collect(
    capabilities: &Capabilities,
    scan: Scan<'_>,
    mut page_of: impl FnMut(Scan<'_>) -> Result<Page, Error>,
) -> Result<Vec<KeyValue>, Stop> {
    let (mut entries, mut cursor) = (Vec::new(), Vec::new());
    for _ in 0..MAX_PAGES {
        let page = page_of(scan.resuming_at(&cursor))?;
        let of_page = page.entries().iter();
        entries.extend(of_page.map(|entry| (entry.key().to_vec(), entry.record().value().to_vec())));
        match page.cursor() {
            Some(next) => cursor = next.to_vec(),
            None => {
                if capabilities.scan_order < ScanOrder::BYTEWISE {
                    entries.sort();
                }
                return Ok(entries);
            }
        }
    }
    Err(Broken(format!("{scan:?} does not come to an end: it goes on answering cursors")))
}

/// Breaks unless `result` is an error of this code that proves that nothing was changed.
pub(crate) fn refused<T>(result: Result<T, Error>, code: ErrorCode, what: &str) -> Outcomes {
    match result {
        Ok(_) => Err(Broken(format!("{what} succeeded, and must fail with {code:?}"))),
        Err(error) if error.code() != code => {
            Err(Broken(format!("{what} failed with {error}, not with {code:?}")))
        }
        Err(error) if error.outcome() != Outcome::NOT_APPLIED => {
            Err(Broken(format!("{what} failed with an outcome that is not NotApplied: {error}")))
        }
        Err(_) => Ok(()),
    }
}
