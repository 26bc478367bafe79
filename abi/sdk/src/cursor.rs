//! Cursors: a position in a scan, authenticated and bound to the scan that it belongs to.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use keyway_abi::{AbiBytes, Error, ErrorCode, Scan};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Result;

const TAG_BYTES: usize = 16;

/// The key under which this opening of the backend authenticates its cursors.
pub(crate) struct CursorKey([u8; 32]);

impl CursorKey {
    pub(crate) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// What seals positions in `scan`, once its page is known.
    pub(crate) fn bind(self: &Arc<Self>, scan: &Scan<'_>) -> BoundCursorKey {
        BoundCursorKey { key: Arc::clone(self), binding: binding(scan) }
    }

    /// The position that the cursor of `scan` leads to.
    pub(crate) fn open<'a>(&self, scan: &Scan<'a>) -> Result<Option<&'a [u8]>> {
        let Some(cursor) = scan.cursor() else { return Ok(None) };
        let Some((sealed, position)) = cursor.split_at_checked(TAG_BYTES) else {
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, "the cursor is too short to be one"));
        };
        if bool::from(self.tag(&binding(scan), position).ct_eq(sealed)) {
            Ok(Some(position))
        } else {
            Err(Error::new(
                ErrorCode::CURSOR_EXPIRED,
                "the cursor is not one that this opening of the backend gave out for this scan; start it again",
            ))
        }
    }

    fn tag(&self, binding: &[u8], position: &[u8]) -> [u8; TAG_BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&(binding.len() as u64).to_be_bytes());
        mac.update(binding);
        mac.update(position);
        let full = mac.finalize().into_bytes();
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(full) {
            *to = from;
        }
        tag
    }
}

/// A [`CursorKey`] bound to one scan. The authenticator is computed only for a page that is not the last.
pub(crate) struct BoundCursorKey {
    key: Arc<CursorKey>,
    binding: Vec<u8>,
}

impl BoundCursorKey {
    /// The cursor that leads back to `position`: tag, then position.
    pub(crate) fn seal(&self, position: &[u8]) -> AbiBytes {
        let mut cursor = self.key.tag(&self.binding, position).to_vec();
        cursor.extend_from_slice(position);
        cursor.into()
    }
}

/// Everything that makes a scan the one it is, unambiguously: limits apart, which may differ from page to page.
fn binding(scan: &Scan<'_>) -> Vec<u8> {
    let (end, delimiter) = (scan.end(), scan.delimiter());
    let parts = [
        scan.keyspace().as_bytes(),
        scan.key_prefix(),
        scan.start(),
        end.unwrap_or_default(),
        delimiter.unwrap_or_default(),
    ];
    let mut binding = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum::<usize>() + 2);
    for part in parts {
        binding.extend_from_slice(&(part.len() as u64).to_be_bytes());
        binding.extend_from_slice(part);
    }
    binding.extend_from_slice(&[u8::from(end.is_some()), u8::from(scan.is_reverse())]);
    binding
}
