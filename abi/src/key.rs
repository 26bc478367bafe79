//! Where a record lives.

use std::fmt;

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};

use crate::WriteId;

/// The longest name of a keyspace, in bytes.
pub const MAX_KEYSPACE_BYTES: usize = 128;

/// A keyspace and a key in it, borrowed for the length of a call.
///
/// The keyspace is 1 to [`MAX_KEYSPACE_BYTES`] bytes of UTF-8; the key is any bytes, ordered as unsigned bytes.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    keyspace: RStr<'a>,
    bytes: RSlice<'a, u8>,
}

impl<'a> Key<'a> {
    /// The key `bytes` in `keyspace`.
    #[inline]
    pub fn new(keyspace: &'a str, bytes: &'a [u8]) -> Self {
        Self { keyspace: keyspace.into(), bytes: bytes.into() }
    }

    /// The name of the keyspace.
    #[inline]
    pub fn keyspace(&self) -> &'a str {
        self.keyspace.as_str()
    }

    /// The key itself.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes.as_slice()
    }
}

/// A keyspace to drop.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct DropKeyspace<'a> {
    name: RStr<'a>,
    write_id: WriteId,
}

impl<'a> DropKeyspace<'a> {
    /// The keyspace `name`, with the id of this write.
    #[inline]
    pub fn new(name: &'a str, write_id: WriteId) -> Self {
        Self { name: name.into(), write_id }
    }

    /// Its name.
    #[inline]
    pub fn name(&self) -> &'a str {
        self.name.as_str()
    }

    /// The id of this write.
    #[inline]
    pub fn write_id(&self) -> WriteId {
        self.write_id
    }
}

/// Keys are not secret (the documents say so), but they may be long and binary.
impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.keyspace(), self.bytes().escape_ascii())
    }
}
