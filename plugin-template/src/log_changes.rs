//! Changes of records as bytes.
//!
//! A change is its kind, the length and the bytes of the keyspace's name, then of the key, then the length and the bytes
//! of the version and of the value. Lengths are 4 bytes, little-endian.

use keyway_sdk::{Error, ErrorCode, Key, Result, Version};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DROP_KEYSPACE: u8 = 3;

/// A change of the records.
#[derive(Clone, Copy)]
pub(crate) enum Change<'a> {
    Put { key: Key<'a>, value: &'a [u8], version: Version },
    Delete { key: Key<'a> },
    DropKeyspace { name: &'a str },
}

/// Several changes, as bytes.
#[derive(Default)]
pub(crate) struct Changes(Vec<u8>);

impl Changes {
    pub(crate) fn push(&mut self, change: Change<'_>) {
        match change {
            Change::Put { key, value, version } => {
                self.0.push(PUT);
                self.field(key.keyspace().as_bytes());
                self.field(key.bytes());
                self.field(version.as_bytes());
                self.field(value);
            }
            Change::Delete { key } => {
                self.0.push(DELETE);
                self.field(key.keyspace().as_bytes());
                self.field(key.bytes());
            }
            Change::DropKeyspace { name } => {
                self.0.push(DROP_KEYSPACE);
                self.field(name.as_bytes());
            }
        }
    }

    pub(crate) fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The changes in bytes that [`into_bytes`](Self::into_bytes) has made. Others end with an error.
    pub(crate) fn parse(mut bytes: &[u8]) -> impl Iterator<Item = Result<Change<'_>>> {
        std::iter::from_fn(move || {
            if bytes.is_empty() {
                return None;
            }
            let change = parse_one(&mut bytes);
            if change.is_none() {
                bytes = &[];
            }
            Some(change.ok_or_else(|| Error::new(ErrorCode::CORRUPT, "a frame of the log has rubbish")))
        })
    }

    fn field(&mut self, bytes: &[u8]) {
        // The limits of the interface keep each field far below 4 GiB.
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

fn parse_one<'a>(bytes: &mut &'a [u8]) -> Option<Change<'a>> {
    let (kind, rest) = bytes.split_first()?;
    *bytes = rest;
    let name = std::str::from_utf8(parse_field(bytes)?).ok()?;
    if *kind == DROP_KEYSPACE {
        return Some(Change::DropKeyspace { name });
    }
    let key = Key::new(name, parse_field(bytes)?);
    match *kind {
        DELETE => Some(Change::Delete { key }),
        PUT => {
            let version = Version::from_bytes(parse_field(bytes)?)?;
            Some(Change::Put { key, value: parse_field(bytes)?, version })
        }
        _ => None,
    }
}

fn parse_field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(field)
}
