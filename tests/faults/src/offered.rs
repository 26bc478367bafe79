//! What the conformance suite may do to the files beneath SQLite.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyway_conformance::{Faults, Trouble, Unoffered};

use crate::{Disk, Fault};

/// The disk that a store's directory is on, for the suite.
pub struct Offered {
    directory: PathBuf,
    disk: Mutex<Option<Disk>>,
}

impl Offered {
    /// The faults of a directory, for [`Subject::faults`](keyway_conformance::Subject).
    ///
    /// # Errors
    ///
    /// When its files cannot be read.
    pub fn in_directory(directory: &Path) -> Result<Box<dyn Faults>, Unoffered> {
        let disk = Disk::new(directory).map_err(unreadable)?;
        Ok(Box::new(Self { directory: directory.to_owned(), disk: Mutex::new(Some(disk)) }))
    }

    fn disk(&self) -> MutexGuard<'_, Option<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, fault: Option<Fault>) {
        if let Some(disk) = &*self.disk() {
            disk.set_fault(fault);
        }
    }
}

fn unreadable(error: io::Error) -> Unoffered {
    Unoffered(format!("the store's files: {error}"))
}

impl Faults for Offered {
    fn lose_power_at(&self, call: u64) -> Result<(), Unoffered> {
        match (&*self.disk(), call) {
            (None, _) => {}
            (Some(disk), 0) => disk.lose_power(),
            (Some(disk), nth) => disk.set_fault(Some(Fault::LosePower { nth })),
        }
        Ok(())
    }

    fn is_dark(&self) -> bool {
        self.disk().as_ref().is_some_and(Disk::is_dead)
    }

    fn settle(&self, seed: u64) -> Result<(), Unoffered> {
        let mut disk = self.disk();
        if let Some(disk) = disk.take() {
            disk.settle(seed).map_err(unreadable)?;
        }
        *disk = Some(Disk::new(&self.directory).map_err(unreadable)?);
        Ok(())
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Unoffered> {
        self.set(trouble.map(|trouble| match trouble {
            Trouble::Gone => Fault::Gone,
            Trouble::Full => Fault::Full { room: 0 },
            Trouble::ReadOnly => Fault::ReadOnly,
        }));
        Ok(())
    }
}
