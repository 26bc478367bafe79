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
    make: fn(&Path) -> io::Result<Disk>,
    disk: Mutex<Option<Disk>>,
}

impl Offered {
    /// The faults of a directory, for [`Subject::faults`](keyway_conformance::Subject).
    ///
    /// # Errors
    ///
    /// If its files cannot be read.
    pub fn in_directory(directory: &Path) -> Result<Box<dyn Faults>, Unoffered> {
        Self::made_by(Disk::new, directory)
    }

    /// The same, on a disk that does not sync when it is told to: as if the backend had not told it.
    ///
    /// # Errors
    ///
    /// If its files cannot be read.
    pub fn without_sync(directory: &Path) -> Result<Box<dyn Faults>, Unoffered> {
        Self::made_by(Disk::lying, directory)
    }

    fn made_by(make: fn(&Path) -> io::Result<Disk>, directory: &Path) -> Result<Box<dyn Faults>, Unoffered> {
        let disk = Mutex::new(Some(make(directory).map_err(unreadable)?));
        Ok(Box::new(Self { directory: directory.to_owned(), make, disk }))
    }

    fn disk(&self) -> MutexGuard<'_, Option<Disk>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(error: io::Error) -> Unoffered {
    Unoffered(format!("the store's files: {error}"))
}

impl Faults for Offered {
    fn lose_power_at(&self, call: u64) -> Result<(), Unoffered> {
        match (&*self.disk(), call) {
            (None, _) => return Err(Unoffered("the disk could not be set up again".into())),
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
        *disk = Some((self.make)(&self.directory).map_err(unreadable)?);
        Ok(())
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Unoffered> {
        let fault = trouble.map(|trouble| match trouble {
            Trouble::Gone => Fault::Gone,
            Trouble::Full => Fault::Full { room: 0 },
            Trouble::ReadOnly => Fault::ReadOnly,
        });
        let disk = self.disk();
        let disk = disk.as_ref().ok_or_else(|| Unoffered("the disk could not be set up again".into()))?;
        disk.set_fault(fault);
        Ok(())
    }
}
