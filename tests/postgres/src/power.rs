//! A server's power: taken away at a chosen write or sync, and what a disk may hold then.
//!
//! `preload/power.c` is in the server and keeps a journal of what its writes replace. Names of files
//! are durable at once; their contents only after a sync.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::user::give_away;

/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;
/// Of an entry in the journal: six numbers of eight bytes.
const HEADER: usize = 48;

/// See the module.
pub struct Power {
    library: PathBuf,
    state: PathBuf,
    journal: PathBuf,
    data: PathBuf,
}

/// A write that the journal knows of.
struct Written {
    inode: u64,
    offset: u64,
    length: usize,
    path: PathBuf,
    old: Vec<u8>,
}

impl Power {
    /// Builds the preloaded library with the system's compiler.
    pub(crate) fn prepare(directory: &Path, data: &Path) -> Result<Self> {
        let (library, source) = (directory.join("power.so"), directory.join("power.c"));
        fs::write(&source, include_str!("../preload/power.c")).context("write power.c")?;
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl");
        let compiled = compiler.output().context("start cc")?;
        ensure!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
        let (state, journal) = (directory.join("power.state"), directory.join("power.journal"));
        fs::write(&state, [0; 16])?;
        fs::write(&journal, [])?;
        for path in [&library, &state, &journal] {
            give_away(path)?;
        }
        Ok(Self { library, state, journal, data: data.canonicalize()? })
    }

    pub(crate) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("KEYWAY_POWER_STATE", &self.state),
            ("KEYWAY_POWER_JOURNAL", &self.journal),
            ("KEYWAY_POWER_DATA", &self.data),
        ]
    }

    fn set(&self, countdown: u64, is_dark: u64) -> Result<()> {
        let state = File::options().write(true).open(&self.state)?;
        state
            .write_all_at(&[countdown.to_ne_bytes(), is_dark.to_ne_bytes()].concat(), 0)
            .context("the power's state")
    }

    /// It goes at the write or sync of that number from now on, counted from one; zero is now.
    ///
    /// # Errors
    ///
    /// If the shared file cannot be written.
    pub fn lose_at(&self, call: u64) -> Result<()> {
        self.set(call, u64::from(call == 0))
    }

    /// Whether it has gone.
    pub fn is_dark(&self) -> bool {
        fs::read(&self.state)
            .is_ok_and(|state| state.get(8..).is_some_and(|dark| dark.iter().any(|byte| *byte != 0)))
    }

    /// Puts back, of what was written and not synced, what was there before: for each sector as of some
    /// moment since its last sync. No process may have the files open any more.
    pub(crate) fn lose(&self, seed: u64) -> Result<()> {
        let journal = fs::read(&self.journal).context("read the journal")?;
        let mut unsynced: HashMap<u64, Vec<Written>> = HashMap::new();
        let mut rest = journal.as_slice();
        while let Some((header, behind)) = rest.split_at_checked(HEADER) {
            let numbers: Vec<u64> =
                header.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_ne_bytes)).collect();
            let &[is_sync, inode, offset, length, path_bytes, old_bytes] = numbers.as_slice() else { break };
            // A process that was killed in the middle of its last note had not written yet.
            let Some((path, behind)) = behind.split_at_checked(usize::try_from(path_bytes)?) else { break };
            let Some((old, behind)) = behind.split_at_checked(usize::try_from(old_bytes)?) else { break };
            rest = behind;
            if is_sync == 1 {
                unsynced.remove(&inode);
                continue;
            }
            let path = PathBuf::from(String::from_utf8_lossy(path).into_owned());
            let (length, old) = (usize::try_from(length)?, old.to_vec());
            unsynced.entry(inode).or_default().push(Written { inode, offset, length, path, old });
        }
        let mut random = seed;
        for writes in unsynced.into_values() {
            undo(writes, &mut random)?;
        }
        File::create(&self.journal)?;
        give_away(&self.journal)?;
        self.set(0, 0)
    }
}

/// From the last write of a file to the first: each sector goes back, until it stays.
fn undo(writes: Vec<Written>, random: &mut u64) -> Result<()> {
    let mut stays: HashMap<u64, bool> = HashMap::new();
    for write in writes.into_iter().rev() {
        let Ok(file) = File::options().write(true).open(&write.path) else { continue };
        if file.metadata()?.ino() != write.inode {
            continue;
        }
        let mut old = write.old;
        // There was nothing after the old end. If the file was made longer, it may hold zeros there.
        old.resize(write.length, 0);
        for (nth, sector) in old.chunks(SECTOR).enumerate() {
            let at = write.offset + (nth * SECTOR) as u64;
            let stay = stays.entry(at / SECTOR as u64).or_insert(false);
            *stay = *stay || next(random).is_multiple_of(2);
            if !*stay {
                file.write_all_at(sector, at)?;
            }
        }
    }
    Ok(())
}

/// Splitmix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
