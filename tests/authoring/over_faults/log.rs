//! A generated backend with a log, over a disk that fails, fills up and loses power: what no library can show alone.

use std::{io, path::Path, process::ExitCode, sync::Arc};

use keyway_conformance::Subject;
use keyway_faults::{
    Offered,
    files::{self, DiskFile},
};
use keyway_loader::Plugin;
use keyway_log_over_faults::log_disk::{DISK, Disk, File};
use serde_json::json;

struct Faulty;

impl Disk for Faulty {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Open(DiskFile::open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        files::remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        files::sync_directory(directory)
    }
}

struct Open(DiskFile);

impl File for Open {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.0.read()
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_at(bytes, at)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

fn subject() -> Result<Subject, String> {
    DISK.get_or_init(|| Arc::new(Faulty));
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_log_over_faults::Exported>());
    let subject = Subject::new(plugin.map_err(|error| error.to_string())?, json!({}));
    Ok(Subject { faults: Some(Offered::in_directory), ..subject })
}

fn main() -> ExitCode {
    let cases = ["durable_", "health_", "store_that_is_"];
    keyway_conformance::main_for(&[("log-over-faults", subject)], &cases)
}
