//! An allocator that writes into every block whose it is: each image (program or library) that has it linked
//! in has its own. A block that comes back to another image's allocator ends the process.
#![expect(unsafe_code, reason = "an allocator hands out memory; the control takes what was not meant for it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::CString,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// The header before each block.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    owner: usize,
    /// Other than any owner's while it is free.
    state: usize,
}

const IN_USE: usize = 0x6b65_7977;
const FREED: usize = 0x6465_6164;

/// The allocator.
pub struct Tagged;

/// Counts blocks. Its address tells the images apart.
static ALLOCATED: AtomicU64 = AtomicU64::new(0);

/// How many blocks this image has handed out.
pub fn allocated() -> u64 {
    ALLOCATED.load(Ordering::Relaxed)
}

fn own_tag() -> usize {
    (&raw const ALLOCATED).addr()
}

/// The header comes right before the block, however far that is aligned.
fn widened(layout: Layout) -> Option<(Layout, usize)> {
    Layout::new::<Header>().extend(layout).ok()
}

fn end(text: &str) -> ! {
    // Nothing that allocates.
    let text = text.as_bytes();
    // SAFETY: the pointer and the length are those of one slice.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    std::process::abort()
}

// SAFETY: blocks are the system's, widened in front by a header; each goes back with the layout that it was
// taken with.
unsafe impl GlobalAlloc for Tagged {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, offset)) = widened(layout) else { return std::ptr::null_mut() };
        // SAFETY: the layout is not empty, for it holds the header.
        let base = unsafe { System.alloc(whole) };
        if base.is_null() {
            return base;
        }
        ALLOCATED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `offset` lies within the block, and the header before it.
        let block = unsafe { base.add(offset) };
        // SAFETY: the header's place is aligned, since the offset is a multiple of the block's alignment and
        // at least its size.
        unsafe { block.cast::<Header>().sub(1).write_unaligned(Header { owner: own_tag(), state: IN_USE }) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, offset)) = widened(layout) else { end("a layout that was never allocated\n") };
        // SAFETY: every block of this allocator has a header before it; one of another that is not tagged has
        // at least its own book-keeping there.
        let header = unsafe { block.cast::<Header>().sub(1).read_unaligned() };
        if header.owner != own_tag() || header.state != IN_USE {
            end("FOREIGN FREE: a block came back to an allocator that does not own it\n");
        }
        // SAFETY: as above; it is ours.
        unsafe {
            block.cast::<Header>().sub(1).write_unaligned(Header { owner: header.owner, state: FREED })
        };
        // SAFETY: the base is `offset` before the block, as `alloc` has handed it out.
        unsafe { System.dealloc(block.sub(offset), whole) };
    }
}

/// Takes a box from a loaded library that only the library may free. It is the negative control: its drop
/// must end the process. `symbol` is a function `extern "C" fn() -> *mut u64` of the library.
///
/// # Errors
///
/// If the library is not loaded or has no such function.
pub fn take_box(library: &Path, symbol: &str) -> io::Result<Box<u64>> {
    let name = |text: &str| CString::new(text).map_err(io::Error::other);
    let (path, symbol) = (name(&library.to_string_lossy())?, name(symbol)?);
    // SAFETY: the names are C strings; nothing is loaded that is not loaded already.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return Err(io::Error::other("the library is not loaded"));
    }
    // SAFETY: the handle is valid, and the name a C string.
    let function = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
    if function.is_null() {
        return Err(io::Error::other("the library has no such function"));
    }
    // SAFETY: by this function's contract.
    let function: extern "C" fn() -> *mut u64 = unsafe { std::mem::transmute(function) };
    // SAFETY: the pointer is a box's. The test checks that the wrong allocator notices it.
    Ok(unsafe { Box::from_raw(function()) })
}
