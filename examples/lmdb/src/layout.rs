//! Which bytes of the file stand for what: `docs/storage-interface.md` speaks of keyspaces, keys and records, LMDB has
//! one ordered tree of keys with up to 511 bytes.
//!
//! | key | value |
//! |---|---|
//! | `f` | the number of this format |
//! | `h` | a number that health checks write |
//! | `n` | the last number of a keyspace |
//! | `s`, name | the number of a keyspace, 8 bytes |
//! | `r`, number of the keyspace, key | length of the version, version, value |

use keyway_sdk::{AbiBytes, Error, ErrorCode, Record, Result, Version, paging::successor};

/// The number of this format.
pub(crate) const FORMAT: u32 = 1;
/// The longest key of a record: what LMDB takes, without the letter and the number of the keyspace.
pub(crate) const KEY_BYTES: u64 = 511 - 1 - 8;

pub(crate) const FORMAT_KEY: &[u8] = b"f";
pub(crate) const HEALTH_KEY: &[u8] = b"h";
pub(crate) const LAST_KEYSPACE_KEY: &[u8] = b"n";

pub(crate) fn keyspace_key(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

/// The name of a keyspace; none if the key is that of something else.
pub(crate) fn keyspace_name(key: &[u8]) -> Option<Result<String>> {
    let name = key.strip_prefix(b"s")?;
    Some(String::from_utf8(name.to_vec()).map_err(|_| corrupt("name of a keyspace")))
}

pub(crate) fn record_key(keyspace: u64, key: &[u8]) -> Vec<u8> {
    [b"r", &keyspace.to_be_bytes()[..], key].concat()
}

/// The key of a record within its keyspace.
pub(crate) fn key_of(record_key: &[u8]) -> Result<&[u8]> {
    record_key.get(9..).ok_or_else(|| corrupt("key"))
}

/// The first bytes after all record keys of a keyspace.
pub(crate) fn end_of(keyspace: u64) -> Vec<u8> {
    // The letter `r` has a successor.
    successor(&record_key(keyspace, b"")).unwrap_or_default()
}

pub(crate) fn number(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| corrupt("number"))
}

pub(crate) fn to_value(version: Version, value: &[u8]) -> Vec<u8> {
    let version = version.as_bytes();
    // At most 47 bytes.
    [&[version.len() as u8][..], version, value].concat()
}

pub(crate) fn to_record(bytes: &[u8], is_key_only: bool) -> Result<Record> {
    let (version, value) = parts(bytes).ok_or_else(|| corrupt("record"))?;
    let value = if is_key_only { AbiBytes::new() } else { AbiBytes::copy_from_slice(value) };
    Ok(Record::new(value, version))
}

pub(crate) fn to_version(bytes: &[u8]) -> Result<Version> {
    parts(bytes).map(|(version, _)| version).ok_or_else(|| corrupt("record"))
}

fn parts(bytes: &[u8]) -> Option<(Version, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (version, value) = rest.split_at_checked(usize::from(*length))?;
    Some((Version::from_bytes(version)?, value))
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorCode::CORRUPT, format!("the file has a {what} that this backend did not write"))
}
