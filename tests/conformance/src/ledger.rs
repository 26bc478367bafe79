//! Writes that can be checked afterwards: acknowledged ones must be there, and none may be half there.

use std::collections::{BTreeMap, BTreeSet};

use futures_executor::block_on;
use keyway_loader::{
    Batch, BatchMode, Begin, Delete, Error, Features, Isolation, Key, Op, Outcome, Put, Store, Version,
};

use crate::{
    calls::{call, write_id},
    random::Random,
};

/// The keyspace that is written to.
pub const KEYSPACE: &str = "ledger";

/// The writes of one writer, with their possible outcomes.
#[derive(Debug, Default)]
pub struct Ledger {
    writer: u64,
    turn: u64,
    slots: BTreeMap<String, Slot>,
    versions: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// The first version that was given out twice.
    repeated: Option<(Vec<u8>, Version)>,
    acknowledged: u64,
}

/// One key, or several that are written together.
#[derive(Debug, Default)]
struct Slot {
    keys: u64,
    /// The last that was acknowledged; none is absence.
    held: Option<u64>,
    /// What may have replaced it.
    perhaps: Vec<Option<u64>>,
}

/// What happened, in a form that another process can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A write begins: its slot, the number of keys of the slot, and the value; none is a removal.
    Try(String, u64, Option<u64>),
    /// It was acknowledged.
    Acknowledged(String),
    /// It failed, and did not happen.
    Refused(String),
}

impl Event {
    /// One line.
    pub fn to_line(&self) -> String {
        match self {
            Self::Try(slot, keys, Some(number)) => format!("try {slot} {keys} {number}"),
            Self::Try(slot, keys, None) => format!("try {slot} {keys} -"),
            Self::Acknowledged(slot) => format!("acknowledged {slot}"),
            Self::Refused(slot) => format!("refused {slot}"),
        }
    }

    /// The event of a whole line; none for one that was cut off.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (kind, slot) = (words.next()?, words.next()?.to_owned());
        match kind {
            "try" => {
                let keys = words.next()?.parse().ok()?;
                let number = words.next()?;
                Some(Self::Try(slot, keys, if number == "-" { None } else { Some(number.parse().ok()?) }))
            }
            "acknowledged" => Some(Self::Acknowledged(slot)),
            "refused" => Some(Self::Refused(slot)),
            _ => None,
        }
    }
}

/// Filled with a number, so that half of one shows.
fn value(number: u64) -> Vec<u8> {
    let size = usize::try_from(8 + number.wrapping_mul(997) % 6_000).unwrap_or(8);
    number.to_be_bytes().into_iter().cycle().take(size).collect()
}

fn number(bytes: &[u8]) -> Result<u64, String> {
    let first = bytes.get(..8).and_then(|first| first.try_into().ok()).ok_or("a value is cut off")?;
    let number = u64::from_be_bytes(first);
    if value(number) == bytes { Ok(number) } else { Err(format!("the value of {number} is torn")) }
}

fn key(slot: &str, index: u64) -> Vec<u8> {
    format!("{slot}/{index}").into_bytes()
}

type Written = Result<Vec<(Vec<u8>, Version)>, Error>;

impl Ledger {
    /// An empty one; writers have different numbers.
    pub fn new(writer: u64) -> Self {
        Self { writer, ..Self::default() }
    }

    /// The same in another life of its writer: what it writes differs from what any other has written.
    pub fn in_life(writer: u64, life: u64) -> Self {
        Self { writer, turn: (life + 1) << 32, ..Self::default() }
    }

    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes note of an event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Try(slot, keys, number) => {
                let slot = self.slots.entry(slot.clone()).or_default();
                slot.keys = *keys;
                slot.perhaps.push(*number);
            }
            Event::Acknowledged(slot) => {
                if let Some(slot) = self.slots.get_mut(slot)
                    && let Some(held) = slot.perhaps.pop()
                {
                    slot.held = held;
                    slot.perhaps.clear();
                    self.acknowledged += 1;
                }
            }
            Event::Refused(slot) => {
                if let Some(slot) = self.slots.get_mut(slot) {
                    slot.perhaps.pop();
                }
            }
        }
    }

    /// Does one write, of the kind that comes next. `tell` gets each event before the next one happens.
    ///
    /// # Errors
    ///
    /// The store's error, of which note was taken.
    pub fn write(
        &mut self,
        store: &Store,
        random: &mut Random,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<(), Error> {
        self.turn += 1;
        let (turn, writer) = (self.turn, self.writer);
        // As much of it as the store claims.
        let capabilities = store.capabilities();
        let kind = match random.below(8) {
            5 | 6 if !capabilities.features.contains(Features::ATOMIC_BATCH) => 0,
            7 if capabilities.isolation == Isolation::NONE => 0,
            kind => kind,
        };
        let (slot, keys, number) = match kind {
            0..4 => (format!("w{writer}/single{}", random.below(5)), 1, Some(turn)),
            4 => (format!("w{writer}/single{}", random.below(5)), 1, None),
            5 | 6 => (format!("w{writer}/batch"), 3, Some(turn)),
            _ => (format!("w{writer}/transaction"), 2, Some(turn)),
        };
        let mut happens = |ledger: &mut Self, event: Event| {
            tell(&event);
            ledger.note(&event);
        };
        happens(self, Event::Try(slot.clone(), keys, number));
        let written = match kind {
            0..4 => Self::put(store, &slot, turn),
            4 => Self::delete(store, &slot),
            5 | 6 => Self::batch(store, &slot, keys, turn),
            _ => Self::transaction(store, &slot, keys, turn),
        };
        match written {
            Ok(versions) => {
                happens(self, Event::Acknowledged(slot));
                for (key, version) in versions {
                    if !self.versions.insert((key.clone(), version.as_bytes().to_vec())) {
                        self.repeated.get_or_insert((key, version));
                    }
                }
                Ok(())
            }
            Err(error) => {
                if error.outcome() == Outcome::NOT_APPLIED {
                    happens(self, Event::Refused(slot));
                }
                Err(error)
            }
        }
    }

    fn put(store: &Store, slot: &str, turn: u64) -> Written {
        let (key, value) = (key(slot, 0), value(turn));
        let put = Put::new(Key::new(KEYSPACE, &key), &value).with_write_id(write_id());
        block_on(store.put(&call(), put)).map(|version| vec![(key, version)])
    }

    fn delete(store: &Store, slot: &str) -> Written {
        let key = key(slot, 0);
        let delete = Delete::new(Key::new(KEYSPACE, &key)).with_write_id(write_id());
        block_on(store.delete(&call(), delete)).map(|_| Vec::new())
    }

    fn batch(store: &Store, slot: &str, keys: u64, turn: u64) -> Written {
        let (keys, value): (Vec<_>, _) = ((0..keys).map(|index| key(slot, index)).collect(), value(turn));
        let ops: Vec<_> = keys.iter().map(|key| Op::put(Key::new(KEYSPACE, key), &value)).collect();
        let batch = Batch::new(&ops, BatchMode::Atomic, write_id());
        let results = block_on(store.apply(&call(), batch))?;
        let versions = results.iter().filter_map(|result| result.ok().map(|result| result.version()));
        Ok(keys.into_iter().zip(versions).collect())
    }

    fn transaction(store: &Store, slot: &str, keys: u64, turn: u64) -> Written {
        let begin = Begin { isolation: store.capabilities().isolation, read_only: false };
        let transaction = block_on(store.begin(&call(), begin))?;
        let value = value(turn);
        for index in 0..keys {
            // Before the commit no write takes effect, even if a single call reports another outcome.
            let undone = |error: Error| Error::new(error.code(), error.message());
            let key = key(slot, index);
            let put = Put::new(Key::new(KEYSPACE, &key), &value).with_write_id(write_id());
            block_on(transaction.put(&call(), put)).map_err(undone)?;
        }
        let committed = block_on(transaction.commit(&call(), write_id()))?;
        Ok(committed.keys().iter().map(|key| (key.key().to_vec(), key.version())).collect())
    }

    /// Checks that the store holds an allowed state. From then on, it must keep that state.
    ///
    /// # Errors
    ///
    /// What was lost, is half there or should not be.
    pub fn check(&mut self, store: &Store) -> Result<(), String> {
        if let Some((key, version)) = &self.repeated {
            return Err(format!(
                "the key {} was given the version {version:?} a second time",
                key.escape_ascii()
            ));
        }
        for (name, slot) in &mut self.slots {
            let mut found = Vec::new();
            for index in 0..slot.keys {
                let key = key(name, index);
                let record = block_on(store.get(&call(), Key::new(KEYSPACE, &key)));
                let record = record.map_err(|error| format!("{name}/{index} cannot be read: {error}"))?;
                found.push(record.map(|record| number(record.value())).transpose()?);
            }
            let first = found.first().copied().flatten();
            if found.iter().any(|number| *number != first) {
                return Err(format!("{name} is half there: {found:?}"));
            }
            if first != slot.held && !slot.perhaps.contains(&first) {
                return Err(format!(
                    "{name} holds {first:?}; acknowledged was {:?}, and without an answer were {:?}",
                    slot.held, slot.perhaps
                ));
            }
            slot.held = first;
            // What was asked of a store far away may still get there, until a later write is acknowledged.
            slot.perhaps.retain(|number| *number != first);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_back_and_half_lines_are_not() {
        for event in [
            Event::Try("w1/batch".into(), 3, Some(7)),
            Event::Try("w1/single0".into(), 1, None),
            Event::Acknowledged("w1/batch".into()),
            Event::Refused("w1/batch".into()),
        ] {
            assert_eq!(Event::from_line(&event.to_line()), Some(event));
        }
        assert_eq!(Event::from_line("try w1/batch 3"), None);
        assert_eq!(Event::from_line("ackno"), None);
    }

    /// The checker itself: a ledger that was told more than the store has must say so.
    #[test]
    fn lost_and_half_writes_are_found() {
        let plugin =
            keyway_loader::Plugin::linked(keyway_sdk::linked::<keyway_memory_backend::Memory>()).unwrap();
        let subject = crate::Subject::new(plugin, serde_json::json!({}));
        let opened = subject.open(std::path::Path::new(".")).unwrap();
        let store: &Store = &opened;
        let slot = "w1/batch".to_owned();
        let mut ledger = Ledger::new(1);
        ledger.note(&Event::Try(slot.clone(), 2, Some(1)));
        ledger.note(&Event::Acknowledged(slot.clone()));
        assert!(ledger.check(store).unwrap_err().contains("acknowledged was Some(1)"));
        let put = |index, bytes: &[u8]| {
            block_on(store.put(&call(), Put::new(Key::new(KEYSPACE, &key(&slot, index)), bytes))).unwrap();
        };
        put(0, &value(1));
        assert!(ledger.check(store).unwrap_err().contains("half there"));
        put(1, &value(1)[..100]);
        assert!(ledger.check(store).unwrap_err().contains("torn"));
        put(1, &value(1));
        ledger.check(store).unwrap();
        ledger.note(&Event::Try(slot.clone(), 2, Some(2)));
        ledger.note(&Event::Refused(slot.clone()));
        put(0, &value(2));
        put(1, &value(2));
        assert!(ledger.check(store).unwrap_err().contains("holds Some(2)"));
    }
}
