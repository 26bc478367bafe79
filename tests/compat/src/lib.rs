//! What the tests share: the libraries that the workspace builds, and a place to load them in.
#![expect(clippy::expect_used, clippy::panic, reason = "for tests, which fail by panicking")]

pub mod forge;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_executor::block_on;
use keyway_conformance::{Library, Options, Program, Report, Suite};
use keyway_loader::{
    BackendConfig, ConfigureError, Generation, History, LoadError, Loader, LockFile, Origin, Plugin, Prober,
    Requirement, SearchPath, Trust, configure::configure, describe::describe, discover::file_name,
    stage::stage,
};
use serde_json::Value;
use tempfile::TempDir;

/// A file that the workspace has built, in the directory of the running test or program.
pub fn built(file: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let mut directory = test.parent().expect("a program is in a directory");
    // A test is in `target/PROFILE/deps`, a program in `target/PROFILE`.
    if directory.ends_with("deps") {
        directory = directory.parent().expect("`deps` is in a directory");
    }
    let library = directory.join(file);
    if !library.exists() {
        panic!(
            "{} is missing: run `cargo build --workspace` first, or `cargo xtask test`",
            library.display()
        );
    }
    library
}

/// The library of a plugin that the workspace has built.
pub fn plugin(name: &str) -> PathBuf {
    built(&file_name(name))
}

/// Probes in the program that this package builds for it.
pub fn prober() -> Prober {
    let program = built(&format!("keyway-probe{}", env::consts::EXE_SUFFIX));
    Prober { program, arguments: Vec::new(), deadline: Duration::from_secs(20), memory: 512 * 1024 * 1024 }
}

/// A directory of plugins, a lock file, and a loader that reads them.
pub struct Workbench {
    directory: TempDir,
    /// The loader.
    pub loader: Loader,
}

impl Default for Workbench {
    fn default() -> Self {
        Self::new()
    }
}

impl Workbench {
    /// With no plugins and an empty lock file.
    pub fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let plugins = directory.path().join("plugins");
        fs::create_dir(&plugins).expect("make a directory");
        let lock = directory.path().join("keyway.lock");
        fs::write(&lock, LockFile::default().to_text()).expect("write a lock file");
        let staging_dir = directory.path().join("staged");
        let loader = Loader {
            search: vec![SearchPath { directory: plugins, origin: Origin::Configuration }],
            trust: Trust::lock(lock),
            libraries: Vec::new(),
            prober: Some(prober()),
            history: History::new(staging_dir.clone()),
            staging_dir,
            host: "0.0.0-test".to_owned(),
            most_images: usize::MAX,
        };
        Self { directory, loader }
    }

    /// With this plugin in it, locked.
    pub fn with(name: &str) -> Self {
        let bench = Self::new();
        bench.put(name, &fs::read(plugin(name)).expect("read a library"));
        bench.lock(name);
        bench
    }

    /// The directory for whatever a test needs.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The file of a plugin.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join("plugins").join(file_name(name))
    }

    /// Puts bytes where the library of a plugin is looked for.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.file(name), bytes).expect("write a library");
    }

    /// Lets the file of a plugin run.
    pub fn lock(&self, name: &str) {
        let path = &self.loader.trust.lock_file;
        let staged = stage(&self.file(name), &self.loader.staging_dir).expect("stage a library");
        let mut lock = LockFile::read(path).expect("read the lock file");
        lock.insert(&describe(staged).expect("describe a library"));
        fs::write(path, lock.to_text()).expect("write the lock file");
    }

    /// Puts a forged library where the plugin `forged` is looked for, locked.
    pub fn forge(&self, forged: &forge::Forged<'_>) {
        self.put("forged", &forged.compile(self.path()));
        self.lock("forged");
    }

    /// A text without what differs from run to run: this directory, the one of the build, digests and numbers
    /// of processes.
    pub fn neutral(&self, text: &str) -> String {
        let build = plugin("memory");
        let build = build.parent().unwrap_or(&build);
        let text = text
            .replace(&self.path().to_string_lossy().into_owned(), "[bench]")
            .replace(&build.to_string_lossy().into_owned(), "[build]")
            .replace(&keyway_loader::describe::host_target(), "[target]");
        let mut neutral = String::new();
        let mut word = String::new();
        for letter in text.chars().chain(['\n']) {
            if letter.is_ascii_hexdigit() {
                word.push(letter);
                continue;
            }
            neutral.push_str(if word.len() == 64 { "[sha256]" } else { &word });
            word.clear();
            neutral.push(letter);
        }
        neutral.trim_end().to_owned()
    }

    /// Loads a plugin.
    ///
    /// # Errors
    ///
    /// The loader's.
    pub fn load(&self, requirement: &str) -> Result<Plugin, Box<LoadError>> {
        self.loader.load(&Requirement::parse(requirement).expect("a requirement"))
    }

    /// Runs the conformance suite on a plugin's file.
    pub fn conform(&self, name: &str, config: Value, options: Options) -> Report {
        let staged = stage(&self.file(name), &self.loader.staging_dir).expect("stage a library");
        let path = built(&format!("keyway-suite{}", env::consts::EXE_SUFFIX));
        let program = Program { path, arguments: Vec::new() };
        let subject = Library::new(&staged, config).to_value().expect("a Unicode path");
        let suite = Suite { program, subject, options, stop: Arc::default() };
        suite.run(|_| ()).unwrap_or_else(|error| panic!("{}", keyway_loader::Chain(&error)))
    }

    /// Loads and opens a plugin as the backend `main`.
    ///
    /// # Errors
    ///
    /// The last stage's.
    pub fn open(&self, name: &str, config: Value) -> Result<Generation, ConfigureError> {
        let plugin = self.load(name).unwrap_or_else(|error| panic!("{error}"));
        let config = BackendConfig { name: "main".into(), config, data_dir: self.path().to_owned() };
        block_on(configure(&plugin, &config))
    }
}
