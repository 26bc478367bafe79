//! SQLite's VFS, with a [`Disk`](crate::Disk) in front of the one of the system.
//!
//! Registered once as the process's default, so that connections need not know. Files of directories without
//! a disk go straight through. Interface: <https://www.sqlite.org/c3ref/vfs.html>,
//! <https://www.sqlite.org/c3ref/io_methods.html>.
#![expect(unsafe_code, reason = "SQLite calls a VFS through C function pointers")]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::ffi;

use crate::device::{Call, Inner, Reach, Verdict};

static REGISTER: Once = Once::new();
/// Files without a name, which SQLite puts into a directory for temporary files.
static NAMELESS: AtomicU64 = AtomicU64::new(0);
static DISKS: Mutex<Vec<Arc<Inner>>> = Mutex::new(Vec::new());

fn disks() -> MutexGuard<'static, Vec<Arc<Inner>>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, the disk stands before the files of its directory that are opened.
pub(crate) fn attach(disk: &Arc<Inner>) {
    REGISTER.call_once(register);
    disks().push(Arc::clone(disk));
}

/// No longer, for files that are opened from now on.
pub(crate) fn detach(disk: &Arc<Inner>) {
    disks().retain(|other| !Arc::ptr_eq(other, disk));
}

/// How many files without a name were opened so far.
pub fn nameless_files() -> u64 {
    NAMELESS.load(Ordering::Relaxed)
}

/// The part of an open file that is ours. SQLite allocates it together with the file of the system's VFS,
/// which follows it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// Owned: from `Box::into_raw`, freed by `close`. Null if no disk stands before the file.
    seat: *mut Seat,
}

struct Seat {
    disk: Arc<Inner>,
    path: PathBuf,
}

const _: () = assert!(
    size_of::<File>().is_multiple_of(align_of::<u64>()),
    "what follows is aligned as SQLite aligns it"
);

fn register() {
    // SAFETY: a null name asks for the default VFS, which lives as long as the process.
    let system = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    assert!(!system.is_null(), "SQLite has a default VFS");
    // SAFETY: it is not null, and no thread writes to it.
    let mut vfs = unsafe { *system };
    vfs.szOsFile += c_int::try_from(size_of::<File>()).expect("a small number");
    vfs.pNext = std::ptr::null_mut();
    vfs.zName = c"keyway-faults".as_ptr();
    vfs.pAppData = system.cast();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    // SAFETY: the VFS is leaked, so that it lives as long as the process, and its methods are those below.
    let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1) };
    assert_eq!(registered, ffi::SQLITE_OK, "the VFS is registered");
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Without the memory-mapped reads of version 3, which nothing could stand before.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The system's file, which follows ours in memory.
///
/// # Safety
///
/// `file` was opened by [`open`].
unsafe fn system_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocated `szOsFile` bytes: our part, and then the system's.
    unsafe { file.cast::<u8>().add(size_of::<File>()).cast() }
}

/// # Safety
///
/// `file` was opened by [`open`], and not closed.
unsafe fn seat<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a Seat> {
    // SAFETY: `open` has set the pointer, to null or to a box that `close` frees.
    unsafe { (*file.cast::<File>()).seat.as_ref() }
}

/// # Safety
///
/// `vfs` is the one that [`register`] made.
unsafe fn system_vfs(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    // SAFETY: `register` has put it there.
    unsafe { (*vfs).pAppData.cast() }
}

/// Calls a method of the system's file.
macro_rules! system {
    ($file:ident, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite gives only files that `open` opened, and calls only methods that the system's file
        // has: shared memory on databases, for which it has version 2 at least.
        unsafe {
            let file = system_file($file);
            ((*(*file).pMethods).$method.expect("the system's VFS has this method"))(file $(, $argument)*)
        }
    }};
}

fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite's names end with a zero byte and live as long as the call.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())))
}

pub(crate) fn disk_of(path: &Path) -> Option<Arc<Inner>> {
    disks().iter().find(|disk| path.starts_with(disk.directory())).cloned()
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    if name.is_null() {
        NAMELESS.fetch_add(1, Ordering::Relaxed);
    }
    let own = file.cast::<File>();
    // SAFETY: SQLite allocated the file for this call. Without methods it is not closed.
    unsafe {
        (*own).base.pMethods = std::ptr::null();
        (*own).seat = std::ptr::null_mut();
    }
    // SAFETY: the VFS is ours, and the system's file follows ours.
    let open_system = || unsafe {
        let system = system_vfs(vfs);
        let system_file = system_file(file);
        let code = (*system).xOpen.expect("a VFS opens files")(system, name, system_file, flags, out_flags);
        if code == ffi::SQLITE_OK {
            (*own).base.pMethods = &raw const METHODS;
        }
        code
    };
    let Some((path, disk)) = path_of(name).and_then(|path| Some((path.to_owned(), disk_of(path)?))) else {
        return open_system();
    };
    let code = disk.call(Call::Open, Reach::default(), |verdict, note| {
        if verdict != Verdict::Go {
            return ffi::SQLITE_CANTOPEN;
        }
        let code = open_system();
        if code == ffi::SQLITE_OK {
            note(&path, &|_| ());
        }
        code
    });
    if code == ffi::SQLITE_OK {
        // SAFETY: as above; `close` frees the box.
        unsafe { (*own).seat = Box::into_raw(Box::new(Seat { disk, path })) };
    }
    code
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: the VFS is ours.
    let delete_system = || unsafe {
        let system = system_vfs(vfs);
        (*system).xDelete.expect("a VFS removes files")(system, name, sync_dir)
    };
    let Some((path, disk)) = path_of(name).and_then(|path| Some((path.to_owned(), disk_of(path)?))) else {
        return delete_system();
    };
    disk.call(Call::Remove, Reach::default(), |verdict, note| {
        if verdict != Verdict::Go {
            return ffi::SQLITE_IOERR_DELETE;
        }
        let code = delete_system();
        if code == ffi::SQLITE_OK {
            note(&path, &|model| model.remove(sync_dir != 0));
        }
        code
    })
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = system!(file, xClose);
    let own = file.cast::<File>();
    // SAFETY: the box is from `open`, and the pointer is not used again.
    unsafe {
        if !(*own).seat.is_null() {
            drop(Box::from_raw((*own).seat));
            (*own).seat = std::ptr::null_mut();
        }
    }
    code
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else { return system!(file, xRead, into, amount, at) };
    let is_database = seat.path.extension().is_some_and(|extension| extension == "db");
    let reads = is_database.then_some((at.unsigned_abs(), (at + i64::from(amount)).unsigned_abs()));
    seat.disk.call(Call::Read, Reach { reads, ..Reach::default() }, |verdict, _| match verdict {
        Verdict::Go | Verdict::Full => system!(file, xRead, into, amount, at),
        Verdict::Fail => ffi::SQLITE_IOERR_READ,
        Verdict::Short => {
            let half = amount / 2;
            let _read = system!(file, xRead, into, half, at);
            // SAFETY: SQLite's buffer has `amount` bytes, and wants the rest of a short read to be zero.
            unsafe { into.cast::<u8>().add(half as usize).write_bytes(0, (amount - half) as usize) };
            ffi::SQLITE_IOERR_SHORT_READ
        }
    })
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    at: i64,
) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else { return system!(file, xWrite, from, amount, at) };
    let mut size = 0;
    let known = system!(file, xFileSize, &raw mut size);
    let grows_by = if known == ffi::SQLITE_OK { (at + i64::from(amount) - size).max(0) } else { 0 };
    seat.disk.call(
        Call::Write,
        Reach { grows_by: grows_by.unsigned_abs(), ..Reach::default() },
        |verdict, note| {
            // SAFETY: SQLite's buffer has `amount` bytes.
            let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), amount as usize) };
            match verdict {
                Verdict::Full => return ffi::SQLITE_FULL,
                Verdict::Fail => {
                    // It may have got there, in part.
                    note(&seat.path, &|model| model.write(at as usize, bytes));
                    return ffi::SQLITE_IOERR_WRITE;
                }
                Verdict::Go | Verdict::Short => {}
            }
            let code = system!(file, xWrite, from, amount, at);
            if code == ffi::SQLITE_OK {
                note(&seat.path, &|model| model.write(at as usize, bytes));
            }
            code
        },
    )
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else { return system!(file, xTruncate, size) };
    seat.disk.call(Call::Truncate, Reach::default(), |verdict, note| {
        if verdict == Verdict::Fail {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let code = system!(file, xTruncate, size);
        if code == ffi::SQLITE_OK {
            note(&seat.path, &|model| model.resize(size as usize));
        }
        code
    })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else { return system!(file, xSync, flags) };
    seat.disk.call(Call::Sync, Reach::default(), |verdict, note| {
        if verdict == Verdict::Fail {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        let code = system!(file, xSync, flags);
        if code == ffi::SQLITE_OK {
            note(&seat.path, &crate::model::Model::sync);
        }
        code
    })
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else { return system!(file, xFileSize, size) };
    seat.disk.call(Call::Size, Reach::default(), |verdict, _| match verdict {
        Verdict::Fail => ffi::SQLITE_IOERR_FSTAT,
        _ => system!(file, xFileSize, size),
    })
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else { return system!(file, xLock, level) };
    seat.disk.call(Call::Lock, Reach::default(), |verdict, _| match verdict {
        Verdict::Fail => ffi::SQLITE_IOERR_LOCK,
        _ => system!(file, xLock, level),
    })
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    system!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, held: *mut c_int) -> c_int {
    system!(file, xCheckReservedLock, held)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    system!(file, xFileControl, op, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    system!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    system!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    // SAFETY: `open` opened it.
    let Some(seat) = (unsafe { seat(file) }) else {
        return system!(file, xShmMap, page, size, extend, mapped);
    };
    seat.disk.call(Call::Map, Reach::default(), |verdict, _| match verdict {
        Verdict::Fail => ffi::SQLITE_IOERR_SHMMAP,
        _ => system!(file, xShmMap, page, size, extend, mapped),
    })
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    system!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    system!(file, xShmBarrier);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, remove: c_int) -> c_int {
    system!(file, xShmUnmap, remove)
}
