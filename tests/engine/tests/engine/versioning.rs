//! A crash at every step of an upgrade from KV version 1 to 2: every secret has its version, once, and
//! nothing else is left.

use std::sync::Arc;

use keyway_core::{
    Core, NewMount,
    mounts::{MountPath, Tune, Upgrade},
    seal::Initialised,
    secrets::{Engine, FolderPath, Part, Read, SecretPath},
};
use keyway_loader::Scan;

use crate::{
    chaos::{Disk, REQUEST, Script, mount, some_barrier},
    site::{Site, authorised, unsealed},
};

const SECRETS: [&str; 3] = ["a", "b/c", "b/d"];

fn path(name: &str) -> SecretPath {
    SecretPath::parse(name).unwrap()
}

fn value(name: &str) -> Vec<u8> {
    format!("{{\"name\":\"{name}\"}}").into_bytes()
}

async fn prepare(engine: &Engine<'_>) {
    for name in SECRETS {
        engine.write_plain(&path(name), &value(name)).await.unwrap();
    }
}

/// Each secret has one version with its value, and no other record is in the store.
async fn check(engine: &Engine<'_>, disk: &Disk, keyspace: &str, case: &str) {
    for name in SECRETS {
        let Read::Value(found, read) = engine.read(&path(name), None).await.unwrap() else {
            unreachable!("{name} is missing: {case}")
        };
        assert_eq!((found.version, read.as_slice()), (1, value(name).as_slice()), "{name}: {case}");
    }
    let all = engine.scan(&FolderPath::parse("").unwrap(), Part::default()).await.unwrap();
    assert_eq!(all, SECRETS, "{case}");
    let records = disk.open().await.scan(&REQUEST, Scan::prefix(keyspace, b"")).await.unwrap().len();
    assert_eq!(records, SECRETS.len(), "{case}");
}

#[tokio::test]
async fn crash_at_every_step_of_giving_versions_loses_and_doubles_no_secret() {
    for batches in [false, true] {
        for done in [false, true] {
            for at in 0.. {
                let case = format!("batches {batches}, step {at}, done {done}");
                let (disk, barrier, mount) = (Disk::new(batches), some_barrier().await, mount(0));
                let storage = disk.open().await;
                prepare(&Engine::new(&barrier, &mount, &storage, &REQUEST)).await;
                disk.play(Script::Crash { at, done });
                let crashed = Engine::new(&barrier, &mount, &storage, &REQUEST).give_versions().await;
                let steps = disk.changes();
                disk.play(Script::Well);
                let storage = disk.open().await;
                let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
                let upgraded = engine.give_versions().await.unwrap();
                assert_eq!(upgraded.unopenable, 0, "{case}");
                check(&engine, &disk, &mount.keyspace(), &case).await;
                if steps <= at {
                    assert_eq!(crashed.unwrap().secrets, 3, "{case}");
                    // A version and a removal for each.
                    assert_eq!(at, 6, "{case}");
                    break;
                }
            }
        }
    }
}

fn new_mount() -> NewMount {
    NewMount {
        path: MountPath::parse("old").unwrap(),
        backend: Some("other".to_owned()),
        description: String::new(),
        kv_version: 1,
        tune: Tune::default(),
    }
}

async fn begin(site: &Site) -> (Arc<Core>, Initialised) {
    let (core, made) = site.begin().await;
    let unsealed = authorised(&core, &made).await;
    core.mount_control().mount(&unsealed, &REQUEST, &new_mount()).await.unwrap();
    let table = unsealed.mounts().current();
    prepare(&core.engine(&unsealed, table.get("old").unwrap(), &REQUEST).await.unwrap()).await;
    (core, made)
}

#[tokio::test]
async fn crash_at_every_step_of_an_upgrade_is_gone_on_with_after_a_restart() {
    for crashing in ["main", "other"] {
        for done in [false, true] {
            for at in 0..12 {
                let case = format!("{crashing}, step {at}, done {done}");
                let site = Site::new();
                let (core, made) = begin(&site).await;
                let before = authorised(&core, &made).await;
                let disk = if crashing == "main" { &site.main } else { &site.other };
                disk.play(Script::Crash { at, done });
                let begun = core.mount_control().upgrade_mount(&before, &REQUEST, "old").await;
                core.housekeeping().tidy(&REQUEST, &before, false).await;
                core.seal_control().seal();
                disk.play(Script::Well);
                let core = unsealed(site.start().await, &made).await;
                let unsealed = authorised(&core, &made).await;
                if unsealed.mounts().current().get("old").unwrap().kv_version == 1 {
                    assert!(begun.is_err(), "acknowledged, and forgotten: {case}");
                    core.mount_control().upgrade_mount(&unsealed, &REQUEST, "old").await.unwrap();
                }
                core.housekeeping().tidy(&REQUEST, &unsealed, true).await;
                let table = unsealed.mounts().current();
                let mount = table.get("old").unwrap();
                assert_eq!((mount.kv_version, mount.upgrade), (2, None), "{case}");
                let engine = core.engine(&unsealed, mount, &REQUEST).await.unwrap();
                for name in SECRETS {
                    let read = engine.read(&path(name), Some(1)).await.unwrap();
                    assert!(matches!(read, Read::Value(_, read) if *read == value(name)), "{name}: {case}");
                    assert_eq!(engine.metadata(&path(name)).await.unwrap().unwrap().current_version, 1);
                }
            }
        }
    }
}

#[tokio::test]
async fn write_of_version_1_that_ends_after_the_upgrade_becomes_a_version() {
    let site = Site::new();
    let (core, made) = begin(&site).await;
    let unsealed = authorised(&core, &made).await;
    // A request that has found its mount, and is slow.
    let former = unsealed.mounts().current();
    let late = core.engine(&unsealed, former.get("old").unwrap(), &REQUEST).await.unwrap();
    core.mount_control().upgrade_mount(&unsealed, &REQUEST, "old").await.unwrap();
    core.housekeeping().tidy(&REQUEST, &unsealed, false).await;
    let table = unsealed.mounts().current();
    assert!(matches!(table.get("old").unwrap().upgrade, Some(Upgrade { serves: true, .. })));
    late.write_plain(&path("a"), b"{\"late\":1}").await.unwrap();
    late.write_plain(&path("new"), b"{\"late\":2}").await.unwrap();
    core.housekeeping().tidy(&REQUEST, &unsealed, false).await;
    let engine = core.engine(&unsealed, table.get("old").unwrap(), &REQUEST).await.unwrap();
    for (name, version, value) in [("a", 2, "{\"late\":1}"), ("new", 1, "{\"late\":2}")] {
        let Read::Value(found, read) = engine.read(&path(name), None).await.unwrap() else {
            panic!("{name} is lost")
        };
        assert_eq!((found.version, read.as_slice()), (version, value.as_bytes()), "{name}");
    }
}
