//! LMDB in safe Rust: its environment, reading and writing transactions, and cursors.
//!
//! The C library has rules that its header states and no compiler checks. Each is kept by a type here:
//!
//! - *A file is open once in a process.* [`Environment`] holds a lock on the file until it has closed LMDB.
//! - *A writing transaction stays on its thread.* [`Write`] is not `Send`.
//! - *A reading transaction serves one thread at a time.* With `MDB_NOTLS` it may move: [`Read`] is `Send`, not `Sync`.
//! - *What a transaction returns is valid until it ends, or until the next write in it.* [`Read`] lends slices for as long
//!   as it is borrowed; [`Write`] copies.
//! - *A transaction with a child is not used meanwhile.* [`Write::child`] borrows it exclusively.
#![expect(unsafe_code, reason = "calls a C library")]

use std::{
    ffi::{CStr, CString, c_int},
    fs::{File, OpenOptions},
    io,
    marker::PhantomData,
    mem,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

use keyway_sdk::{Error, ErrorCode, Result};
use lmdb_master_sys as c;

/// Reading transactions at a time; one more is `ResourceExhausted`.
const READERS: u32 = 512;

/// An open file.
pub(crate) struct Environment {
    raw: NonNull<c::MDB_env>,
    tree: c::MDB_dbi,
    /// Locked until this is dropped, after LMDB is closed.
    _lock: File,
}

// SAFETY: LMDB locks what its threads share of an environment; its handle is not bound to a thread.
unsafe impl Send for Environment {}
// SAFETY: as above.
unsafe impl Sync for Environment {}

impl Environment {
    /// Opens a file, or makes it. It can grow to `map_bytes`.
    ///
    /// # Errors
    ///
    /// `Unavailable` if another process has it open, or this one.
    pub(crate) fn open(file: &Path, map_bytes: usize) -> Result<Arc<Self>> {
        let lock = lock(file)?;
        // LMDB names its lock file by the path, and a link has another one.
        let path = CString::new(file.canonicalize()?.as_os_str().as_bytes())
            .map_err(|_| Error::new(ErrorCode::INVALID_ARGUMENT, "the path has a zero byte"))?;
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer is to a place for the handle.
        check(unsafe { c::mdb_env_create(&mut raw) })?;
        let raw =
            NonNull::new(raw).ok_or_else(|| Error::new(ErrorCode::INTERNAL, "LMDB made no environment"))?;
        // From here on, dropping closes it, as LMDB wants even if opening fails.
        let mut environment = Self { raw, tree: 0, _lock: lock };
        // SAFETY: the handle is new and not open yet, which both functions need.
        check(unsafe { c::mdb_env_set_mapsize(raw.as_ptr(), map_bytes) })?;
        // SAFETY: as above.
        check(unsafe { c::mdb_env_set_maxreaders(raw.as_ptr(), READERS) })?;
        // SAFETY: the path ends with a zero byte. Nothing else has the file open: this holds its lock.
        check(unsafe {
            c::mdb_env_open(raw.as_ptr(), path.as_ptr(), c::MDB_NOSUBDIR | c::MDB_NOTLS, 0o600)
        })?;
        let transaction = environment.begin_raw(ptr::null_mut(), 0)?;
        // SAFETY: the transaction is live; no name means the one tree that every file has.
        let opened =
            check(unsafe { c::mdb_dbi_open(transaction.as_ptr(), ptr::null(), 0, &mut environment.tree) });
        // SAFETY: the transaction is live, and not used afterwards. Committed, the tree's handle outlives it.
        opened.and(check(unsafe { c::mdb_txn_commit(transaction.as_ptr()) }))?;
        Ok(Arc::new(environment))
    }

    /// The state of this moment.
    pub(crate) fn read(self: &Arc<Self>) -> Result<Read> {
        Ok(Read { raw: self.begin_raw(ptr::null_mut(), c::MDB_RDONLY)?, environment: Arc::clone(self) })
    }

    /// Waits for the end of the present writer, and begins to write.
    pub(crate) fn write(&self) -> Result<Write<'_>> {
        Ok(Write { raw: self.begin_raw(ptr::null_mut(), 0)?, environment: self, _parent: PhantomData })
    }

    fn begin_raw(&self, parent: *mut c::MDB_txn, flags: u32) -> Result<NonNull<c::MDB_txn>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the environment is open; the parent is none, or live and borrowed exclusively by the caller.
        check(unsafe { c::mdb_txn_begin(self.raw.as_ptr(), parent, flags, &mut raw) })?;
        NonNull::new(raw).ok_or_else(|| Error::new(ErrorCode::INTERNAL, "LMDB began no transaction"))
    }

    /// What a live transaction of this environment has under a key. The slice is valid until that ends, or writes.
    ///
    /// # Safety
    ///
    /// `transaction` is live and of this environment, and the caller ends the slice in time.
    unsafe fn get<'t>(&self, transaction: NonNull<c::MDB_txn>, key: &[u8]) -> Result<Option<&'t [u8]>> {
        let (mut key, mut value) = (lent(key), nothing());
        // SAFETY: the transaction is live, and both values are. LMDB does not write to the key.
        let code = unsafe { c::mdb_get(transaction.as_ptr(), self.tree, &mut key, &mut value) };
        if code == c::MDB_NOTFOUND {
            return Ok(None);
        }
        check(code)?;
        // SAFETY: LMDB has filled the value in; the caller ends the slice in time.
        Ok(Some(unsafe { bytes(&value) }))
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // SAFETY: transactions hold or borrow the environment, so that none is live.
        unsafe { c::mdb_env_close(self.raw.as_ptr()) }
    }
}

/// The state of one moment. It keeps old pages of the file from being used again, so it should not last.
pub(crate) struct Read {
    raw: NonNull<c::MDB_txn>,
    environment: Arc<Environment>,
}

// SAFETY: with MDB_NOTLS a reading transaction is bound to no thread. It is not Sync: one uses it at a time.
unsafe impl Send for Read {}

impl Read {
    /// The value under a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        // SAFETY: the transaction lives as long as this, which the slice borrows, and never writes.
        unsafe { self.environment.get(self.raw, key) }
    }

    /// The keys from `from` on, in order, with their values. `from` is not empty.
    pub(crate) fn forward(&self, from: Vec<u8>) -> Result<Walk<'_>> {
        self.walk(Step::From(from))
    }

    /// The keys before `before`, from the last to the first. `before` is not empty.
    pub(crate) fn backward(&self, before: Vec<u8>) -> Result<Walk<'_>> {
        self.walk(Step::Before(before))
    }

    fn walk(&self, next: Step) -> Result<Walk<'_>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the transaction is live.
        check(unsafe { c::mdb_cursor_open(self.raw.as_ptr(), self.environment.tree, &mut raw) })?;
        let raw =
            NonNull::new(raw).ok_or_else(|| Error::new(ErrorCode::INTERNAL, "LMDB opened no cursor"))?;
        Ok(Walk { raw, next, _read: PhantomData })
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        // SAFETY: the transaction is live; cursors borrow this, so that none is.
        unsafe { c::mdb_txn_abort(self.raw.as_ptr()) }
    }
}

/// Keys and values in order, as long as the state of their moment is held.
pub(crate) struct Walk<'r> {
    raw: NonNull<c::MDB_cursor>,
    next: Step,
    _read: PhantomData<&'r Read>,
}

/// How a cursor comes to its next key.
enum Step {
    From(Vec<u8>),
    Before(Vec<u8>),
    Next,
    Previous,
    End,
}

impl<'r> Walk<'r> {
    /// Moves the cursor; none if there is nothing in that direction.
    fn step(&mut self, key: &[u8], operation: c::MDB_cursor_op) -> Result<Option<(&'r [u8], &'r [u8])>> {
        let (mut key, mut value) = (lent(key), nothing());
        // SAFETY: the cursor is open and its transaction live. LMDB replaces the key, and does not write to its bytes.
        let code = unsafe { c::mdb_cursor_get(self.raw.as_ptr(), &mut key, &mut value, operation) };
        if code == c::MDB_NOTFOUND {
            return Ok(None);
        }
        check(code)?;
        // SAFETY: LMDB has filled in both; they are valid as long as the reading transaction, which 'r borrows.
        Ok(Some(unsafe { (bytes(&key), bytes(&value)) }))
    }

    fn advance(&mut self) -> Result<Option<(&'r [u8], &'r [u8])>> {
        match mem::replace(&mut self.next, Step::End) {
            Step::From(key) => {
                self.next = Step::Next;
                self.step(&key, c::MDB_SET_RANGE)
            }
            Step::Next => {
                self.next = Step::Next;
                self.step(&[], c::MDB_NEXT)
            }
            Step::Before(key) => {
                self.next = Step::Previous;
                // The first key that is not before it, or the end, from which one step back is the last that is.
                let operation =
                    if self.step(&key, c::MDB_SET_RANGE)?.is_some() { c::MDB_PREV } else { c::MDB_LAST };
                self.step(&[], operation)
            }
            Step::Previous => {
                self.next = Step::Previous;
                self.step(&[], c::MDB_PREV)
            }
            Step::End => Ok(None),
        }
    }
}

impl<'r> Iterator for Walk<'r> {
    type Item = Result<(&'r [u8], &'r [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.advance().transpose();
        if !matches!(found, Some(Ok(_))) {
            self.next = Step::End;
        }
        found
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        // SAFETY: the cursor is open; those of reading transactions must be closed.
        unsafe { c::mdb_cursor_close(self.raw.as_ptr()) }
    }
}

/// Changes that happen together, or not at all: dropped, none of them does. The only one of its environment, apart from
/// its children.
pub(crate) struct Write<'p> {
    raw: NonNull<c::MDB_txn>,
    environment: &'p Environment,
    _parent: PhantomData<&'p mut ()>,
}

impl Write<'_> {
    /// A part of the changes that can be given up alone.
    pub(crate) fn child(&mut self) -> Result<Write<'_>> {
        let raw = self.environment.begin_raw(self.raw.as_ptr(), 0)?;
        Ok(Write { raw, environment: self.environment, _parent: PhantomData })
    }

    /// The value under a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        // SAFETY: the transaction is live, and the slice ends before anything is written.
        Ok(unsafe { self.environment.get(self.raw, key) }?.map(<[u8]>::to_vec))
    }

    /// The first key from `from` on. `from` is not empty.
    pub(crate) fn first_key(&self, from: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut cursor = ptr::null_mut();
        // SAFETY: the transaction is live.
        check(unsafe { c::mdb_cursor_open(self.raw.as_ptr(), self.environment.tree, &mut cursor) })?;
        let (mut key, mut value) = (lent(from), nothing());
        // SAFETY: the cursor is open.
        let code = unsafe { c::mdb_cursor_get(cursor, &mut key, &mut value, c::MDB_SET_RANGE) };
        let found = (code == 0).then(|| {
            // SAFETY: LMDB has filled in the key, which is copied before anything is written.
            unsafe { bytes(&key) }.to_vec()
        });
        // SAFETY: the cursor is open, and its transaction live.
        unsafe { c::mdb_cursor_close(cursor) };
        if code == c::MDB_NOTFOUND { Ok(None) } else { check(code).map(|()| found) }
    }

    /// Puts a value under a key.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let (mut key, mut value) = (lent(key), lent(value));
        // SAFETY: the transaction is live. Without MDB_RESERVE LMDB writes to neither.
        check(unsafe { c::mdb_put(self.raw.as_ptr(), self.environment.tree, &mut key, &mut value, 0) })
    }

    /// Removes a key; says whether it existed.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool> {
        let mut key = lent(key);
        // SAFETY: the transaction is live. Without duplicates LMDB does not look at the value.
        let code = unsafe { c::mdb_del(self.raw.as_ptr(), self.environment.tree, &mut key, ptr::null_mut()) };
        if code == c::MDB_NOTFOUND { Ok(false) } else { check(code).map(|()| true) }
    }

    /// Makes the changes part of the parent, or durable.
    ///
    /// # Errors
    ///
    /// `ResourceExhausted` if the file is full: nothing has changed. Otherwise the outcome is unknown outside a parent: the
    /// disk may have the changes.
    pub(crate) fn commit(self) -> Result<()> {
        let raw = self.raw;
        // LMDB frees the transaction, even if this fails.
        mem::forget(self);
        // SAFETY: the transaction is live, and not used afterwards; a child borrows it, so that none is.
        check(unsafe { c::mdb_txn_commit(raw.as_ptr()) }).map_err(|error| {
            // LMDB finds room for everything before it writes anything.
            if error.code() == ErrorCode::RESOURCE_EXHAUSTED { error } else { error.with_unknown_outcome() }
        })
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        // SAFETY: the transaction is live, because a commit forgets it.
        unsafe { c::mdb_txn_abort(self.raw.as_ptr()) }
    }
}

/// Bytes that LMDB reads during a call.
fn lent(bytes: &[u8]) -> c::MDB_val {
    c::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

/// A place for what LMDB answers.
fn nothing() -> c::MDB_val {
    c::MDB_val { mv_size: 0, mv_data: ptr::null_mut() }
}

/// What LMDB has answered.
///
/// # Safety
///
/// LMDB has filled `value` in, and what it points to stays for `'t`.
unsafe fn bytes<'t>(value: &c::MDB_val) -> &'t [u8] {
    if value.mv_size == 0 {
        return &[];
    }
    // SAFETY: so the caller says.
    unsafe { slice::from_raw_parts(value.mv_data.cast(), value.mv_size) }
}

/// LMDB's error as one of the interface. A transaction that failed changes nothing: only a commit leaves it open.
fn check(code: c_int) -> Result<()> {
    let kind = match code {
        0 => return Ok(()),
        c::MDB_MAP_FULL | c::MDB_READERS_FULL | c::MDB_TXN_FULL => ErrorCode::RESOURCE_EXHAUSTED,
        c::MDB_CORRUPTED | c::MDB_PAGE_NOTFOUND | c::MDB_INVALID | c::MDB_VERSION_MISMATCH => {
            ErrorCode::CORRUPT
        }
        system if system > 0 => return Err(Error::from(io::Error::from_raw_os_error(system)).not_applied()),
        _ => ErrorCode::INTERNAL,
    };
    // SAFETY: the text is constant.
    let text = unsafe { CStr::from_ptr(c::mdb_strerror(code)) }.to_string_lossy();
    Err(Error::new(kind, text.into_owned()))
}

/// The file itself is locked, so that a link to it is locked, too.
fn lock(file: &Path) -> Result<File> {
    let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
    lock.try_lock()
        .map_err(|error| Error::new(ErrorCode::UNAVAILABLE, format!("lock {}: {error}", file.display())))?;
    Ok(lock)
}
