//! What one host does for all.

use super::*;

#[tokio::test(start_paused = true)]
async fn reencryption_that_its_host_leaves_is_gone_on_with_by_another() {
    let cluster = Cluster::begin(Disk::shared(1_000), 3).await;
    let [one, other, third] = [0, 1, 2].map(|host| &cluster.hosts[host]);
    let unsealed = authorised(one, &cluster.made).await;
    one.mount_control().mount(&unsealed, &REQUEST, &new_mount("kv")).await.unwrap();
    for number in 0..700 {
        write(one, &format!("s{number}")).await;
    }
    unsealed.barrier().rotate(&REQUEST).await.unwrap();
    one.mount_control().begin_reencryption(&REQUEST).await.unwrap();
    let seen = async |host: &Arc<Core>| host.mount_control().reencryption(&REQUEST).await.unwrap().unwrap();
    while seen(other).await.seen < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It gives nothing back: its lease has to run out.
    one.seal_control().seal();
    let left = seen(other).await;
    assert!(left.is_running());
    let begun = tokio::time::Instant::now();
    while seen(third).await.is_running() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < Duration::from_secs(120), "no host continues the work");
    }
    let done = seen(third).await;
    assert!(done.failed == 0 && done.sealed >= 700, "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn work_that_another_host_has_the_lease_of_is_left_to_it() {
    let cluster = Cluster::begin(Disk::shared(1_000), 1).await;
    let host = &cluster.hosts[0];
    let unsealed = authorised(host, &cluster.made).await;
    host.mount_control().mount(&unsealed, &REQUEST, &new_mount("kv")).await.unwrap();
    write(host, "a").await;
    unsealed.barrier().rotate(&REQUEST).await.unwrap();
    cluster.rests().await;
    let (storage, leases) = (cluster.main.open().await, Leases::default());
    let held = async |name| match leases.acquire(&storage, name, Duration::ZERO).await.unwrap() {
        Acquired::Held(lease) => lease,
        Acquired::Busy | Acquired::Done(_) => panic!("{name} is another host's"),
    };
    let (one, other) = (held("reencryption").await, held("upkeep").await);
    let keyspaces = async || {
        let names = cluster.main.keyspaces().await;
        names.into_iter().filter(|name| name.starts_with("mount-")).count()
    };
    let reencryption = async || host.mount_control().reencryption(&REQUEST).await.unwrap().unwrap();
    let meanwhile = async {
        host.mount_control().begin_reencryption(&REQUEST).await.unwrap();
        host.mount_control().unmount(&unsealed, &REQUEST, &MountPath::parse("kv").unwrap()).await.unwrap();
        host.housekeeping().hurry();
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!((reencryption().await.seen, keyspaces().await), (0, 1), "nothing was done");
    };
    let both = one.during(&storage, async |_| other.during(&storage, |_| meanwhile).await.unwrap());
    both.await.unwrap();
    one.release(&storage, Duration::ZERO).await;
    other.release(&storage, Duration::ZERO).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!reencryption().await.is_running() && reencryption().await.seen > 0);
    assert_eq!(keyspaces().await, 0);
}
