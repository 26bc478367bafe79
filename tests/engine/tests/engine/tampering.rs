//! Records that are changed in the store: the engine refuses and names each one. It never answers plaintext
//! or absence, and never panics.

use keyway_core::{
    barrier::Barrier,
    mounts::Mount,
    secrets::{Content, Engine, EngineError, FolderPath, Part, Read, SecretPath, Write},
};
use keyway_loader::{Key, Put, Scan};
use keyway_storage::Storage;

use crate::chaos::{Disk, REQUEST, mount, some_barrier};

const PLAINTEXT: &[u8] = b"{\"password\":\"correct horse battery staple\"}";

struct Vault {
    barrier: Barrier,
    mount: Mount,
    storage: Storage,
}

impl Vault {
    async fn new() -> Self {
        Self { barrier: some_barrier().await, mount: mount(0), storage: Disk::new(true).open().await }
    }

    fn engine(&self) -> Engine<'_> {
        Engine::new(&self.barrier, &self.mount, &self.storage, &REQUEST)
    }

    async fn write(&self, path: &str) {
        let write = Write { content: Content::Whole(PLAINTEXT), cas: None };
        self.engine().write(&SecretPath::parse(path).unwrap(), &write).await.unwrap();
    }

    async fn read(&self, path: &str, version: Option<u64>) -> Result<Read, EngineError> {
        self.engine().read(&SecretPath::parse(path).unwrap(), version).await
    }

    /// All keys and values of the mount.
    async fn records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keyspace = self.mount.keyspace();
        let page = self.storage.scan(&REQUEST, Scan::prefix(&keyspace, b"")).await.unwrap();
        page.entries().iter().map(|entry| (entry.key().to_vec(), entry.record().value().to_vec())).collect()
    }

    async fn put(&self, key: &[u8], value: &[u8]) {
        let keyspace = self.mount.keyspace();
        self.storage.put(&REQUEST, Put::new(Key::new(&keyspace, key), value)).await.unwrap();
    }

    /// Every version of the secret is an error that names it, wherever the altered record is met.
    async fn must_refuse(&self, path: &str, what: &str) {
        let mut refused = 0;
        for version in [None, Some(1), Some(2)] {
            match self.read(path, version).await {
                Err(EngineError::Record(error)) => {
                    assert!(error.to_string().contains(path), "{what}: {error}");
                    refused += 1;
                }
                Ok(Read::Value(_, value)) => assert_eq!(value.as_slice(), PLAINTEXT, "{what}"),
                Ok(Read::Missing | Read::Deleted(_)) => unreachable!("{what}: absent"),
                Err(error) => unreachable!("{what}: {error}"),
            }
        }
        assert!(refused > 0, "{what}: not noticed");
        // A list reads no values, and is neither empty nor an error.
        assert_eq!(
            self.engine().list(&FolderPath::parse("").unwrap(), Part::default()).await.unwrap(),
            ["a"]
        );
    }
}

#[tokio::test]
async fn every_flipped_byte_and_every_truncation_of_every_record_is_refused() {
    let vault = Vault::new().await;
    vault.write("a").await;
    vault.write("a").await;
    let records = vault.records().await;
    assert_eq!(records.len(), 2);
    for (key, value) in records {
        let name = String::from_utf8_lossy(&key).into_owned();
        for index in 0..value.len() {
            let mut altered = value.clone();
            altered[index] ^= 1 << (index % 8);
            vault.put(&key, &altered).await;
            vault.must_refuse("a", &format!("{name} byte {index}")).await;
        }
        for length in 0..value.len() {
            vault.put(&key, &value[..length]).await;
            vault.must_refuse("a", &format!("{name} cut to {length}")).await;
        }
        let mut longer = value.clone();
        longer.push(0);
        vault.put(&key, &longer).await;
        vault.must_refuse("a", &format!("{name} with a byte more")).await;
        vault.put(&key, &value).await;
    }
    assert!(matches!(vault.read("a", None).await, Ok(Read::Value(..))));
}

#[tokio::test]
async fn records_of_another_secret_mount_or_cluster_are_refused() {
    let (vault, other) = (Vault::new().await, Vault::new().await);
    vault.write("a").await;
    other.write("a").await;
    let foreign = other.records().await.remove(0);
    let own = vault.records().await.remove(0);
    vault.put(&own.0, &foreign.1).await;
    vault.must_refuse("a", "another cluster's").await;

    // The same cluster, another mount.
    let beside = Vault { mount: Mount::new("main"), ..Vault::new().await };
    let beside = Vault { barrier: vault.barrier, ..beside };
    beside.write("a").await;
    beside.put(&own.0, &own.1).await;
    beside.must_refuse("a", "another mount's").await;
}

#[tokio::test]
async fn swapped_pairs_are_refused() {
    let vault = Vault::new().await;
    for path in ["a", "b"] {
        vault.write(path).await;
    }
    let records = vault.records().await;
    vault.put(&records[0].0, &records[1].1).await;
    vault.put(&records[1].0, &records[0].1).await;
    for path in ["a", "b"] {
        let Err(error) = vault.read(path, None).await else { unreachable!("{path} was read") };
        assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
    }
}

#[tokio::test]
async fn replayed_value_under_newer_metadata_is_refused() {
    let vault = Vault::new().await;
    let fresh = async || vault.records().await.into_iter().find(|(key, _)| key == b"m/a").unwrap().1;
    vault.write("a").await;
    let first = fresh().await;
    vault.write("a").await;
    let second = fresh().await;
    // The newer metadata in front of the older value: the record is one format byte, a length, the metadata,
    // the value.
    let metadata = |record: &[u8]| 5 + u32::from_be_bytes(record[1..5].try_into().unwrap()) as usize;
    let mixed = [&second[..metadata(&second)], &first[metadata(&first)..]].concat();
    vault.put(b"m/a", &mixed).await;
    vault.must_refuse("a", "an older value under newer metadata").await;
    // And the newer value under the older metadata.
    let mixed = [&first[..metadata(&first)], &second[metadata(&second)..]].concat();
    vault.put(b"m/a", &mixed).await;
    let Err(EngineError::Record(_)) = vault.read("a", None).await else { unreachable!("it was read") };
}
