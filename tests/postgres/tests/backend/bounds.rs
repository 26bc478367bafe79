//! Bounds: how long a call waits for a connection, and how often a server that refuses is asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn connections_that_are_all_in_use_are_waited_for_until_the_deadline() {
    let Some(server) = needed(&Options::default()) else { return };
    let config = json!({ "url": server.url(), "connections": 8 });
    let store = try_open(config, server.socket()).unwrap();
    put(&store, b"k", b"before").unwrap();
    let (crowded, locked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let lock =
                "BEGIN; LOCK TABLE keyway.records IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(6); COMMIT";
            server.sql(lock).unwrap()
        });
        thread::sleep(Duration::from_millis(500));
        for _ in 0..12 {
            let (store, crowded, locked) = (&store, &crowded, &locked);
            scope.spawn(move || {
                let scan = Scan::prefix("test", b"").with_max_items(10);
                let page = timely("a page", || block_on(store.scan(&call(), scan)));
                match page.map(|_| ()).unwrap_err().code() {
                    ErrorCode::RESOURCE_EXHAUSTED => crowded.fetch_add(1, Ordering::Relaxed),
                    ErrorCode::TIMEOUT => locked.fetch_add(1, Ordering::Relaxed),
                    code => panic!("{code:?}"),
                };
            });
        }
        holder.join().unwrap();
    });
    let (crowded, locked) = (crowded.into_inner(), locked.into_inner());
    assert!(
        crowded >= 4 && (1..=8).contains(&locked),
        "{crowded} without a connection, {locked} waiting for the lock"
    );
    recovers("a table that was locked", || put(&store, b"k", b"after").is_ok());
}

#[test]
fn server_that_refuses_is_not_asked_again_by_each_call() {
    let Some(server) = needed(&Options::default()) else { return };
    server.sql("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app").unwrap();
    let store = try_open(json!({ "url": server.url_as("app") }), server.socket()).unwrap();
    put(&store, b"k", b"before").unwrap();
    server.sql("ALTER ROLE app CONNECTION LIMIT 0").unwrap();
    server
        .sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'")
        .unwrap();
    let (calls, begun) = (AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while begun.elapsed() < Duration::from_secs(3) {
                    let _refused = value(&store, b"k");
                    calls.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
    });
    let asked = server.log().matches("too many connections for role").count();
    let (calls, took) = (calls.into_inner(), begun.elapsed().as_secs_f64());
    // After the first attempts, each lane and the pool wait 400 ms between attempts.
    assert!(asked > 0 && (asked as f64) < 40.0 * took, "{asked} connections in {took:.1} s");
    assert!(calls > asked * 2, "{calls} calls asked for {asked} connections");
    server.sql("ALTER ROLE app CONNECTION LIMIT -1").unwrap();
    recovers("a server that refused", || put(&store, b"k", b"after").is_ok());
}

#[test]
fn transaction_whose_session_is_ended_in_its_commit_has_an_unknown_outcome() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"other", b"v").unwrap();
    super::trouble::without_its_standby(&server);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let call = CallContext::background().with_remaining_ms(20_000);
            let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
            let transaction = block_on(store.begin(&call, begin)).unwrap();
            block_on(transaction.put(&call, Put::new(Key::new("test", b"k"), b"v"))).unwrap();
            block_on(transaction.commit(&call, WriteId::default())).map(|_| ())
        });
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        recovers("a commit", || server.sql(waiting).unwrap() == "1");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        assert_eq!(server.sql(end).unwrap(), "t");
        let error = writer.join().unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::UNKNOWN, "{error}");
    });
    assert_eq!(value(&store, b"k").unwrap(), Some(b"v".to_vec()));
}
