//! The system's own records in the wrong places, and nonces that must never come again.

use std::{collections::HashSet, env, sync::Arc};

use keyway_core::{
    approle::AppRoles,
    barrier::UseBound,
    cubbyhole::Cubbyhole,
    mounts::{AuthMount, auth::APPROLE},
    policy::{
        Policies,
        store::{Cas, PolicyText},
    },
    system::{New, Records, SystemError},
    token::{Entry, Tokens},
};
use keyway_crypto::{
    envelope::RecordKind,
    keyring::{Keyring, Record},
};
use keyway_loader::{Condition, Key, Put, Scan};
use serde_json::Value;

use crate::chaos::{Disk, REQUEST, barrier, cluster};

fn kind_of(key: &str) -> Option<RecordKind> {
    let kinds = [
        ("token/", RecordKind::Token),
        ("accessor/", RecordKind::Accessor),
        ("policy/", RecordKind::Policy),
        ("token-role/", RecordKind::TokenRole),
        ("cubbyhole/", RecordKind::Cubbyhole),
        ("audit/devices", RecordKind::AuditDevices),
        ("reencryption", RecordKind::Reencryption),
    ];
    let approle = [
        ("/role/", RecordKind::AppRole),
        ("/id/", RecordKind::RoleId),
        ("/secret/", RecordKind::SecretId),
        ("/accessor/", RecordKind::SecretIdAccessor),
    ];
    match key.strip_prefix("approle/") {
        Some(rest) => approle.into_iter().find(|(part, _)| rest.contains(part)).map(|(_, kind)| kind),
        None => kinds.into_iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, kind)| kind),
    }
}

#[tokio::test]
async fn every_swap_of_two_records_of_the_system_is_noticed() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let keys = barrier(&storage, &made, UseBound::default()).await;
    let (tokens, records) = (Tokens::new(&keys, &REQUEST, Arc::default()), Records::new(&keys, &REQUEST));
    let mount = AuthMount::new(APPROLE, "");
    let approles = AppRoles::new(&keys, &REQUEST, &mount);
    let text = PolicyText::Acl("path \"a\" { capabilities = [\"read\"] }".to_owned());
    for name in ["one", "two"] {
        let token = tokens.make(None, &Entry::new().unwrap()).await.unwrap();
        Cubbyhole::new(records, &tokens.name(&token)).write("a", &name).await.unwrap();
        Policies::default().put(records, name, &text, Cas::default()).await.unwrap();
        tokens.edit_role(name, |_| Ok(())).await.unwrap();
        approles.edit_role(name, |_| Ok(())).await.unwrap();
        let role = approles.role(name).await.unwrap().unwrap();
        approles.make_secret_id(&role, &Default::default()).await.unwrap();
    }
    for (key, kind) in
        [("audit/devices", RecordKind::AuditDevices), ("reencryption", RecordKind::Reencryption)]
    {
        let new = New { kind, key: key.as_bytes(), value: &"x" };
        records.put(&new, Condition::Absent).await.unwrap();
    }
    let page =
        storage.scan(&REQUEST, Scan::prefix("keyway-system", b"").with_max_items(1_000)).await.unwrap();
    let stored: Vec<(String, RecordKind, Vec<u8>)> = page
        .entries()
        .iter()
        .filter_map(|entry| {
            let key = String::from_utf8_lossy(entry.key()).into_owned();
            Some((key.clone(), kind_of(&key)?, entry.record().value().to_vec()))
        })
        .collect();
    let kinds: HashSet<u8> = stored.iter().map(|(_, kind, _)| *kind as u8).collect();
    assert_eq!((kinds.len(), stored.len()), (11, 22), "two of most kinds, and root's");
    for (key, kind, own) in &stored {
        let place = Key::new("keyway-system", key.as_bytes());
        for (other, _, bytes) in stored.iter().filter(|(other, ..)| other != key) {
            storage.put(&REQUEST, Put::new(place, bytes)).await.unwrap();
            let read = records.get::<Value>(*kind, key.as_bytes()).await;
            assert!(matches!(read, Err(SystemError::Unopenable { .. })), "{other} in the place of {key}");
        }
        storage.put(&REQUEST, Put::new(place, own)).await.unwrap();
        assert!(records.get::<Value>(*kind, key.as_bytes()).await.unwrap().is_some(), "{key}");
    }
}

/// Two hundred thousand seals, or ten million if `KEYWAY_CAMPAIGN=long` (four minutes in a debug build).
#[test]
fn nonces_do_not_come_again() {
    let is_long = env::var("KEYWAY_CAMPAIGN").as_deref() == Ok("long");
    let seals = if is_long { 10_000_000 } else { 200_000 };
    let keyring = Keyring::new(uuid::Uuid::nil(), 0).unwrap();
    let record = Record::system(RecordKind::Token, b"token/x");
    let mut nonces = HashSet::with_capacity(seals);
    for _ in 0..seals {
        // The nonce follows the format and the key's number (docs/envelope.md).
        let sealed = keyring.seal(&record, b"").unwrap();
        assert!(nonces.insert(<[u8; 12]>::try_from(&sealed[5..17]).unwrap()), "a nonce came again");
    }
}
