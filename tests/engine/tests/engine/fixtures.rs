//! Whole stores of every format, as earlier versions wrote them: they unseal, and everything in them can be read.
//!
//! `store-1.json`: seal record and keyring of format 1, metadata without settings. `store-2.json`: both of
//! format 2, two keys, counted uses, custom metadata.

use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use keyway_core::{
    barrier::{Barrier, UseBound},
    mounts::Mounts,
    seal::SealRecord,
    secrets::{Content, Engine, FolderPath, Part, Read, SecretPath, Write, WriteResult},
    token::{Token, Tokens},
};
use keyway_crypto::shares::Share;
use keyway_loader::{Key, Put};
use keyway_storage::Storage;
use serde::Deserialize;

use crate::chaos::{Disk, REQUEST};

#[derive(Deserialize)]
struct Fixture {
    share: String,
    root_token: String,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    keyspace: String,
    /// Hexadecimal.
    key: String,
    /// Base64.
    value: String,
}

async fn restored(fixture: &Fixture) -> Storage {
    let storage = Disk::new(true).open().await;
    for Record { keyspace, key, value } in &fixture.records {
        let (key, value) =
            (HEXLOWER.decode(key.as_bytes()).unwrap(), BASE64.decode(value.as_bytes()).unwrap());
        storage.put(&REQUEST, Put::new(Key::new(keyspace, &key), &value)).await.unwrap();
    }
    storage
}

#[tokio::test]
async fn stores_of_every_format_are_read_and_go_on() {
    for (text, keys, owner) in [
        (include_str!("fixtures/store-1.json"), 1, None),
        (include_str!("fixtures/store-2.json"), 2, Some("ops")),
    ] {
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let storage = restored(&fixture).await;
        let (record, version) = SealRecord::load_versioned(&storage, &REQUEST).await.unwrap().unwrap();
        let share = Share::from_bytes(&HEXLOWER.decode(fixture.share.as_bytes()).unwrap()).unwrap();
        assert!(record.knows(&share) && record.is_confirmed());
        let unlocked = record.unlock(&[share]).unwrap();
        let barrier = Arc::new(Barrier::new(storage.clone(), unlocked, UseBound::default()));
        assert_eq!(barrier.key_use().key, keys);
        let tokens = Tokens::new(&barrier, &REQUEST, Arc::default());
        let live = tokens.lookup(&Token::presented(&fixture.root_token)).await.unwrap();
        assert!(live.unwrap().entry.is_root());
        let mounts = Mounts::load(&barrier, &REQUEST, &Default::default()).await.unwrap().current();
        let mount = mounts.get("secret").unwrap();
        let engine = Engine::new(&barrier, mount, &storage, &REQUEST);
        let listed = engine.list(&FolderPath::parse("").unwrap(), Part::default()).await.unwrap();
        assert_eq!(listed, ["app/", "gone"]);
        let path = SecretPath::parse("app/db").unwrap();
        for version in 1..=3 {
            let Read::Value(found, value) = engine.read(&path, Some(version)).await.unwrap() else {
                unreachable!("version {version}")
            };
            assert_eq!(value.as_slice(), format!("{{\"n\":\"{version}\"}}").as_bytes());
            assert_eq!(found.custom.and_then(|custom| custom.get("owner").cloned()).as_deref(), owner);
        }
        let gone = engine.read(&SecretPath::parse("gone").unwrap(), None).await.unwrap();
        assert!(matches!(gone, Read::Deleted(_)));
        // And they are written to, in today's formats.
        let write = Write { content: Content::Whole(b"{}"), cas: Some(3) };
        assert!(
            matches!(engine.write(&path, &write).await.unwrap(), WriteResult::Done(found) if found.version == 4)
        );
        record.confirmed().replace(&storage, &REQUEST, version).await.unwrap();
        assert_eq!(barrier.rotate(&REQUEST).await.unwrap(), keys + 1);
    }
}
