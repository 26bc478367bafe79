//! How often a key was used. AES-GCM with random nonces bounds that at 2^32 seals with one key (NIST SP
//! 800-38D, 8.3); Keyway rotates at half of it at the latest.
//!
//! Uses are reserved in blocks: the record `key-use/<number>` in the store says how many may have happened on
//! all hosts together, and it is raised before the block is used. A crash loses the rest of a block, and
//! never a use. The record is sealed under the root key, so that counting does not use the key that it
//! counts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// The most uses of one key.
pub(crate) const MAX_USES: u64 = 1 << 31;
/// The fewest that a bound may allow: below, every write would rotate.
const MIN_USES: u64 = 1_000;
/// How many uses are reserved at once, at most.
const BLOCK: u64 = 1 << 16;
/// How many blocks a key has, at least.
const BLOCKS: u64 = 16;

/// How often a key is used before another takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UseBound(u64);

/// A bound that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a key is used at least {MIN_USES} and at most {MAX_USES} times")]
pub struct UseBoundError;

/// A key and its uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// The key's number.
    pub key: u32,
    /// When it was made, in Unix seconds.
    pub made: u64,
    /// How many uses are reserved, by all hosts as far as this one knows; zero before this host's first.
    pub reserved: u64,
    /// How many uses of this host's block are left.
    pub left: u64,
    /// At how many another key takes its place.
    pub bound: u64,
}

/// What this host may use.
pub(super) struct Uses {
    bound: UseBound,
    block: Mutex<Block>,
    changing: tokio::sync::Mutex<()>,
}

/// The block in use.
#[derive(Default)]
struct Block {
    key: u32,
    /// The most that the store has said of this key.
    reserved: u64,
    left: u64,
}

impl UseBound {
    /// A bound.
    ///
    /// # Errors
    ///
    /// If it is below 1,000 or above [`MAX_USES`].
    pub fn new(uses: u64) -> Result<Self, UseBoundError> {
        if (MIN_USES..=MAX_USES).contains(&uses) { Ok(Self(uses)) } else { Err(UseBoundError) }
    }

    /// How many uses are reserved at once.
    pub(super) fn block_size(self) -> u64 {
        BLOCK.min(self.0 / BLOCKS)
    }
}

impl Default for UseBound {
    fn default() -> Self {
        Self(MAX_USES)
    }
}

impl Uses {
    pub(super) fn new(bound: UseBound) -> Self {
        Self { bound, block: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    /// Takes one use of a key; whether there was one.
    pub(super) fn take(&self, key: u32) -> bool {
        let mut block = self.block();
        if block.key != key || block.left == 0 {
            return false;
        }
        block.left -= 1;
        true
    }

    /// Held while keys change or uses are reserved.
    pub(super) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub(super) fn of(&self, key: u32, made: u64) -> KeyUse {
        let block = self.block();
        let (reserved, left) = if block.key == key { (block.reserved, block.left) } else { (0, 0) };
        KeyUse { key, made, reserved, left, bound: self.bound.0 }
    }

    /// How many uses are reserved at once.
    pub(super) fn block_size(&self) -> u64 {
        self.bound.block_size()
    }

    /// Whether a key may be used so often.
    pub(super) fn allows(&self, uses: u64) -> bool {
        uses <= self.bound.0
    }

    /// This block of a key's uses is reserved for this host.
    pub(super) fn grant(&self, key: u32, reserved: u64, left: u64) {
        *self.block() = Block { key, reserved, left };
    }

    fn block(&self) -> MutexGuard<'_, Block> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_has_bounds() {
        for wrong in [0, 999, MAX_USES + 1, u64::MAX] {
            assert_eq!(UseBound::new(wrong), Err(UseBoundError), "{wrong}");
        }
        assert_eq!(UseBound::new(1_000).unwrap().block_size(), 62);
        assert_eq!(UseBound::default().block_size(), BLOCK);
    }

    #[test]
    fn uses_are_taken_from_the_block_of_their_key_alone() {
        let uses = Uses::new(UseBound::default());
        assert!(!uses.take(1));
        *uses.block() = Block { key: 1, reserved: 3, left: 2 };
        assert!(uses.take(1) && !uses.take(2) && uses.take(1) && !uses.take(1));
    }
}
