//! A crash at every step of making and taking away a mount, and markers of clusters.

use std::{sync::Arc, time::Duration};

use keyway_core::{
    Core, CoreError, NewMount,
    mounts::{MountPath, Tune},
    seal::{Initialised, ShareCounts, marker},
    secrets::{Content, Read, SecretPath, Write},
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    chaos::{Disk, REQUEST, Script},
    site::{Site, authorised, start, try_start, unsealed},
};

fn team() -> MountPath {
    MountPath::parse("team/kv").unwrap()
}

fn new_mount() -> NewMount {
    NewMount {
        path: team(),
        backend: Some("other".to_owned()),
        description: String::new(),
        kv_version: 2,
        tune: Tune::default(),
    }
}

async fn write(core: &Arc<Core>, made: &Initialised) -> Result<(), CoreError> {
    let unsealed = authorised(core, made).await;
    let table = unsealed.mounts().current();
    let mount = table.get("team/kv").unwrap();
    let engine = core.engine(&unsealed, mount, &REQUEST).await?;
    let write = Write { content: Content::Whole(b"{}"), cas: None };
    engine.write(&SecretPath::parse("a").unwrap(), &write).await.unwrap();
    Ok(())
}

async fn keyspaces(disk: &Disk) -> Vec<String> {
    let names = disk.keyspaces().await;
    names.into_iter().filter(|name| name.starts_with("mount-")).collect()
}

#[tokio::test]
async fn crash_at_every_step_of_an_unmount_leaves_nothing_for_ever() {
    for crashing in ["main", "other"] {
        for done in [false, true] {
            for at in 0.. {
                let site = Site::new();
                let (core, made) = site.begin().await;
                core.mount_control()
                    .mount(&*authorised(&core, &made).await, &REQUEST, &new_mount())
                    .await
                    .unwrap();
                write(&core, &made).await.unwrap();
                let disk = if crashing == "main" { &site.main } else { &site.other };
                disk.play(Script::Crash { at, done });
                let unmounted =
                    core.mount_control().unmount(&*authorised(&core, &made).await, &REQUEST, &team()).await;
                if unmounted.is_ok() {
                    // The rest runs in the background, as far as the fault lets it.
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                }
                let steps = disk.changes();
                core.seal_control().seal();
                disk.play(Script::Well);
                let core = unsealed(site.start().await, &made).await;
                let unsealed = authorised(&core, &made).await;
                let case = format!("{crashing}, step {at}, done {done}");
                if unsealed.mounts().current().get("team/kv").is_some() {
                    assert!(unmounted.is_err(), "acknowledged, and there: {case}");
                    write(&core, &made).await.unwrap();
                    core.mount_control().unmount(&unsealed, &REQUEST, &team()).await.unwrap();
                }
                core.housekeeping().tidy(&REQUEST, &unsealed, true).await;
                assert!(keyspaces(&site.other).await.is_empty(), "left for ever: {case}");
                assert!(unsealed.mounts().current().leaving().is_empty(), "{case}");
                assert!(!unsealed.mounts().current().has_used("other"), "{case}");
                if steps <= at {
                    // Taken away in one store, dropped in the other; forgotten and unmarked once no write can
                    // be under way.
                    assert_eq!(at, 1, "{case}");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn write_that_ends_after_its_mount_was_taken_away_leaves_nothing() {
    let site = Site::new();
    let (core, made) = site.begin().await;
    let unsealed = authorised(&core, &made).await;
    core.mount_control().mount(&unsealed, &REQUEST, &new_mount()).await.unwrap();
    // A request that has found its mount, and is slow.
    let table = unsealed.mounts().current();
    let late = core.engine(&unsealed, table.get("team/kv").unwrap(), &REQUEST).await.unwrap();
    core.mount_control().unmount(&unsealed, &REQUEST, &team()).await.unwrap();
    core.housekeeping().tidy(&REQUEST, &unsealed, false).await;
    assert!(keyspaces(&site.other).await.is_empty());
    let write = Write { content: Content::Whole(b"{}"), cas: None };
    late.write(&SecretPath::parse("a").unwrap(), &write).await.unwrap();
    assert_eq!(keyspaces(&site.other).await.len(), 1);
    assert_eq!(unsealed.mounts().current().leaving().len(), 1, "it is remembered");
    core.housekeeping().tidy(&REQUEST, &unsealed, true).await;
    assert!(keyspaces(&site.other).await.is_empty());
    assert!(unsealed.mounts().current().leaving().is_empty());
}

#[tokio::test]
async fn mount_edits_go_on_without_their_callers_and_none_is_undone() {
    let site = Site::new();
    let (core, made) = site.begin().await;
    let unsealed = authorised(&core, &made).await;
    core.mount_control().mount(&unsealed, &REQUEST, &new_mount()).await.unwrap();
    // Polled once and dropped, like a request whose client goes away.
    {
        let path = team();
        let unmount = core.mount_control().unmount(&unsealed, &REQUEST, &path);
        tokio::pin!(unmount);
        let _pending = futures_now(unmount.as_mut()).await;
    }
    tokio::time::timeout(Duration::from_secs(30), async {
        while unsealed.mounts().current().get("team/kv").is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let many: Vec<_> = (0..20)
        .map(|number| {
            let (core, unsealed) = (Arc::clone(&core), Arc::clone(&unsealed));
            tokio::spawn(async move {
                let path = MountPath::parse(&format!("m{number}")).unwrap();
                let new = NewMount { path, backend: None, ..new_mount() };
                core.mount_control().mount(&unsealed, &REQUEST, &new).await.unwrap();
            })
        })
        .collect();
    for one in many {
        one.await.unwrap();
    }
    assert_eq!(unsealed.mounts().current().iter().count(), 20);
}

/// Polls a future once.
async fn futures_now<F: Future + Unpin>(mut future: F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(context)))
        .await
}

#[tokio::test]
async fn store_that_was_another_clusters_system_is_refused_and_a_lost_one_can_be_left_behind() {
    let (site, foreign) = (Site::new(), Site::new());
    let (_, _) = foreign.begin().await;
    let (_, made) = site.begin().await;
    let core = unsealed(start(&site.main, &foreign.main, site.data_dir.path()).await, &made).await;
    let refused = core.mount_control().mount(&*authorised(&core, &made).await, &REQUEST, &new_mount()).await;
    assert!(matches!(refused, Err(CoreError::Foreign { .. })));

    let core = unsealed(site.start().await, &made).await;
    core.mount_control().mount(&*authorised(&core, &made).await, &REQUEST, &new_mount()).await.unwrap();
    let empty = Disk::durable();
    let core = unsealed(start(&site.main, &empty, site.data_dir.path()).await, &made).await;
    let held = authorised(&core, &made).await;
    assert!(matches!(write(&core, &made).await, Err(CoreError::SecretsLost { .. })));
    core.mount_control().unmount(&held, &REQUEST, &team()).await.unwrap();
    core.housekeeping().tidy(&REQUEST, &held, false).await;
    core.mount_control().mount(&held, &REQUEST, &new_mount()).await.unwrap();
    write(&core, &made).await.unwrap();
}

#[tokio::test]
async fn crash_at_every_step_of_making_a_mount_can_be_repeated() {
    for crashing in ["main", "other"] {
        for done in [false, true] {
            for at in 0.. {
                let site = Site::new();
                let (core, made) = site.begin().await;
                let disk = if crashing == "main" { &site.main } else { &site.other };
                disk.play(Script::Crash { at, done });
                let mounted = core
                    .mount_control()
                    .mount(&*authorised(&core, &made).await, &REQUEST, &new_mount())
                    .await;
                let steps = disk.changes();
                disk.play(Script::Well);
                let core = unsealed(site.start().await, &made).await;
                let unsealed = authorised(&core, &made).await;
                let there = unsealed.mounts().current().get("team/kv").is_some();
                assert!(there || mounted.is_err(), "acknowledged, and not there: {crashing} {at} {done}");
                if !there {
                    core.mount_control().mount(&unsealed, &REQUEST, &new_mount()).await.unwrap();
                }
                write(&core, &made).await.unwrap();
                if steps <= at {
                    // Uses of the key, the table's mark and its mount in one store, the marker in the other.
                    assert_eq!(at, if crashing == "main" { 3 } else { 1 }, "{crashing}");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn emptied_store_is_lost_and_not_uninitialised_until_it_is_forgotten_on_purpose() {
    let site = Site::new();
    let (_, made) = site.begin().await;
    let empty = Disk::durable();
    let core = start(&empty, &site.other, site.data_dir.path()).await;
    let lost = core.seal_control().seal_status(&REQUEST).await.unwrap_err();
    assert!(matches!(&lost, CoreError::Lost { cluster, .. } if *cluster == made.cluster), "{lost}");
    let counts = ShareCounts::new(1, 1).unwrap();
    assert!(matches!(core.seal_control().init(&REQUEST, counts, false).await, Err(CoreError::Lost { .. })));
    assert!(matches!(core.seal_control().init(&REQUEST, counts, true).await, Err(CoreError::Lost { .. })));

    let wrong = core.seal_control().forget_store(&REQUEST, uuid::Uuid::from_u128(3)).await;
    assert!(matches!(wrong, Err(CoreError::NotForgotten { .. })));
    core.seal_control().forget_store(&REQUEST, made.cluster).await.unwrap();
    assert!(!core.seal_control().seal_status(&REQUEST).await.unwrap().initialised);
    assert_ne!(core.seal_control().init(&REQUEST, counts, false).await.unwrap().cluster, made.cluster);
    // The option that was left in a unit file does nothing the second time.
    assert!(matches!(
        core.seal_control().forget_store(&REQUEST, made.cluster).await,
        Err(CoreError::NotForgotten { .. })
    ));
}

#[tokio::test]
async fn store_that_is_there_is_not_forgotten() {
    let site = Site::new();
    let (core, made) = site.begin().await;
    let refused = core.seal_control().forget_store(&REQUEST, made.cluster).await;
    assert!(matches!(refused, Err(CoreError::NotForgotten { .. })));
    assert!(core.seal_control().seal_status(&REQUEST).await.unwrap().initialised);
}

#[tokio::test]
async fn empty_data_directory_joins_the_cluster_of_its_store() {
    let site = Site::new();
    let (_, made) = site.begin().await;
    let fresh = TempDir::new().unwrap();
    let core = unsealed(start(&site.main, &site.other, fresh.path()).await, &made).await;
    drop(core);
    // And knows it from then on.
    let core = start(&Disk::durable(), &site.other, fresh.path()).await;
    assert!(matches!(core.seal_control().seal_status(&REQUEST).await, Err(CoreError::Lost { .. })));
}

#[tokio::test]
async fn stores_of_another_cluster_are_refused_and_touch_nothing_of_the_rest() {
    let (site, foreign) = (Site::new(), Site::new());
    let (core, made) = site.begin().await;
    core.mount_control().mount(&*authorised(&core, &made).await, &REQUEST, &new_mount()).await.unwrap();
    let (core, others) = foreign.begin().await;
    core.mount_control().mount(&*authorised(&core, &others).await, &REQUEST, &new_mount()).await.unwrap();

    let core = start(&foreign.main, &site.other, site.data_dir.path()).await;
    let refused = core.seal_control().seal_status(&REQUEST).await.unwrap_err();
    assert!(matches!(&refused, CoreError::Foreign { found, .. } if *found == others.cluster), "{refused}");
    assert!(core.seal_control().init(&REQUEST, ShareCounts::new(1, 1).unwrap(), true).await.is_err());

    // Another cluster's store beneath a mount: the server serves, the mount does not.
    let core = unsealed(start(&site.main, &foreign.other, site.data_dir.path()).await, &made).await;
    assert!(matches!(write(&core, &made).await, Err(CoreError::Foreign { .. })));
    // An empty one is lost.
    let core = unsealed(start(&site.main, &Disk::durable(), site.data_dir.path()).await, &made).await;
    assert!(matches!(write(&core, &made).await, Err(CoreError::SecretsLost { .. })));
    // Its own again.
    let core = unsealed(start(&site.main, &site.other, site.data_dir.path()).await, &made).await;
    write(&core, &made).await.unwrap();

    // A store of secrets is not taken for the system's.
    let elsewhere = TempDir::new().unwrap();
    let core = start(&site.other, &site.main, elsewhere.path()).await;
    assert!(matches!(core.seal_control().seal_status(&REQUEST).await, Err(CoreError::NotTheSystems { .. })));
    assert!(core.seal_control().init(&REQUEST, ShareCounts::new(1, 1).unwrap(), false).await.is_err());
}

#[tokio::test]
async fn init_that_was_killed_before_the_data_directory_knew_makes_no_second_cluster() {
    for done in [false, true] {
        for at in 0.. {
            let site = Site::new();
            let core = site.start().await;
            site.main.play(Script::Crash { at, done });
            let counts = ShareCounts::new(1, 1).unwrap();
            let first = core.seal_control().init(&REQUEST, counts, false).await;
            let steps = site.main.changes();
            site.main.play(Script::Well);
            let core = site.start().await;
            let initialised = core.seal_control().seal_status(&REQUEST).await.unwrap().initialised;
            assert!(initialised || first.is_err());
            let made = match first {
                Ok(made) => made,
                Err(_) => core.seal_control().init(&REQUEST, counts, initialised).await.unwrap(),
            };
            let core = unsealed(core, &made).await;
            authorised(&core, &made).await;
            if steps <= at {
                break;
            }
        }
    }
}

#[tokio::test]
async fn read_of_a_secret_in_a_mount_on_another_backend_survives_a_restart() {
    let site = Site::new();
    let (core, made) = site.begin().await;
    core.mount_control().mount(&*authorised(&core, &made).await, &REQUEST, &new_mount()).await.unwrap();
    write(&core, &made).await.unwrap();
    let core = unsealed(site.start().await, &made).await;
    let unsealed = authorised(&core, &made).await;
    let table = unsealed.mounts().current();
    let (at, mount, rest) = table.resolve("team/kv/data/a").unwrap();
    assert_eq!((at, rest), ("team/kv", "data/a"));
    let engine = core.engine(&unsealed, mount, &REQUEST).await.unwrap();
    let read = engine.read(&SecretPath::parse("a").unwrap(), None).await.unwrap();
    assert!(matches!(read, Read::Value(..)));
}

#[tokio::test]
async fn backend_that_reads_an_earlier_state_is_refused() {
    let directory = TempDir::new().unwrap();
    let refused = try_start(&Disk::durable(), &Disk::stale(), directory.path()).await;
    assert!(matches!(refused, Err(CoreError::ReadsStale { backend }) if backend == "other"));
}

/// A mount whose store does not serve comes last, and keeps no other waiting; what it waits for is told.
#[tokio::test(flavor = "multi_thread")]
async fn reencryption_goes_round_a_store_that_does_not_serve() {
    let site = Site::new();
    let (core, made) = site.begin().await;
    let unsealed = authorised(&core, &made).await;
    core.mount_control().mount(&unsealed, &REQUEST, &new_mount()).await.unwrap();
    write(&core, &made).await.unwrap();
    let beside = NewMount { path: MountPath::parse("beside").unwrap(), backend: None, ..new_mount() };
    core.mount_control().mount(&unsealed, &REQUEST, &beside).await.unwrap();
    let table = unsealed.mounts().current();
    let mount = table.get("beside").unwrap().clone();
    let engine = core.engine(&unsealed, &mount, &REQUEST).await.unwrap();
    let write = Write { content: Content::Whole(b"{}"), cas: None };
    engine.write(&SecretPath::parse("a").unwrap(), &write).await.unwrap();
    unsealed.barrier().rotate(&REQUEST).await.unwrap();
    site.other.play(Script::Fails);
    let begun = core.mount_control().begin_reencryption(&REQUEST).await.unwrap();
    assert!(begun.is_running() && begun.key == 2);
    let until = async |is_so: fn(&keyway_core::Reencryption) -> bool| {
        for _ in 0..1_200 {
            let now = core.mount_control().reencryption(&REQUEST).await.unwrap().unwrap();
            if is_so(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!("{:?}", core.mount_control().reencryption(&REQUEST).await)
    };
    until(|now| now.waiting_for.is_some()).await;
    // The other mount's, with its own store, are done meanwhile.
    let (keyspace, mut key) = (mount.keyspace(), 0);
    for _ in 0..1_200 {
        let storage = site.main.open().await;
        let record =
            storage.get(&REQUEST, keyway_loader::Key::new(&keyspace, b"m/a")).await.unwrap().unwrap();
        key = keyway_crypto::envelope::key_number(&record.value()[5..]).unwrap();
        if key == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(key, 2, "it waits for a store that it does not need");
    let waiting = core.mount_control().reencryption(&REQUEST).await.unwrap().unwrap();
    assert!(waiting.is_running() && waiting.waiting_for.unwrap().contains("team/kv"));
    site.other.play(Script::Well);
    let done = until(|now| !now.is_running()).await;
    assert_eq!((done.failed, done.is_cancelled, done.waiting_for), (0, false, None));
    // A second one begins by itself, too.
    unsealed.barrier().rotate(&REQUEST).await.unwrap();
    core.mount_control().begin_reencryption(&REQUEST).await.unwrap();
    let again = until(|now| now.key == 3 && !now.is_running()).await;
    assert!(again.sealed > 0 && again.failed == 0, "{again:?}");
}

#[tokio::test]
async fn marker_that_was_written_anew_is_not_removed_by_who_saw_the_one_before() {
    let storage = Disk::durable().open().await;
    let cluster = Uuid::from_u128(7);
    assert_eq!(marker::claim(&storage, &REQUEST, cluster).await.unwrap(), cluster);
    let (_, before) = marker::version(&storage, &REQUEST).await.unwrap().unwrap();
    assert_eq!(marker::claim(&storage, &REQUEST, cluster).await.unwrap(), cluster);
    assert!(!marker::remove_this(&storage, &REQUEST, before).await.unwrap());
    assert_eq!(marker::claim(&storage, &REQUEST, Uuid::from_u128(8)).await.unwrap(), cluster);
    let (_, now) = marker::version(&storage, &REQUEST).await.unwrap().unwrap();
    assert!(marker::remove_this(&storage, &REQUEST, now).await.unwrap());
    assert!(marker::version(&storage, &REQUEST).await.unwrap().is_none());
}
