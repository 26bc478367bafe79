//! Keys that one host changes under the others.

use keyway_core::ceremony::Beginner;

use super::*;

#[tokio::test]
async fn host_whose_keys_another_has_changed_says_that_it_is_sealed() {
    let cluster = Cluster::begin(Disk::shared(1_000), 2).await;
    let (one, other) = (&cluster.hosts[0], &cluster.hosts[1]);
    let next = next_keys();
    one.unsealed().unwrap().barrier().rekey(&REQUEST, &next).await.unwrap();
    assert!(!one.seal_control().seal_status(&REQUEST).await.unwrap().sealed, "the host that did it goes on");
    assert!(other.seal_control().seal_status(&REQUEST).await.unwrap().sealed);
    // With the new share it serves again. Requests that still hold the former keys do not seal it.
    let share = Share::from_bytes(next.shares[0].expose()).unwrap();
    assert!(!other.seal_control().unseal(&REQUEST, share).await.unwrap().sealed);
    view(other, &cluster.root()).await.unwrap();
}

/// While a host changes the keys, its own requests go on.
#[tokio::test(flavor = "multi_thread")]
async fn host_that_changes_the_keys_itself_is_never_sealed_by_it() {
    let cluster = Cluster::begin(Disk::shared(1_000), 1).await;
    let host = Arc::clone(&cluster.hosts[0]);
    let root = cluster.root();
    let changing = tokio::spawn(async move {
        for _ in 0..200 {
            let unsealed = host.unsealed().unwrap();
            unsealed.barrier().rekey(&REQUEST, &next_keys()).await.unwrap();
        }
    });
    while !changing.is_finished() {
        view(&cluster.hosts[0], &root).await.unwrap();
        assert!(!cluster.hosts[0].seal_control().seal_status(&REQUEST).await.unwrap().sealed);
    }
    changing.await.unwrap();
}

/// What a host keeps is sealed with the new key by then, which one with the former root key cannot read.
#[tokio::test]
async fn host_whose_keys_another_has_changed_seals_itself_whatever_was_changed_behind_that() {
    for batches in [1_000, 0] {
        let cluster = Cluster::begin(Disk::shared(batches), 2).await;
        let (one, other) = (&cluster.hosts[0], &cluster.hosts[1]);
        view(other, &cluster.root()).await.unwrap();
        let unsealed = one.unsealed().unwrap();
        unsealed.barrier().rekey(&REQUEST, &next_keys()).await.unwrap();
        one.mount_control().mount(&unsealed, &REQUEST, &new_mount("kv")).await.unwrap();
        unsealed.put_policy(&REQUEST, "changing".to_owned(), policy(), Cas::default()).await.unwrap();
        let seen = view(other, &cluster.root()).await;
        assert!(matches!(seen, Err(CoreError::Sealed)), "{seen:?}");
        assert!(other.unsealed().is_err());
    }
}

/// The answer to the write that put new keys in force is lost, and the store is away: the host that made them
/// is the only one that has them.
#[tokio::test]
async fn host_that_does_not_know_whether_its_rekeying_is_in_force_finds_out_and_tells_the_shares() {
    for is_shared in [true, false] {
        for asks_how_it_is in [true, false] {
            let disk = if is_shared { Disk::shared(1_000) } else { Disk::durable() };
            let cluster = Cluster::begin(disk, 1).await;
            let host = &cluster.hosts[0];
            let begun = host
                .ceremonies()
                .begin_rekey(&REQUEST, ShareCounts::new(1, 1).unwrap(), false, Beginner::Anybody)
                .await
                .unwrap();
            let nonce = begun.nonce.unwrap().to_string();
            let share = || Share::from_bytes(cluster.made.shares[0].expose()).unwrap();
            cluster.rests().await;
            cluster.main.play(Script::Crash { at: 0, done: true });
            assert!(host.ceremonies().rekey(&REQUEST, &nonce, share()).await.is_err());
            cluster.main.play(Script::Well);
            if asks_how_it_is {
                assert!(!host.seal_control().seal_status(&REQUEST).await.unwrap().sealed);
            } else {
                view(host, &cluster.root()).await.unwrap();
            }
            let told = host.ceremonies().rekey(&REQUEST, &nonce, share()).await.unwrap();
            let Rekeyed::Made { shares, .. } = told else { panic!("the new shares are not told") };
            assert!(cluster.another(&cluster.made.shares[0]).await.is_none());
            assert!(cluster.another(&shares[0]).await.is_some());
            write_something(host).await;
        }
    }
}
