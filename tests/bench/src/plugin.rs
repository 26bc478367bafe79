//! Plugins from the libraries in this program's directory, loaded as a host loads them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, Generation, History, Loader, LockFile, Origin, Requirement, SearchPath, Trust,
    configure::configure, describe::describe, discover::file_name, stage::stage,
};
use serde_json::Value;

/// Opens a plugin. Its data and the files of the loader go into `directory`.
pub(crate) fn open(name: &str, config: Value, directory: &Path) -> Result<Generation> {
    let program = env::current_exe()?;
    let built = program.parent().context("this program is in a directory")?;
    let library = built.join(file_name(name));
    let loader = Loader {
        search: vec![SearchPath { directory: built.to_owned(), origin: Origin::Bundled }],
        trust: Trust::lock(lock(&library, directory)?),
        libraries: Vec::new(),
        // The benchmark measures the open plugin, not the probe.
        prober: None,
        history: History::new(directory.join("staged")),
        staging_dir: directory.join("staged"),
        host: env!("CARGO_PKG_VERSION").to_owned(),
        most_images: usize::MAX,
    };
    let plugin = loader.load(&Requirement::parse(name).map_err(|error| anyhow!(error))?)?;
    let backend = BackendConfig { name: "bench".to_owned(), config, data_dir: directory.to_owned() };
    Ok(block_on(configure(&plugin, &backend))?)
}

fn lock(library: &Path, directory: &Path) -> Result<PathBuf> {
    let mut lock = LockFile::default();
    lock.insert(&describe(stage(library, &directory.join("locking"))?)?);
    let path = directory.join("keyway.lock");
    fs::write(&path, lock.to_text())?;
    Ok(path)
}
