//! A disk: the files of one directory, with what can go wrong with them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
};

use keyway_conformance::Random;

use crate::{
    device::{Counts, Fault, Inner, State},
    model::Model,
    vfs,
};

/// The files of one directory.
pub struct Disk(Arc<Inner>);

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
        } else if path.is_dir() {
            files.append(&mut files_in(&path)?);
        }
    }
    Ok(files)
}

impl Drop for Disk {
    fn drop(&mut self) {
        vfs::detach(&self.0);
    }
}
