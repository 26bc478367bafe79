//! A disk: the files of one directory, with what can go wrong with them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use keyway_conformance::Random;

use crate::{model::Model, vfs};

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
pub struct Counts([u64; Call::ALL.len()]);

impl Counts {
    /// How often this one was made.
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(call.index()).copied().unwrap_or_default()
    }
}

/// The files of one directory.
pub struct Disk(Arc<Inner>);

pub(crate) struct Inner {
    directory: PathBuf,
    /// Whether it remembers what was synced; otherwise it only counts.
    remembers: bool,
    /// Whether it says that it has synced what it has not.
    lies: bool,
    counts: [AtomicU64; Call::ALL.len()],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Model>,
    fault: Option<Fault>,
    /// How many calls the fault has counted: calls of its kind, or calls that change a file.
    seen: u64,
    dead: bool,
    struck: u64,
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

impl Disk {
    /// A disk that can fail and lose power.
    ///
    /// # Errors
    ///
    /// If files that are there cannot be read.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let files = files_in(directory)?;
        Ok(Self::with(directory, (true, false), State { files, ..State::default() }))
    }

    /// A disk that says that it has synced what it has not.
    ///
    /// # Errors
    ///
    /// If files that are there cannot be read.
    pub fn lying(directory: &Path) -> io::Result<Self> {
        let files = files_in(directory)?;
        Ok(Self::with(directory, (true, true), State { files, ..State::default() }))
    }

    /// A disk that only counts.
    pub fn counting(directory: &Path) -> Self {
        Self::with(directory, (false, false), State::default())
    }

    fn with(directory: &Path, (remembers, lies): (bool, bool), state: State) -> Self {
        let inner = Inner {
            directory: directory.to_owned(),
            remembers,
            lies,
            counts: Default::default(),
            state: Mutex::new(state),
        };
        let inner = Arc::new(inner);
        vfs::attach(&inner);
        Self(inner)
    }

    /// From now on, this goes wrong, and nothing else.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.0.state();
        state.fault = fault;
        state.seen = 0;
    }

    /// How often each call was made so far.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (count, seen) in counts.0.iter_mut().zip(&self.0.counts) {
            *count = seen.load(Ordering::Relaxed);
        }
        counts
    }

    /// How many calls something was wrong with.
    pub fn struck(&self) -> u64 {
        self.0.state().struck
    }

    /// Cuts the power now, if it is still on.
    pub fn lose_power(&self) {
        self.0.state().dead = true;
    }

    /// Whether the power is gone.
    pub fn is_dead(&self) -> bool {
        self.0.state().dead
    }

    /// Writes the files to the directory as they are after the loss of power. Every file must have been
    /// closed.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn settle(self, seed: u64) -> io::Result<()> {
        let files = std::mem::take(&mut self.0.state().files);
        let mut random = Random::new(seed);
        for (path, model) in files {
            match model.after_loss(&mut random) {
                Some(bytes) => fs::write(&path, bytes)?,
                None if path.exists() => fs::remove_file(&path)?,
                None => {}
            }
        }
        // Memory that was mapped is anything after a loss of power.
        for entry in fs::read_dir(&self.0.directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-shm") {
                let garbage: Vec<u8> = (0..32 * 1024).map(|_| random.number() as u8).collect();
                fs::write(&path, garbage)?;
            }
        }
        Ok(())
    }
}

fn files_in(directory: &Path) -> io::Result<BTreeMap<PathBuf, Model>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            files.insert(path.clone(), Model::of(fs::read(&path)?));
        }
    }
    Ok(files)
}

impl Drop for Disk {
    fn drop(&mut self) {
        vfs::detach(&self.0);
    }
}

impl Inner {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
