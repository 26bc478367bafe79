//! Versions that are never given twice.

use std::sync::atomic::{AtomicU64, Ordering};

use keyway_abi::{Error, ErrorCode, Version};

use crate::Result;

/// Numbers the writes of one incarnation of a store: 16 bytes a version, incarnation and count, in order.
///
/// A store in memory makes a new incarnation each time it is opened. A store that lasts keeps the incarnation and
/// the last number with the data, in the same transaction as the write, and goes on from there.
#[derive(Debug)]
pub struct Versions {
    incarnation: u64,
    last: AtomicU64,
}

impl Versions {
    /// For a new incarnation, with a random number as its name.
    ///
    /// # Errors
    ///
    /// `Internal` if the operating system gives no random bytes.
    pub fn new_incarnation() -> Result<Self> {
        let incarnation = getrandom::u64()
            .map_err(|source| Error::new(ErrorCode::INTERNAL, format!("no random bytes: {source}")))?;
        Ok(Self::resume(incarnation, 0))
    }

    /// For an incarnation that is there, of which `last` was the last version.
    pub fn resume(incarnation: u64, last: u64) -> Self {
        Self { incarnation, last: AtomicU64::new(last) }
    }

    /// The next version. A write that fails afterwards leaves a gap, which does no harm.
    pub fn next(&self) -> Version {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        Version::numbered(self.incarnation, number)
    }

    /// The name of the incarnation, to be kept with the data.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The number of the last version that was given, to be kept with the data.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_on_where_they_ended_and_incarnations_differ() {
        let first = Versions::new_incarnation().unwrap();
        let (one, two) = (first.next(), first.next());
        assert_ne!(one, two);
        let again = Versions::resume(first.incarnation(), first.last());
        assert!(![one, two].contains(&again.next()));
        assert_ne!(Versions::new_incarnation().unwrap().incarnation(), first.incarnation());
    }
}
