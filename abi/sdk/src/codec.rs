//! Bytes for stores that have one ordered map: a keyspace and a key as one key, a record as one value.
//!
//! [`key`] keeps the order of keyspaces, and of keys within them, so that a scan of a keyspace is one range.
//! [`record`] puts version and expiry in front of the value.

use bytes::Bytes;
use keyway_abi::{Error, ErrorCode, Key, Record, Version};

use crate::Result;

/// Ends a keyspace in a key. A zero byte within the name becomes [`ZERO`], which sorts after it.
const END: [u8; 2] = [0, 1];
const ZERO: [u8; 2] = [0, 0xff];

/// Version, its length and the expiry, at most.
const HEADER_BYTES: usize = 1 + keyway_abi::version::MAX_VERSION_BYTES + 8;

/// One key for a keyspace and a key: the bytes of [`keyspace`], and then the key as it is. Different pairs give different
/// keys, in the order of keyspace and key.
pub fn key(key: Key<'_>) -> Vec<u8> {
    let mut bytes = keyspace(key.keyspace());
    bytes.extend_from_slice(key.bytes());
    bytes
}

/// What all keys of a keyspace begin with, and no others.
pub fn keyspace(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 16);
    for byte in name.bytes() {
        if byte == 0 { bytes.extend_from_slice(&ZERO) } else { bytes.push(byte) }
    }
    bytes.extend_from_slice(&END);
    bytes
}

/// The first bytes after all keys of a keyspace: the exclusive end of its range.
pub fn keyspace_end(name: &str) -> Vec<u8> {
    let mut bytes = keyspace(name);
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

/// The keyspace and the key of one key.
///
/// # Errors
///
/// `Corrupt` for bytes that [`key`] does not make.
pub fn parse_key(bytes: &[u8]) -> Result<(String, &[u8])> {
    let (mut name, mut rest) = (Vec::new(), bytes);
    loop {
        match rest {
            [0, 1, key @ ..] => {
                return String::from_utf8(name).map(|name| (name, key)).map_err(|_| corrupt("a key"));
            }
            [0, 0xff, after @ ..] => {
                name.push(0);
                rest = after;
            }
            [] | [0, ..] => return Err(corrupt("a key")),
            [byte, after @ ..] => {
                name.push(*byte);
                rest = after;
            }
        }
    }
}

/// One value for a record: length of the version, version, expiry, value.
pub fn record(value: &[u8], version: Version, expires_at_ms: Option<u64>) -> Vec<u8> {
    let version = version.as_bytes();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + value.len());
    // A version has at most 47 bytes.
    bytes.push(u8::try_from(version.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(version);
    bytes.extend_from_slice(&expires_at_ms.unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// The record of one value, which shares its bytes.
///
/// # Errors
///
/// `Corrupt` for bytes that [`record`] does not make.
pub fn parse_record(bytes: &Bytes) -> Result<Record> {
    let (version, expires_at_ms, header) = parse_header(bytes)?;
    Ok(Record::new(bytes.slice(header..), version).with_expiry(expires_at_ms))
}

/// The version and the expiry of one value, and where the record's own value begins.
///
/// # Errors
///
/// `Corrupt` for bytes that [`record`] does not make.
pub fn parse_header(bytes: &[u8]) -> Result<(Version, Option<u64>, usize)> {
    let header = || {
        let (length, rest) = bytes.split_first()?;
        let (version, rest) = rest.split_at_checked(usize::from(*length))?;
        let (expiry, value) = rest.split_first_chunk()?;
        let expires_at_ms = u64::from_be_bytes(*expiry);
        let at = bytes.len() - value.len();
        Some((Version::from_bytes(version)?, (expires_at_ms != 0).then_some(expires_at_ms), at))
    };
    header().ok_or_else(|| corrupt("a record"))
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorCode::CORRUPT, format!("{what} of the store was not written by this backend"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYSPACES: [&str; 8] = ["a", "a\0", "a\0\0", "a\0b", "a\u{1}", "ab", "b", "\u{10ffff}"];
    const KEYS: [&[u8]; 6] = [b"", b"\0", b"\0\x01", b"\0\xff", b"a", b"\xff\xff"];

    #[test]
    fn keys_keep_order_and_come_back() {
        let mut pairs: Vec<(&str, &[u8])> =
            KEYSPACES.iter().flat_map(|name| KEYS.iter().map(move |key| (*name, *key))).collect();
        pairs.sort_unstable();
        let coded: Vec<Vec<u8>> = pairs.iter().map(|(name, bytes)| key(Key::new(name, bytes))).collect();
        assert!(coded.is_sorted() && coded.windows(2).all(|pair| pair[0] != pair[1]));
        for ((name, bytes), coded) in pairs.iter().zip(&coded) {
            assert_eq!(parse_key(coded).unwrap(), ((*name).to_owned(), *bytes));
            assert!(coded.starts_with(&keyspace(name)) && *coded < keyspace_end(name));
        }
        for name in KEYSPACES {
            let inside =
                coded.iter().filter(|coded| **coded >= keyspace(name) && **coded < keyspace_end(name));
            assert_eq!(inside.count(), KEYS.len(), "{name:?}");
        }
    }

    #[test]
    fn records_come_back_and_rubbish_is_corrupt() {
        for (value, version, expiry) in [
            (&b""[..], Version::numbered(1, 2), None),
            (b"value", Version::from_bytes(&[9; 47]).unwrap(), Some(7)),
            (b"\0", Version::from_bytes(b"").unwrap(), Some(u64::MAX)),
        ] {
            let bytes = Bytes::from(record(value, version, expiry));
            let parsed = parse_record(&bytes).unwrap();
            assert_eq!((parsed.value(), parsed.version(), parsed.expires_at_ms()), (value, version, expiry));
            for cut in 0..bytes.len() - value.len() {
                assert_eq!(parse_header(&bytes[..cut]).unwrap_err().code(), ErrorCode::CORRUPT);
            }
        }
        for rubbish in [&b""[..], b"a", b"\0", b"a\0\x02key", b"\xff\0\x01"] {
            assert_eq!(parse_key(rubbish).unwrap_err().code(), ErrorCode::CORRUPT, "{rubbish:?}");
        }
    }
}
