//! Refcounted bytes that cross the boundary without a copy.
#![expect(unsafe_code, reason = "owning foreign memory behind a raw pointer is the purpose of this module")]

use std::{
    ffi::c_void,
    fmt,
    mem::{self, MaybeUninit},
    ops::Deref,
    panic::catch_unwind,
    ptr,
};

use abi_stable::StableAbi;
use bytes::Bytes;

/// Room for one [`Bytes`] handle, which moves into an [`AbiBytes`] whole.
type Owner = MaybeUninit<[*mut c_void; 4]>;

const _: () = assert!(mem::size_of::<Bytes>() <= mem::size_of::<Owner>());
const _: () = assert!(mem::align_of::<Bytes>() <= mem::align_of::<Owner>());

/// Immutable bytes owned by whichever side made them, and released by that side's own code.
///
/// Made from [`Bytes`] or `Vec<u8>` without copying the contents and without another allocation: the handle
/// is stored inline. It keeps the making library's code in use, which is sound because libraries are never
/// unloaded.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiBytes {
    data: *const u8,
    len_bytes: usize,
    owner: Owner,
    release: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: the contents are immutable, and the owner is a `Bytes`, which is `Send`; `From<Bytes>` is the only
// constructor.
unsafe impl Send for AbiBytes {}
// SAFETY: shared access only reads the immutable contents.
unsafe impl Sync for AbiBytes {}

impl AbiBytes {
    /// No bytes; owns nothing.
    #[inline]
    pub const fn new() -> Self {
        Self {
            data: ptr::NonNull::<u8>::dangling().as_ptr(),
            len_bytes: 0,
            owner: MaybeUninit::uninit(),
            release: release_nothing,
        }
    }

    /// The contents as [`Bytes`], sharing them: no byte is copied. Costs one small allocation for the reference
    /// count of the receiving side.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        if self.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }

    /// A copy of `bytes`.
    #[inline]
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        Bytes::copy_from_slice(bytes).into()
    }
}

impl From<Bytes> for AbiBytes {
    fn from(bytes: Bytes) -> Self {
        let (data, len_bytes) = (bytes.as_ptr(), bytes.len());
        let mut owner = Owner::uninit();
        // SAFETY: `Owner` is at least as large and as aligned as `Bytes` (asserted above). `Bytes` points at heap
        // or static memory, never into itself, so `data` stays valid when the handle moves.
        unsafe { owner.as_mut_ptr().cast::<Bytes>().write(bytes) };
        Self { data, len_bytes, owner, release: release_bytes }
    }
}

impl From<Vec<u8>> for AbiBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl Drop for AbiBytes {
    fn drop(&mut self) {
        // SAFETY: `release` was stored together with the owner that it releases, and runs once.
        unsafe { (self.release)(self.owner.as_mut_ptr().cast()) }
    }
}

impl Deref for AbiBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the constructors set `data` and `len_bytes` from a slice that `owner` keeps alive, or to a
        // dangling pointer with length zero.
        unsafe { std::slice::from_raw_parts(self.data, self.len_bytes) }
    }
}

impl AsRef<[u8]> for AbiBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for AbiBytes {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for AbiBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for AbiBytes {}

/// Only the length, because the bytes may be a ciphertext or a secret.
impl fmt::Debug for AbiBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AbiBytes({} bytes)", self.len_bytes)
    }
}

unsafe extern "C" fn release_nothing(_owner: *mut c_void) {}

unsafe extern "C" fn release_bytes(owner: *mut c_void) {
    // The bytes may have another owner (`Bytes::from_owner`), whose drop may panic: it must not unwind into
    // the other side. The payload is leaked, because its drop may panic too.
    let dropped = catch_unwind(|| {
        // SAFETY: called once, from `AbiBytes::drop`, with the owner that `From<Bytes>` wrote.
        unsafe { owner.cast::<Bytes>().drop_in_place() }
    });
    if let Err(payload) = dropped {
        mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_and_return_without_a_copy() {
        let original = Bytes::from(vec![7u8; 1024]);
        let address = original.as_ptr();
        let abi = AbiBytes::from(original.clone());
        assert_eq!(abi.as_ptr(), address);
        let moved = Box::new(abi);
        let back = moved.into_bytes();
        assert_eq!(back.as_ptr(), address);
        assert_eq!(back, original);
    }

    #[test]
    fn dropping_releases_the_owner() {
        let bytes = Bytes::from(vec![1u8; 64]);
        let abi = AbiBytes::from(bytes.clone());
        assert!(!bytes.is_unique());
        drop(abi);
        assert!(bytes.is_unique());
    }

    #[test]
    fn empty_bytes_are_a_valid_slice() {
        assert_eq!(&*AbiBytes::new(), b"");
        assert_eq!(&*AbiBytes::from(Vec::new()), b"");
    }
}
