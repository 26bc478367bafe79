//! What a disk knows of its files, and what it makes of each call.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::model::Model;

/// What SQLite asks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Opening or making it.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Syncing.
    Sync,
    /// Making it shorter or longer.
    Truncate,
    /// Asking for its size.
    Size,
    /// Locking it, in the way of before the WAL.
    Lock,
    /// Mapping memory that connections share.
    Map,
    /// Removing it.
    Remove,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Truncate,
        Self::Size,
        Self::Lock,
        Self::Map,
        Self::Remove,
    ];

    fn index(self) -> usize {
        Self::ALL.iter().position(|call| *call == self).unwrap_or_default()
    }
}

/// What goes wrong, from now on.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// `times` calls of one kind fail, from the call with number `nth` on, counted from one.
    Fail {
        /// The kind.
        call: Call,
        /// The first that fails.
        nth: u64,
        /// How many fail.
        times: u64,
    },
    /// `times` reads return half of the requested bytes, from the read with number `nth` on.
    ShortRead {
        /// The first.
        nth: u64,
        /// How many.
        times: u64,
    },
    /// The database cannot be read at one offset.
    BadSector {
        /// An offset in bytes.
        at: u64,
    },
    /// All files together can grow by `room` bytes, and no further.
    Full {
        /// How many more bytes there is room for.
        room: u64,
    },
    /// Every call fails.
    Gone,
    /// Every change of a file fails, as on a read-only file system.
    ReadOnly,
    /// The power goes at the write, sync or truncation of that number, counted from one.
    LosePower {
        /// The call that does not come back.
        nth: u64,
    },
}

/// How often each call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts(pub(crate) [u64; Call::ALL.len()]);

impl Counts {
    /// How often this one was made.
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(call.index()).copied().unwrap_or_default()
    }
}

/// What a [`Disk`](crate::Disk) and the VFS in front of it share.
pub(crate) struct Inner {
    pub(crate) directory: PathBuf,
    /// Whether it remembers what was synced; otherwise it only counts.
    pub(crate) remembers: bool,
    /// Whether it says that it has synced what it has not.
    pub(crate) lies: bool,
    pub(crate) counts: [AtomicU64; Call::ALL.len()],
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<PathBuf, Model>,
    pub(crate) fault: Option<Fault>,
    /// How many calls the fault has counted: calls of its kind, or calls that change a file.
    pub(crate) seen: u64,
    pub(crate) dead: bool,
    pub(crate) struck: u64,
}

/// What of its file a call is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reach {
    /// By how many bytes the file becomes longer.
    pub(crate) grows_by: u64,
    /// The bytes of the database that are read.
    pub(crate) reads: Option<(u64, u64)>,
}

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    Fail,
    Short,
    Full,
}

impl Inner {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and does it unless something is wrong. Calls of one disk run one at a time, so its
    /// model matches the file.
    pub(crate) fn call<T>(
        &self,
        call: Call,
        reach: Reach,
        work: impl FnOnce(Verdict, &mut dyn FnMut(&Path, &dyn Fn(&mut Model))) -> T,
    ) -> T {
        if let Some(count) = self.counts.get(call.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !self.remembers {
            return work(Verdict::Go, &mut |_, _| ());
        }
        let mut state = self.state();
        let verdict = state.judge(call, reach);
        state.struck += u64::from(verdict != Verdict::Go);
        let was_dead = state.dead;
        let dies = matches!(state.fault, Some(Fault::LosePower { nth }) if state.seen >= nth);
        let State { files, .. } = &mut *state;
        // The call that meets the end may still have reached the disk in part, but a sync did not.
        let reaches = !(was_dead || call == Call::Sync && (dies || self.lies));
        let result = work(verdict, &mut |path, change| {
            if reaches {
                change(files.entry(path.to_owned()).or_default());
            }
        });
        state.dead |= dies;
        result
    }
}

impl State {
    fn judge(&mut self, call: Call, Reach { grows_by, reads }: Reach) -> Verdict {
        if self.dead {
            return Verdict::Fail;
        }
        let changes = matches!(call, Call::Write | Call::Sync | Call::Truncate);
        let within = |seen: u64, nth: u64, times: u64| seen >= nth && seen - nth < times;
        match &mut self.fault {
            Some(Fault::Fail { call: failing, nth, times }) if *failing == call => {
                self.seen += 1;
                if within(self.seen, *nth, *times) { Verdict::Fail } else { Verdict::Go }
            }
            Some(Fault::ShortRead { nth, times }) if call == Call::Read => {
                self.seen += 1;
                if within(self.seen, *nth, *times) { Verdict::Short } else { Verdict::Go }
            }
            Some(Fault::BadSector { at }) if reads.is_some_and(|(begin, end)| (begin..end).contains(at)) => {
                Verdict::Fail
            }
            Some(Fault::Full { room }) if grows_by > 0 => {
                if grows_by > *room {
                    return Verdict::Full;
                }
                *room -= grows_by;
                Verdict::Go
            }
            Some(Fault::Gone) => Verdict::Fail,
            Some(Fault::ReadOnly) if changes || call == Call::Remove => Verdict::Fail,
            Some(Fault::LosePower { nth }) if changes => {
                self.seen += 1;
                if self.seen >= *nth { Verdict::Fail } else { Verdict::Go }
            }
            _ => Verdict::Go,
        }
    }
}
