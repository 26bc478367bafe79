//! Versions that are never given twice.

use std::sync::atomic::{AtomicU64, Ordering};

use keyway_abi::{Error, ErrorCode, Version};

use crate::Result;

/// Numbers the writes of one opening of a store: 16 bytes a version, a random number and a count.
///
/// Make one each time the store is opened, also for a store that lasts. Nothing need be kept: the random number differs
/// from that of every other opening. A store that was set back to an earlier copy repeats no version either, nor do
/// several openers of one store.
#[derive(Debug)]
pub struct Versions {
    incarnation: u64,
    last: AtomicU64,
}

impl Versions {
    /// For a new opening.
    ///
    /// # Errors
    ///
    /// `Internal` if the operating system gives no random bytes.
    pub fn new_incarnation() -> Result<Self> {
        let incarnation = getrandom::u64()
            .map_err(|source| Error::new(ErrorCode::INTERNAL, format!("no random bytes: {source}")))?;
        Ok(Self { incarnation, last: AtomicU64::new(0) })
    }

    /// The next version. A write that fails afterwards leaves a gap, which does no harm.
    pub fn next(&self) -> Version {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        Version::numbered(self.incarnation, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_within_and_between_openings() {
        let (first, second) = (Versions::new_incarnation().unwrap(), Versions::new_incarnation().unwrap());
        let versions = [first.next(), first.next(), second.next(), second.next()];
        let distinct: std::collections::HashSet<_> = versions.iter().collect();
        assert_eq!(distinct.len(), versions.len(), "{versions:?}");
    }
}
