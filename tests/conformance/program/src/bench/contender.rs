//! What is measured: an open store of a library.

use std::{
    env,
    path::{Path, PathBuf},
};

use futures_executor::block_on;
use keyway_conformance::{Library, Subject, write_id};
use keyway_loader::{
    BackupLevel, Batch, BatchMode, CallContext, Capabilities, DropKeyspace, Features, Generation, Isolation,
    Key, Op, discover::file_name,
};
use keyway_terminal::{Failure, files::read, output};
use serde_json::Value;

/// The keyspace of all work. It is removed before the work, and after it.
pub(super) const KEYSPACE: &str = "keyway-plugin-bench";
/// Records that are there before any work begins.
pub(super) const RECORDS: usize = 4_096;
/// The length of their values.
pub(super) const VALUE_BYTES: usize = 1_024;

/// An open store.
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) profile: String,
    pub(super) store: Generation,
    pub(super) capabilities: Capabilities,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) value: Vec<u8>,
}

impl Contender {
    /// Opens the store of a library, in a directory beneath `directory`, and fills it.
    pub(super) fn open(role: &str, file: &Path, config: Value, directory: &Path) -> Result<Self, Failure> {
        let (described, _staging) = read(file)?;
        let name = &described.descriptor.name;
        let version = described.descriptor.version.to_string();
        let profile = described.descriptor.profile.clone();
        let failed = |reason: String| Failure::Other(format!("{name}: {reason}"));
        let library = Library::new(&described.staged, config).to_value().map_err(failed)?;
        let subject: Subject = Library::load(&library).map_err(failed)?;
        let data = directory.join(role);
        std::fs::create_dir_all(&data).map_err(|error| Failure::file("make", &data, &error))?;
        let store = subject.open(&data).map_err(failed)?;
        let capabilities = store.capabilities();
        let keys = (0..RECORDS).map(|number| format!("app/{number:06}").into_bytes()).collect();
        let contender = Self {
            name: name.clone(),
            version,
            profile,
            store,
            capabilities,
            keys,
            value: vec![7; VALUE_BYTES],
        };
        contender.clear().and_then(|()| contender.fill()).map_err(|error| failed(error.to_string()))?;
        Ok(contender)
    }

    fn clear(&self) -> Result<(), keyway_loader::Error> {
        let call = CallContext::background();
        block_on(self.store.drop_keyspace(&call, DropKeyspace::new(KEYSPACE, write_id()))).map(|_| ())
    }

    fn fill(&self) -> Result<(), keyway_loader::Error> {
        for keys in self.keys.chunks(16) {
            let ops: Vec<Op<'_>> =
                keys.iter().map(|key| Op::put(Key::new(KEYSPACE, key), &self.value)).collect();
            let batch = Batch::new(&ops, BatchMode::Independent, write_id());
            let results = block_on(self.store.apply(&CallContext::background(), batch))?;
            if let Some(failed) = results.iter().find_map(Result::err) {
                return Err(failed.clone());
            }
        }
        Ok(())
    }

    pub(super) fn has_batches(&self) -> bool {
        self.capabilities.features.contains(Features::ATOMIC_BATCH)
    }

    pub(super) fn has_transactions(&self) -> bool {
        self.capabilities.isolation > Isolation::NONE
    }

    pub(super) fn has_backup(&self) -> bool {
        self.capabilities.backup > BackupLevel::NONE
    }
}

/// Removes its records and closes it.
impl Drop for Contender {
    fn drop(&mut self) {
        let cleared = self.clear().and_then(|()| block_on(self.store.shutdown(&CallContext::background())));
        if let Err(error) = cleared {
            output::warn(&format!("{}: the keyspace {KEYSPACE} is not removed: {error}", self.name));
        }
    }
}

/// The library of an official backend.
pub(super) fn find(name: &str, named: &[PathBuf]) -> Option<PathBuf> {
    let environment = env::var_os("KEYWAY_PLUGIN_PATH").unwrap_or_default();
    let mut directories = named.to_vec();
    if named.is_empty() {
        directories.extend(env::split_paths(&environment).filter(|path| path.is_absolute()));
        directories.push("/usr/lib/keyway/plugins".into());
        let program = env::current_exe().ok();
        let own = program.as_deref().and_then(Path::parent).into_iter();
        directories.extend(own.flat_map(|own| [own.join("plugins"), own.to_owned()]));
    }
    directories.iter().map(|directory| directory.join(file_name(name))).find(|file| file.is_file())
}
