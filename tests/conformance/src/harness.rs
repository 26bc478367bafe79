//! What a case works with: an open backend, a keyspace of its own, and a way to say what broke.

use std::{fmt, sync::Arc};

use futures_executor::block_on;
use keyway_loader::{
    Begin, CallContext, Capabilities, Condition, Delete, Error, ErrorCode, Generation, Isolation, Key,
    Outcome, Page, Put, Record, Reply, Scan, Store, Transaction, Version,
};

/// A broken promise.
#[derive(Debug)]
pub struct Broken(pub(crate) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(format!("an operation that must succeed failed: {error}"))
    }
}

/// The result of a case.
pub(crate) type Outcomes = Result<(), Broken>;

/// Breaks the case unless the promise holds.
macro_rules! promise {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::Broken(format!($($text)+)));
        }
    };
}
pub(crate) use promise;

/// An open backend and a keyspace that no other case uses.
pub struct Harness {
    backend: Arc<Generation>,
    keyspace: String,
}

impl Harness {
    pub(crate) fn new(backend: Generation) -> Self {
        Self { backend: Arc::new(backend), keyspace: String::new() }
    }

    pub(crate) fn in_keyspace_of(&self, case: &str) -> Self {
        Self { backend: Arc::clone(&self.backend), keyspace: case.to_owned() }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &**self.backend
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.store().capabilities()
    }

    pub(crate) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    pub(crate) fn key<'a>(&'a self, key: &'a [u8]) -> Key<'a> {
        Key::new(&self.keyspace, key)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Record>, Error> {
        wait(self.store().get(&call(), self.key(key)))
    }

    /// The value of a key that must exist.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Vec<u8>, Broken> {
        match self.get(key)? {
            Some(record) => Ok(record.value().to_vec()),
            None => Err(Broken(format!("the key {} is missing", key.escape_ascii()))),
        }
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        self.put_when(key, value, Condition::Any)
    }

    pub(crate) fn put_when(&self, key: &[u8], value: &[u8], condition: Condition) -> Result<Version, Error> {
        wait(self.store().put(&call(), Put::new(self.key(key), value).when(condition)))
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        wait(self.store().delete(&call(), Delete::new(self.key(key))))
    }

    pub(crate) fn scan(&self, scan: Scan<'_>) -> Result<Page, Error> {
        wait(self.store().scan(&call(), scan))
    }

    pub(crate) fn begin(&self, isolation: Isolation) -> Result<Box<dyn Transaction>, Error> {
        wait(self.store().begin(&call(), Begin { isolation, read_only: false }))
    }

    pub(crate) fn begin_read_only(&self, isolation: Isolation) -> Result<Box<dyn Transaction>, Error> {
        wait(self.store().begin(&call(), Begin { isolation, read_only: true }))
    }
}

/// A call that no request made.
pub(crate) fn call() -> CallContext<'static> {
    CallContext::background()
}

/// Waits for a reply on this thread.
pub(crate) fn wait<T>(reply: Reply<T>) -> Result<T, Error> {
    block_on(reply)
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
