//! Leases: one host at a time holds a lease, another takes it over if the first is silent, and a stale fence
//! refuses every write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyway_loader::{Condition, Delete, Key, Op, Put};
use keyway_storage::{
    Companion, Storage, StorageError, Work,
    lease::{Acquired, Lease, Leases, Lost, TERM},
};

use crate::chaos::{Disk, REQUEST, Script};

const WORK: &str = "work";

/// A host, as far as leases go.
struct Host {
    leases: Leases,
    storage: Storage,
}

impl Host {
    async fn new(disk: &Disk) -> Self {
        Self { leases: Leases::default(), storage: disk.open().await }
    }

    async fn ask(&self, patience: Duration) -> Result<Acquired, StorageError> {
        self.leases.acquire(&self.storage, WORK, patience).await
    }

    async fn held(&self) -> Option<Lease> {
        match self.ask(Duration::ZERO).await.unwrap() {
            Acquired::Held(lease) => Some(lease),
            Acquired::Busy | Acquired::Done(_) => None,
        }
    }

    async fn is_there(&self, key: &[u8]) -> bool {
        self.storage.get(&REQUEST, place(key)).await.unwrap().is_some()
    }
}

fn place(key: &[u8]) -> Key<'_> {
    Key::new("keyway-system", key)
}

#[tokio::test(start_paused = true)]
async fn one_host_holds_it_and_the_others_wait_until_it_is_given_back() {
    let disk = Disk::shared(1_000);
    let (one, other) = (Host::new(&disk).await, Host::new(&disk).await);
    for _ in 0..3 {
        let lease = one.held().await.unwrap();
        assert!(other.held().await.is_none());
        lease.during(&one.storage, |_| async {}).await.unwrap();
        lease.release(&one.storage, Duration::ZERO).await;
        let lease = other.held().await.unwrap();
        assert!(one.held().await.is_none());
        lease.release(&other.storage, Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_done_just_now_is_left_alone_for_as_long_as_somebody_has_patience() {
    let disk = Disk::shared(1_000);
    let (one, other) = (Host::new(&disk).await, Host::new(&disk).await);
    one.held().await.unwrap().release(&one.storage, Duration::from_secs(600)).await;
    for host in [&one, &other] {
        let asked = host.ask(Duration::from_secs(100)).await.unwrap();
        assert!(matches!(asked, Acquired::Done(wait) if wait == Duration::from_secs(100)));
        let asked = host.ask(Duration::from_secs(10_000)).await.unwrap();
        assert!(matches!(asked, Acquired::Done(wait) if (590..=600).contains(&wait.as_secs())));
    }
    assert!(other.held().await.is_some(), "who has none does it at once");
}

#[tokio::test(start_paused = true)]
async fn host_that_says_nothing_is_replaced_after_a_term_and_not_before() {
    let disk = Disk::shared(1_000);
    let (one, other) = (Host::new(&disk).await, Host::new(&disk).await);
    let lease = one.held().await.unwrap();
    assert!(other.held().await.is_none(), "it sees it for the first time");
    tokio::time::sleep(TERM - Duration::from_millis(1)).await;
    assert!(other.held().await.is_none());
    // A sign of life, and the term begins again.
    lease.during(&one.storage, |_| tokio::time::sleep(Duration::from_secs(1))).await.unwrap();
    assert!(other.held().await.is_none());
    tokio::time::sleep(TERM - Duration::from_millis(1)).await;
    assert!(other.held().await.is_none());
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(other.held().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn work_that_takes_longer_than_a_term_keeps_its_lease() {
    let disk = Disk::shared(1_000);
    let (one, other) = (Host::new(&disk).await, Host::new(&disk).await);
    let lease = one.held().await.unwrap();
    let work = lease.during(&one.storage, |_| tokio::time::sleep(TERM * 10));
    let asking = async {
        loop {
            assert!(other.held().await.is_none());
            tokio::time::sleep(TERM / 7).await;
        }
    };
    tokio::select! {
        done = work => done.unwrap(),
        () = asking => {}
    }
}

/// All writes that a host may try with a stale fence.
#[tokio::test(start_paused = true)]
async fn host_that_comes_back_writes_nothing_any_more_and_is_told() {
    let disk = Disk::shared(1_000);
    let (one, other) = (Host::new(&disk).await, Host::new(&disk).await);
    for key in [b"kept-1", b"kept-2"] {
        one.storage.put(&REQUEST, Put::new(place(key), b"x")).await.unwrap();
    }
    let lease = one.held().await.unwrap();
    let storage = &one.storage;
    let task = async |work: Work| {
        // It is paused, as a machine is that is suspended; another one takes over.
        assert!(other.held().await.is_none());
        std::thread::sleep(Duration::from_millis(1));
        let fence = storage.get(&work, place(b"lease/work")).await.unwrap().unwrap();
        let stolen = Put::new(place(b"lease/work"), b"{}").when(Condition::Version(fence.version()));
        other.storage.put(&REQUEST, stolen).await.unwrap();
        let put = Put::new(place(b"new"), b"x");
        let settled = storage.put_settled(&work, put).await.map(|_| ());
        let conditional = Put::new(place(b"new"), b"x").when(Condition::Absent);
        let all = [
            storage.put(&work, put).await.map(|_| ()),
            settled,
            storage.put(&work, conditional).await.map(|_| ()),
            storage.put_settled_with(&work, put, Companion::EpochMark(place(b"beside"))).await.map(|_| ()),
            storage.commit(&work, &[Op::put(place(b"before"), b"x")], put).await,
            storage.apply(&work, &[Op::put(place(b"new"), b"x")]).await,
            storage.delete(&work, Delete::new(place(b"kept-1"))).await.map(|_| ()),
            storage.delete_all(&work, &[place(b"kept-1"), place(b"kept-2")]).await,
        ];
        for result in all {
            let error = result.unwrap_err();
            assert!(!error.is_lost_race() && !error.is_unknown() && error.is_transient(), "{error}");
            assert!(error.to_string().contains("taken over"), "{error}");
        }
        std::future::pending::<()>().await;
    };
    assert_eq!(lease.during(storage, task).await, Err(Lost));
    for (key, is_there) in
        [(&b"kept-1"[..], true), (b"kept-2", true), (b"new", false), (b"beside", false), (b"before", false)]
    {
        assert_eq!(other.is_there(key).await, is_there, "{key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_behind_a_fence_that_stands_is_done_and_races_are_races() {
    let disk = Disk::shared(1_000);
    let one = Host::new(&disk).await;
    let storage = &one.storage;
    let lease = one.held().await.unwrap();
    let task = async |work: Work| {
        let version = storage.put(&work, Put::new(place(b"a"), b"1")).await.unwrap();
        let read = storage.get(&work, place(b"a")).await.unwrap().unwrap();
        assert_eq!(read.version(), version, "the version is that of the record, not of the fence");
        let lost = storage.put(&work, Put::new(place(b"a"), b"2").when(Condition::Absent)).await.unwrap_err();
        assert!(lost.is_lost_race(), "{lost}");
        let again = storage.put_settled(&work, Put::new(place(b"a"), b"3").when(Condition::Version(version)));
        again.await.unwrap();
        assert!(storage.delete(&work, Delete::new(place(b"a"))).await.unwrap());
        assert!(!storage.delete(&work, Delete::new(place(b"a"))).await.unwrap());
    };
    lease.during(storage, task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn crash_at_any_step_leaves_a_lease_that_somebody_gets_and_one_alone() {
    for done in [false, true] {
        for at in 0..6 {
            let disk = Disk::shared(1_000);
            let hosts = [Host::new(&disk).await, Host::new(&disk).await, Host::new(&disk).await];
            disk.play(Script::Crash { at, done });
            if let Ok(Acquired::Held(lease)) = hosts[0].ask(Duration::ZERO).await {
                let _broken_off = lease.during(&hosts[0].storage, |_| tokio::time::sleep(TERM)).await;
                lease.release(&hosts[0].storage, Duration::ZERO).await;
            }
            disk.play(Script::Well);
            for host in &hosts[1..] {
                let _first_look = host.held().await;
            }
            tokio::time::sleep(TERM).await;
            let (one, other) = (hosts[1].held().await, hosts[2].held().await);
            let holders = [&one, &other].into_iter().flatten().count();
            assert!(holders == 1, "step {at}, done {done}: {holders} hold it");
        }
    }
}

#[tokio::test]
async fn store_of_one_host_needs_no_lease() {
    let disk = Disk::durable();
    let one = Host::new(&disk).await;
    let lease = one.held().await.unwrap();
    assert_eq!(lease.during(&one.storage, |_| async { 7 }).await, Ok(7));
    lease.release(&one.storage, Duration::from_secs(600)).await;
    assert!(one.held().await.is_some() && disk.changes() == 0, "nothing is written for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_ask_at_a_time_one_gets_it() {
    let disk = Disk::shared(1_000);
    let holders = Arc::new(AtomicU64::new(0));
    let mut asking = Vec::new();
    for _ in 0..8 {
        let (host, holders) = (Host::new(&disk).await, Arc::clone(&holders));
        asking.push(tokio::spawn(async move {
            let mut had = 0;
            while had < 50 {
                let Some(lease) = host.held().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                tokio::task::yield_now().await;
                holders.fetch_sub(1, Ordering::SeqCst);
                lease.release(&host.storage, Duration::ZERO).await;
                had += 1;
            }
        }));
    }
    for asking in asking {
        asking.await.unwrap();
    }
}
