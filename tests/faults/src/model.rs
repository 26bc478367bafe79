//! What a disk remembers of a file: what was synced, and what came after.

use keyway_conformance::Random;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A file, as it would be found after a loss of power.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// None if the file has never been synced.
    synced: Option<Vec<u8>>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
    Remove,
}

impl Model {
    /// A file that was there before.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { synced: Some(bytes), pending: Vec::new() }
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.pending.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(crate) fn resize(&mut self, len: usize) {
        self.pending.push(Change::Resize(len));
    }

    /// Removes the file; `for_good` if its directory is synced, too.
    pub(crate) fn remove(&mut self, for_good: bool) {
        if for_good {
            *self = Self::default();
        } else {
            self.pending.push(Change::Remove);
        }
    }

    /// Makes a removal durable. What was written to a new file of that name stays as it is.
    pub(crate) fn sync_removal(&mut self) {
        let removal = self.pending.iter().rposition(|change| matches!(change, Change::Remove));
        if let Some(removal) = removal {
            self.synced = None;
            self.pending.drain(..=removal);
        }
    }

    pub(crate) fn sync(&mut self) {
        let mut file = self.synced.take();
        for change in self.pending.drain(..) {
            apply(&mut file, change);
        }
        self.synced = Some(file.unwrap_or_default());
    }

    /// The content after a loss of power: all synced writes, and any of the other sectors, in any order. None
    /// if the file itself was lost.
    pub(crate) fn after_loss(self, random: &mut Random) -> Option<Vec<u8>> {
        let mut file = self.synced;
        for change in self.pending {
            match (random.below(3), change) {
                (0, _) => {}
                (1, change) => apply(&mut file, change),
                (_, Change::Write { at, bytes }) => tear(&mut file, at, &bytes, random),
                (_, change) => apply(&mut file, change),
            }
        }
        file
    }
}

fn apply(file: &mut Option<Vec<u8>>, change: Change) {
    match change {
        Change::Remove => *file = None,
        Change::Resize(len) => file.get_or_insert_default().resize(len, 0),
        Change::Write { at, bytes } => write(file.get_or_insert_default(), at, &bytes),
    }
}

fn tear(file: &mut Option<Vec<u8>>, at: usize, bytes: &[u8], random: &mut Random) {
    let file = file.get_or_insert_default();
    let mut begin = 0;
    while begin < bytes.len() {
        // To the end of the sector in which this byte lies.
        let end = bytes.len().min(begin + SECTOR - (at + begin) % SECTOR);
        if random.below(2) == 0
            && let Some(sector) = bytes.get(begin..end)
        {
            write(file, at + begin, sector);
        }
        begin = end;
    }
}

fn write(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_bytes_stay_and_others_may_go_sector_by_sector() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut model = Model::of(vec![1; 2 * SECTOR]);
            model.write(0, &[2; SECTOR]);
            model.sync();
            model.write(SECTOR, &[3; 2 * SECTOR]);
            let file = model.after_loss(&mut Random::new(seed)).unwrap();
            assert!(file[..SECTOR].iter().all(|byte| *byte == 2), "a synced sector was lost");
            outcomes.insert((file[SECTOR], file.get(2 * SECTOR).copied()));
        }
        assert!(outcomes.contains(&(1, None)), "nothing of it");
        assert!(outcomes.contains(&(3, Some(3))), "all of it");
        assert!(outcomes.contains(&(1, Some(3))), "the second sector alone");
        assert!(outcomes.contains(&(3, None)), "the first sector alone");
    }

    #[test]
    fn file_that_was_never_synced_may_be_gone() {
        let lost = |seed| {
            let mut model = Model::default();
            model.write(0, b"x");
            model.after_loss(&mut Random::new(seed)).is_none()
        };
        assert!((0..50).any(lost) && !(0..50).all(lost));
    }
}
