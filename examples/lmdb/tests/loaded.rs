//! The shared library, loaded by a host: what a Keyway server does with it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs};

use keyway_loader::{
    BackendConfig, CallContext, Condition, ErrorCode, Generation, History, Key, Loader, LockFile, Origin,
    Put, Requirement, SearchPath, Trust, Wanted, WriteId, describe::describe, discover::file_name,
    stage::stage,
};
use tempfile::TempDir;

const PLUGIN: &str = env!("CARGO_PKG_NAME");

/// A host with this library in its lock file.
struct Host {
    loader: Loader,
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (plugins, staging_dir) = (directory.path().join("plugins"), directory.path().join("staging"));
        fs::create_dir(&plugins).unwrap();
        // Cargo puts the library next to this program.
        let program = env::current_exe().unwrap();
        let library = plugins.join(file_name(PLUGIN));
        fs::copy(program.with_file_name(file_name(PLUGIN)), &library).unwrap();
        let library = stage(&library, &staging_dir).unwrap();
        let mut lock = LockFile::default();
        lock.insert(&describe(library).unwrap());
        let lock_file = directory.path().join("keyway.lock");
        fs::write(&lock_file, lock.to_text()).unwrap();
        let loader = Loader {
            search: vec![SearchPath { directory: plugins, origin: Origin::Configuration }],
            trust: Trust::lock(lock_file),
            libraries: Vec::new(),
            prober: None,
            history: History::new(staging_dir.clone()),
            staging_dir,
            host: "test".to_owned(),
            most_images: 64,
        };
        Self { loader, directory }
    }

    async fn open(&self) -> Generation {
        let config = serde_json::json!({});
        let backend =
            BackendConfig { name: "main".to_owned(), config, data_dir: self.directory.path().to_owned() };
        let wanted = Wanted { plugin: Requirement::parse(PLUGIN).unwrap(), fallback: false };
        let (plugin, fallback) = self.loader.choose(&wanted, &backend).unwrap();
        self.loader.open_store(&plugin, fallback, &backend).await.unwrap()
    }
}

#[tokio::test]
async fn loaded_library_keeps_a_record() {
    let host = Host::new();
    let store = host.open().await;
    let call = CallContext::background();
    let key = Key::new("example", b"key");
    let put = Put::new(key, b"value").when(Condition::Absent);

    let version = store.put(&call, put.with_write_id(WriteId::new([1; 16]))).await.unwrap();
    let record = store.get(&call, key).await.unwrap().unwrap();
    assert_eq!((record.value(), record.version()), (&b"value"[..], version));

    let again = store.put(&call, put.with_write_id(WriteId::new([2; 16]))).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::ALREADY_EXISTS);
    store.shutdown(&call).await.unwrap();
}
