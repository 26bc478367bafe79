//! Versions of records, and the ids of writes.

use std::fmt;

use abi_stable::StableAbi;

/// The longest version, in bytes.
pub const MAX_VERSION_BYTES: usize = 47;

/// An opaque mark that changes on every write of a key and is unique for that key within one incarnation of the
/// store, also across delete and re-create. At most [`MAX_VERSION_BYTES`] bytes, stored inline.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    len: u8,
    bytes: [u8; MAX_VERSION_BYTES],
}

impl Version {
    /// A version from its bytes, or `None` if they are too many.
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut version = Self { len: u8::try_from(bytes.len()).ok()?, bytes: [0; MAX_VERSION_BYTES] };
        version.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(version)
    }

    /// The version number `counter` of the incarnation `incarnation`: 16 bytes, both big-endian. What a store that
    /// numbers its writes needs.
    #[inline]
    pub fn numbered(incarnation: u64, counter: u64) -> Self {
        let number = (u128::from(incarnation) << 64) | u128::from(counter);
        let mut bytes = [0; MAX_VERSION_BYTES];
        if let Some(first) = bytes.first_chunk_mut() {
            *first = number.to_be_bytes();
        }
        Self { len: 16, bytes }
    }

    /// The bytes of the version.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Version(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// 16 random bytes that name one mutation, chosen by the host, so that a backend or a later read can recognise a
/// write that was sent twice.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct WriteId([u8; 16]);

impl WriteId {
    /// A write id from its bytes.
    #[inline]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteId({:032x})", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_47_bytes_fits_and_48_does_not() {
        assert_eq!(Version::from_bytes(&[9; 47]).unwrap().as_bytes(), &[9; 47]);
        assert!(Version::from_bytes(&[9; 48]).is_none());
    }

    #[test]
    fn numbered_versions_differ_in_both_parts() {
        assert_ne!(Version::numbered(1, 2), Version::numbered(2, 1));
        assert_eq!(Version::numbered(1, 2).as_bytes().len(), 16);
    }
}
