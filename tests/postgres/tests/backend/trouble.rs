//! Trouble: a server that is stopped, paused, locked, out of connections; and outcomes.

use super::*;

#[test]
fn server_that_is_stopped_and_started_is_used_again() {
    let Some(mut server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"k", b"before").unwrap();
    server.stop().unwrap();
    let error = timely("a put", || put(&store, b"k", b"meanwhile")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UNAVAILABLE, "{error}");
    let error = timely("a get", || value(&store, b"k")).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::UNAVAILABLE, Outcome::NOT_APPLIED), "{error}");
    let health = timely("health", || block_on(store.health(&call()))).unwrap();
    assert!(
        health.is_live() && !health.is_readable() && !health.is_writable() && !health.detail().is_empty()
    );
    server.resume_life().unwrap();
    recovers("a server that was stopped", || put(&store, b"k", b"after").is_ok());
    assert_eq!(value(&store, b"k").unwrap(), Some(b"after".to_vec()));
}

#[test]
fn server_that_is_paused_costs_no_more_than_the_deadline() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"k", b"before").unwrap();
    value(&store, b"k").unwrap();
    server.pause().unwrap();
    let error = timely("a put", || put(&store, b"k", b"meanwhile")).unwrap_err();
    // It was sent: it may happen yet.
    assert_eq!((error.code(), error.outcome()), (ErrorCode::TIMEOUT, Outcome::UNKNOWN), "{error}");
    let error = timely("a get", || value(&store, b"k")).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::TIMEOUT, Outcome::NOT_APPLIED), "{error}");
    assert!(!timely("health", || block_on(store.health(&call()))).unwrap().is_ready());
    server.unpause().unwrap();
    recovers("a server that was paused", || put(&store, b"k", b"after").is_ok());
    thread::sleep(Duration::from_millis(200));
    assert_eq!(value(&store, b"k").unwrap(), Some(b"after".to_vec()));
}

#[test]
fn table_that_somebody_has_locked_costs_no_more_than_the_deadline() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"k", b"before").unwrap();
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            server
                .sql("BEGIN; LOCK TABLE keyway.records IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(9); COMMIT")
                .unwrap()
        });
        thread::sleep(Duration::from_millis(500));
        let error = timely("a put", || put(&store, b"k", b"meanwhile")).unwrap_err();
        // The server said that it gave up: nothing was changed.
        assert_eq!((error.code(), error.outcome()), (ErrorCode::TIMEOUT, Outcome::NOT_APPLIED), "{error}");
        let error = timely("a get", || value(&store, b"k")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::TIMEOUT, "{error}");
        holder.join().unwrap();
    });
    recovers("a table that was locked", || put(&store, b"k", b"after").is_ok());
    assert_eq!(value(&store, b"k").unwrap(), Some(b"after".to_vec()));
}

#[test]
fn row_that_somebody_has_locked_keeps_no_other_write_waiting() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    // More than there are statements with writes at a time.
    for key in 0..8_u8 {
        put(&store, &[b'k', key], b"before").unwrap();
    }
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let lock = "SELECT FROM keyway.records WHERE substring(key FOR 1) = 'k' FOR UPDATE";
            server.sql(&format!("BEGIN; {lock}; SELECT pg_sleep(2); COMMIT")).unwrap()
        });
        thread::sleep(Duration::from_millis(500));
        let store = &store;
        let held: Vec<_> = (0..8_u8)
            .map(|key| {
                thread::sleep(Duration::from_millis(10));
                scope.spawn(move || put(store, &[b'k', key], b"after").map(|_| Instant::now()).unwrap())
            })
            .collect();
        let others: Vec<_> = (0..200_u32)
            .map(|n| {
                scope.spawn(move || {
                    let key = [b"l".as_slice(), &(n % 20).to_be_bytes()].concat();
                    put(store, &key, &n.to_be_bytes()).map(|_| Instant::now()).unwrap()
                })
            })
            .collect();
        let last = others.into_iter().map(|other| other.join().unwrap()).max().unwrap();
        let first = held.into_iter().map(|held| held.join().unwrap()).min().unwrap();
        assert!(last < first, "a write waited for the lock of another's key");
        holder.join().unwrap();
    });
}

#[test]
fn server_out_of_connections_is_said_and_recovers() {
    let Some(server) = needed(&Options { settings: &["max_connections=12"], ..Options::default() }) else {
        return;
    };
    server.sql("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app").unwrap();
    let config = json!({ "url": server.url_as("app") });
    let store = try_open(config, server.socket()).unwrap();
    let write_all = |what: &str| -> usize {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..14_u8)
                .map(|n| {
                    let store = &store;
                    scope.spawn(move || {
                        let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: true };
                        let held = block_on(store.begin(&call(), begin));
                        thread::sleep(Duration::from_millis(300));
                        held.map(|_| n)
                    })
                })
                .collect();
            let ends: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            for error in ends.iter().filter_map(|end| end.as_ref().err()) {
                assert_eq!(error.code(), ErrorCode::RESOURCE_EXHAUSTED, "{what}: {error}");
                assert_eq!(error.outcome(), Outcome::NOT_APPLIED, "{what}: {error}");
                assert!(error.retry_after_ms().is_some(), "{what}: {error}");
            }
            ends.iter().filter(|end| end.is_ok()).count()
        })
    };
    // Of 12, three are kept for the superuser.
    let served = write_all("14 transactions");
    assert!((1..=9).contains(&served), "{served}");
    recovers("a server that was out of connections", || put(&store, b"k", b"v").is_ok());
}

#[test]
fn role_that_is_dropped_is_denied_and_taken_up_again() {
    let Some(server) = needed(&Options::default()) else { return };
    let grant = "GRANT CREATE ON DATABASE postgres TO app";
    server.sql(&format!("CREATE ROLE app LOGIN; {grant}")).unwrap();
    let store = try_open(json!({ "url": server.url_as("app") }), server.socket()).unwrap();
    put(&store, b"k", b"before").unwrap();
    server.sql("ALTER ROLE app RENAME TO gone").unwrap();
    server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' OR usename = 'gone'").unwrap();
    recovers("what notices", || put(&store, b"k", b"meanwhile").is_err());
    let error = timely("a put", || put(&store, b"k", b"meanwhile")).unwrap_err();
    assert_eq!(
        (error.code(), error.outcome()),
        (ErrorCode::PERMISSION_DENIED, Outcome::NOT_APPLIED),
        "{error}"
    );
    let health = timely("health", || block_on(store.health(&call()))).unwrap();
    assert!(!health.is_ready() && health.detail().contains("app"), "{}", health.detail());
    server.sql("ALTER ROLE gone RENAME TO app").unwrap();
    recovers("a role that is there again", || put(&store, b"k", b"after").is_ok());
}

/// Makes commits wait for a standby that does not exist: they are done here, and are not acknowledged.
pub(crate) fn without_its_standby(server: &Server) {
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'absent'").unwrap();
    server.sql("SET synchronous_commit = local; SELECT pg_reload_conf()").unwrap();
    thread::sleep(Duration::from_millis(300));
}

#[test]
fn session_that_is_ended_in_a_commit_leaves_an_unknown_outcome() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"other", b"v").unwrap();
    without_its_standby(&server);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let call = CallContext::background().with_remaining_ms(20_000);
            block_on(store.put(&call, Put::new(Key::new("test", b"k"), b"v")))
        });
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        recovers("a commit", || server.sql(waiting).unwrap() == "1");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        assert_eq!(server.sql(end).unwrap(), "t");
        let error = writer.join().unwrap().unwrap_err();
        assert_eq!((error.code(), error.outcome()), (ErrorCode::UNAVAILABLE, Outcome::UNKNOWN), "{error}");
    });
    assert_eq!(value(&store, b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn commit_that_no_standby_has_is_not_acknowledged_when_its_time_is_over() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"other", b"v").unwrap();
    without_its_standby(&server);
    let error = timely("a put", || put(&store, b"k", b"v")).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::TIMEOUT, Outcome::UNKNOWN), "{error}");
    let health = timely("health", || block_on(store.health(&call()))).unwrap();
    assert!(health.is_readable() && !health.is_writable(), "{}", health.detail());
}
