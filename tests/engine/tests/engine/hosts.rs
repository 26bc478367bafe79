//! Several hosts on one store: a request on one host sees every change that another host made before it
//! began.

mod keys;
mod work;

use std::{sync::Arc, time::Duration};

use keyway_core::{
    Core, CoreError, NewMount,
    ceremony::Rekeyed,
    mounts::{MountPath, Tune},
    policy::{
        Operation,
        store::{Cas, PolicyText},
    },
    seal::{Initialised, NextKeys, ShareCounts},
    secrets::{Content, Read, SecretPath, Write},
    token::{Entry, Token},
};
use keyway_crypto::{
    key::SecretKey,
    shares::{Share, split},
};
use keyway_storage::{
    lease::{Acquired, Leases},
    prefetch::Prefetched,
};
use tempfile::TempDir;

use crate::{
    chaos::{Disk, REQUEST, Script},
    site::{authorised, start, unsealed},
};

/// A cluster, and the hosts that serve it.
struct Cluster {
    main: Disk,
    other: Disk,
    made: Initialised,
    hosts: Vec<Arc<Core>>,
    data_dirs: TempDir,
}

impl Cluster {
    async fn begin(main: Disk, hosts: usize) -> Self {
        let (other, data_dirs) = (Disk::durable(), TempDir::new().unwrap());
        let first = start(&main, &other, data_dirs.path()).await;
        let made = first.seal_control().init(&REQUEST, ShareCounts::new(1, 1).unwrap(), false).await.unwrap();
        let first = unsealed(first, &made).await;
        let mut cluster = Self { main, other, made, hosts: vec![first], data_dirs };
        for _ in 1..hosts {
            let host = cluster.another(&cluster.made.shares[0]).await.unwrap();
            cluster.hosts.push(host);
        }
        cluster
    }

    /// Another host; none if the share does not unseal it.
    async fn another(&self, share: &Share) -> Option<Arc<Core>> {
        let data_dir = TempDir::new_in(self.data_dirs.path()).unwrap().keep();
        let host = start(&self.main, &self.other, &data_dir).await;
        let share = Share::from_bytes(share.expose()).unwrap();
        host.seal_control().unseal(&REQUEST, share).await.ok().filter(|status| !status.sealed)?;
        Some(host)
    }

    /// Waits until what the hosts do by themselves is done for now.
    async fn rests(&self) {
        let mut before = u64::MAX;
        while before != self.main.calls() {
            before = self.main.calls();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn root(&self) -> Token {
        Token::presented(self.made.root_token.expose())
    }
}

/// What a host would decide by.
#[derive(Debug, PartialEq, Eq)]
struct View {
    may_read: bool,
    mounts: Vec<String>,
    key: u32,
}

/// What a request that arrives now meets.
async fn view(host: &Arc<Core>, root: &Token) -> Result<View, CoreError> {
    let unsealed = host.unsealed()?;
    host.host_sync().prefetch(&unsealed, &REQUEST, Some(root), None).await?;
    let acl = unsealed.acl(&REQUEST, &["changing".to_owned()]).await.unwrap();
    Ok(View {
        may_read: acl.may(Operation::Read, "secret/data/a"),
        mounts: unsealed.mounts().current().iter().map(|(path, _)| path.to_owned()).collect(),
        key: unsealed.barrier().key_use().key,
    })
}

fn policy() -> PolicyText {
    PolicyText::Acl("path \"secret/*\" { capabilities = [\"read\"] }".to_owned())
}

fn new_mount(path: &str) -> NewMount {
    NewMount {
        path: MountPath::parse(path).unwrap(),
        backend: None,
        description: String::new(),
        kv_version: 2,
        tune: Tune::default(),
    }
}

fn next_keys() -> NextKeys {
    let (unseal, root) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
    NextKeys { shares: split(&unseal, 1, 1), threshold: 1, unseal, root }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    PutPolicy,
    RemovePolicy,
    Mount,
    Unmount,
    MoveMount,
    Rotate,
    Rekey,
}

const CHANGES: [Change; 7] = [
    Change::PutPolicy,
    Change::RemovePolicy,
    Change::Mount,
    Change::Unmount,
    Change::MoveMount,
    Change::Rotate,
    Change::Rekey,
];

impl Change {
    /// What has to be there before.
    async fn prepare(self, host: &Arc<Core>) {
        let unsealed = host.unsealed().unwrap();
        match self {
            Self::RemovePolicy => {
                unsealed.put_policy(&REQUEST, "changing".to_owned(), policy(), Cas::default()).await.unwrap()
            }
            Self::Unmount | Self::MoveMount => {
                host.mount_control().mount(&unsealed, &REQUEST, &new_mount("old")).await.unwrap()
            }
            Self::PutPolicy | Self::Mount | Self::Rotate | Self::Rekey => {}
        }
    }

    /// Whether it was acknowledged.
    async fn happens(self, host: &Arc<Core>, next: &NextKeys) -> bool {
        let Ok(unsealed) = host.unsealed() else { return false };
        let changing = "changing".to_owned();
        let (old, new) = (MountPath::parse("old").unwrap(), MountPath::parse("new").unwrap());
        match self {
            Self::PutPolicy => {
                unsealed.put_policy(&REQUEST, changing, policy(), Cas::default()).await.is_ok()
            }
            Self::RemovePolicy => unsealed.remove_policy(&REQUEST, changing).await.is_ok(),
            Self::Mount => host.mount_control().mount(&unsealed, &REQUEST, &new_mount("new")).await.is_ok(),
            Self::Unmount => host.mount_control().unmount(&unsealed, &REQUEST, &old).await.is_ok(),
            Self::MoveMount => host.mount_control().move_mount(&unsealed, &REQUEST, "old", new).await.is_ok(),
            Self::Rotate => unsealed.barrier().rotate(&REQUEST).await.is_ok(),
            Self::Rekey => unsealed.barrier().rekey(&REQUEST, next).await.is_ok(),
        }
    }
}

/// Another host sees exactly the stored records, even if the change or the host that made it failed.
#[tokio::test]
async fn change_that_breaks_off_at_any_step_binds_other_hosts_if_it_is_stored() {
    // Batches of two operations are too small for an epoch record with a fence.
    for batches in [1_000, 2, 0] {
        for change in CHANGES {
            for done in [false, true] {
                for at in 0.. {
                    let cluster = Cluster::begin(Disk::shared(batches), 2).await;
                    let (changer, host) = (&cluster.hosts[0], &cluster.hosts[1]);
                    let (root, next) = (cluster.root(), next_keys());
                    change.prepare(changer).await;
                    let before = view(host, &root).await.unwrap();
                    cluster.main.play(Script::Crash { at, done });
                    let was_acknowledged = change.happens(changer, &next).await;
                    let steps = cluster.main.changes();
                    cluster.main.play(Script::Well);
                    let seen = view(host, &root).await;
                    let case = format!("{change:?}, step {at}, done {done}, batches {batches}");
                    let by_old = cluster.another(&cluster.made.shares[0]).await;
                    if let Some(fresh) = by_old {
                        let seen = seen.unwrap();
                        assert_eq!(seen, view(&fresh, &root).await.unwrap(), "{case}");
                        assert!(!was_acknowledged || seen != before, "{case}");
                    } else {
                        assert!(change == Change::Rekey && cluster.another(&next.shares[0]).await.is_some());
                        assert!(matches!(seen, Err(CoreError::Sealed)), "{case}: {seen:?}");
                        assert!(host.unsealed().is_err(), "{case}");
                    }
                    if steps <= at {
                        assert!(was_acknowledged && at >= 1, "{case}");
                        break;
                    }
                }
            }
        }
    }
}

async fn write(host: &Arc<Core>, path: &str) {
    let unsealed = host.unsealed().unwrap();
    let table = unsealed.mounts().current();
    let engine = host.engine(&unsealed, table.get("kv").unwrap(), &REQUEST).await.unwrap();
    let write = Write { content: Content::Whole(b"{}"), cas: None };
    engine.write(&SecretPath::parse(path).unwrap(), &write).await.unwrap();
}

/// Reads a secret as a request does; how many calls of the store it took.
async fn calls_of_read(cluster: &Cluster, host: &Arc<Core>, token: &Token, path: &str) -> u64 {
    let before = cluster.main.calls();
    let unsealed = host.unsealed().unwrap();
    let table = unsealed.mounts().current();
    let (mount, path) = (table.get("kv").unwrap(), SecretPath::parse(path).unwrap());
    let place = host.host_sync().key_in_system(mount, &path);
    let mut ahead = host.host_sync().prefetch(&unsealed, &REQUEST, Some(token), place.clone()).await.unwrap();
    let caller = host.caller(&unsealed, &REQUEST, Some(token), None, &ahead).await.unwrap();
    assert!(caller.acl.may(Operation::Read, "secret/data/a"));
    if caller.since > ahead.clock() {
        ahead.forget(&place.unwrap());
    }
    let engine = host.engine(&unsealed, mount, &REQUEST).await.unwrap().with_prefetched(&ahead);
    assert!(matches!(engine.read(&path, None).await.unwrap(), Read::Value(..)));
    cluster.main.calls() - before
}

#[tokio::test]
async fn read_of_a_secret_is_one_call_of_the_store() {
    for disk in [Disk::shared(1_000), Disk::durable()] {
        let is_shared = disk.open().await.is_shared_by_hosts();
        let cluster = Cluster::begin(disk, if is_shared { 2 } else { 1 }).await;
        let (writer, reader) = (&cluster.hosts[0], cluster.hosts.last().unwrap());
        let unsealed = authorised(writer, &cluster.made).await;
        unsealed.put_policy(&REQUEST, "changing".to_owned(), policy(), Cas::default()).await.unwrap();
        writer.mount_control().mount(&unsealed, &REQUEST, &new_mount("kv")).await.unwrap();
        write(writer, "a").await;
        let root = cluster.root();
        let parent = unsealed.tokens(&REQUEST).lookup(&root).await.unwrap().unwrap();
        let entry = Entry {
            policies: vec!["changing".to_owned()],
            ancestors: vec![parent.kin()],
            ..Entry::new().unwrap()
        };
        let child = unsealed.tokens(&REQUEST).make(None, &entry).await.unwrap();
        // The first takes over what the other host has changed, and reads the policy.
        view(reader, &root).await.unwrap();
        for token in [&root, &child, &root, &child] {
            calls_of_read(&cluster, reader, token, "a").await;
        }
        cluster.rests().await;
        for token in [&root, &child, &child, &root] {
            assert_eq!(calls_of_read(&cluster, reader, token, "a").await, 1);
        }
        // Writes in the meantime cost readers no calls.
        write(writer, "b").await;
        assert_eq!(calls_of_read(&cluster, reader, &child, "b").await, 1);
        if is_shared {
            unsealed.put_policy(&REQUEST, "another".to_owned(), policy(), Cas::default()).await.unwrap();
            assert!(calls_of_read(&cluster, reader, &child, "b").await > 1);
            assert_eq!(calls_of_read(&cluster, reader, &child, "b").await, 1);
        }
    }
}

#[tokio::test]
async fn ancestor_that_is_revoked_ends_a_token_whose_lineage_is_known() {
    let cluster = Cluster::begin(Disk::shared(1_000), 2).await;
    let (one, other) = (&cluster.hosts[0], &cluster.hosts[1]);
    let unsealed = authorised(one, &cluster.made).await;
    let tokens = unsealed.tokens(&REQUEST);
    let parent = tokens.make(None, &Entry::new().unwrap()).await.unwrap();
    let kin = tokens.lookup(&parent).await.unwrap().unwrap().kin();
    let entry = Entry { ancestors: vec![kin.clone()], ..Entry::new().unwrap() };
    let child = tokens.make(None, &entry).await.unwrap();
    let theirs = other.unsealed().unwrap();
    for is_alive in [true, true, false] {
        if !is_alive {
            tokens.revoke(&kin.name).await.unwrap();
        }
        let ahead = other.host_sync().prefetch(&theirs, &REQUEST, Some(&child), None).await.unwrap();
        let caller = other.caller(&theirs, &REQUEST, Some(&child), None, &ahead).await;
        assert_eq!(caller.is_ok(), is_alive);
    }
}

async fn write_something(host: &Arc<Core>) {
    let unsealed = host.unsealed().unwrap();
    unsealed.put_policy(&REQUEST, "something".to_owned(), policy(), Cas::default()).await.unwrap();
}

#[tokio::test]
async fn secret_is_not_read_ahead_for_strangers_nor_kept_where_policies_are_newer_than_it() {
    let cluster = Cluster::begin(Disk::durable(), 1).await;
    let host = &cluster.hosts[0];
    let unsealed = authorised(host, &cluster.made).await;
    host.mount_control().mount(&unsealed, &REQUEST, &new_mount("kv")).await.unwrap();
    write(host, "a").await;
    let table = unsealed.mounts().current();
    let place =
        host.host_sync().key_in_system(table.get("kv").unwrap(), &SecretPath::parse("a").unwrap()).unwrap();
    let arrives = async |token: &Token| {
        host.host_sync().prefetch(&unsealed, &REQUEST, Some(token), Some(place.clone())).await.unwrap()
    };
    let has_secret = |ahead: &Prefetched| ahead.get(place.key()).is_some();
    let stranger = Token::presented("kw.stranger");
    assert!(!has_secret(&arrives(&stranger).await));
    let tokens = unsealed.tokens(&REQUEST);
    unsealed.put_policy(&REQUEST, "changing".to_owned(), policy(), Cas::default()).await.unwrap();
    let entry = Entry { policies: vec!["changing".to_owned()], ..Entry::new().unwrap() };
    let token = tokens.make(None, &entry).await.unwrap();
    let caller = async |ahead: &Prefetched| host.caller(&unsealed, &REQUEST, Some(&token), None, ahead).await;
    let first = arrives(&token).await;
    assert!(!has_secret(&first), "it was not alive before, as far as is known");
    assert!(caller(&first).await.unwrap().since > first.clock());
    let second = arrives(&token).await;
    assert!(has_secret(&second) && caller(&second).await.unwrap().since <= second.clock());
    // A policy that changes in between applies to every read after the change.
    let third = arrives(&token).await;
    unsealed.put_policy(&REQUEST, "changing".to_owned(), policy(), Cas::default()).await.unwrap();
    assert!(caller(&third).await.unwrap().since > third.clock());
    // A revoked token is unknown again: nothing is prefetched for it.
    let name = tokens.name(&token);
    tokens.revoke(&name).await.unwrap();
    let dead = arrives(&token).await;
    assert!(caller(&dead).await.is_err());
    assert!(!has_secret(&arrives(&token).await));
}

#[tokio::test(start_paused = true)]
async fn many_requests_that_meet_a_change_read_it_once() {
    let cluster = Cluster::begin(Disk::shared(1_000), 2).await;
    let (one, other) = (&cluster.hosts[0], &cluster.hosts[1]);
    view(other, &cluster.root()).await.unwrap();
    write_something(one).await;
    cluster.rests().await;
    cluster.main.play(Script::Slow(Duration::from_millis(50)));
    let (before, theirs) = (cluster.main.calls(), other.unsealed().unwrap());
    let arriving: Vec<_> = (0..20)
        .map(|_| {
            let (other, theirs, root) = (Arc::clone(other), Arc::clone(&theirs), cluster.root());
            tokio::spawn(async move {
                other.host_sync().prefetch(&theirs, &REQUEST, Some(&root), None).await.map(|_| ())
            })
        })
        .collect();
    for arriving in arriving {
        arriving.await.unwrap().unwrap();
    }
    let calls = cluster.main.calls() - before;
    assert!(calls <= 20 + 4, "{calls} calls for twenty requests and one change");
}
