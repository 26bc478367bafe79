//! Work: how many rows, connections and commits it takes.

use super::*;

#[test]
fn page_visits_one_row_more_than_it_answers() {
    let settings = ["track_counts=on", "autovacuum=off"];
    let Some(server) = needed(&Options { settings: &settings, ..Options::default() }) else { return };
    let store = open(&server);
    let fetched = || -> u64 {
        // The collector is told at the end of a transaction, and of each session once in a while.
        server.sql("SELECT pg_stat_force_next_flush()").unwrap();
        thread::sleep(Duration::from_millis(1_200));
        block_on(store.keyspaces(&call(), "")).unwrap();
        thread::sleep(Duration::from_millis(1_200));
        let count = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = 'keyway' AND relname = 'records'";
        server.sql(count).unwrap().parse().unwrap()
    };
    let visited_in = |keys: u32| -> u64 {
        let name = format!("of {keys}");
        let fill = format!(
            "INSERT INTO keyway.spaces VALUES ({keys}, '{name}'); INSERT INTO keyway.records (space, version, key, value) \
             SELECT {keys}, 1, convert_to(lpad(n::text, 8, '0') || '/x', 'UTF8'), 'v' FROM generate_series(1, {keys}) n"
        );
        server.sql(&fill).unwrap();
        let before = fetched();
        for delimiter in [b"".as_slice(), b"/"] {
            let scan = Scan::range(&name, b"0", None).with_max_items(100).delimited_by(delimiter);
            let page = block_on(store.scan(&call(), scan)).unwrap();
            assert_eq!(page.entries().len() + page.prefixes().len(), 100);
        }
        // Nine keys, and all the others on either side.
        for scan in [Scan::prefix(&name, b"0000000"), Scan::prefix(&name, b"0000000").in_reverse()] {
            let page = block_on(store.scan(&call(), scan.delimited_by(b"/"))).unwrap();
            assert_eq!((page.prefixes().len(), page.cursor()), (9, None));
        }
        fetched() - before
    };
    let (few, many) = (visited_in(1_000), visited_in(100_000));
    assert_eq!((few, many), (220, 220));
}

#[test]
fn many_calls_at_a_time_share_connections_and_commits() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"k", b"v").unwrap();
    let commits = || -> u64 {
        let count =
            "SELECT pg_stat_force_next_flush(), xact_commit FROM pg_stat_database WHERE datname = 'postgres'";
        server.sql(count).unwrap().trim_start_matches('|').parse().unwrap()
    };
    let before = commits();
    thread::scope(|scope| {
        for writer in 0..64_u32 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..50_u32 {
                    let key = [writer.to_be_bytes(), round.to_be_bytes()].concat();
                    put(store, &key, b"v").unwrap();
                    assert!(value(store, &key).unwrap().is_some());
                }
            });
        }
    });
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keyway main'";
    let connections: u32 = server.sql(backends).unwrap().parse().unwrap();
    assert!(connections <= 32, "{connections}");
    thread::sleep(Duration::from_millis(1_500));
    // Each of 3,200 reads is a separate transaction; the same number of writes share transactions.
    let made = commits() - before;
    assert!(made < 3_200 + 1_600, "{made} transactions for 3,200 reads and as many writes");
}

#[test]
fn keyspace_that_is_dropped_is_emptied_by_upkeep() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    let keys: Vec<[u8; 4]> = (0..1_000_u32).map(u32::to_be_bytes).collect();
    for _ in 0..3 {
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::put(Key::new("gone", key), b"v")).collect();
        block_on(store.apply(&call(), Batch::new(&ops, BatchMode::Atomic, WriteId::new([1; 16])))).unwrap();
        let drop = keyway_loader::DropKeyspace::new("gone", WriteId::new([2; 16]));
        assert!(block_on(store.drop_keyspace(&call(), drop)).unwrap());
    }
    recovers("upkeep", || server.sql("SELECT count(*) FROM keyway.records").unwrap() == "0");
}

#[test]
fn extensions_tell_figures_and_run_only_what_reads() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"k", b"v").unwrap();
    let run = |store: &Generation, name: &str, request: &str| {
        let answer = block_on(store.extension(&call(), name, request.as_bytes()))?;
        Ok::<Value, Error>(serde_json::from_slice(&answer).unwrap())
    };
    let figures = run(&store, "pg.stat", "").unwrap();
    assert_eq!(figures.get("in_recovery"), Some(&Value::Bool(false)), "{figures}");
    let off = run(&store, "pg.query", "SELECT 1").unwrap_err();
    assert_eq!(off.code(), ErrorCode::PERMISSION_DENIED);
    let config = json!({ "url": server.url(), "allow_queries": true });
    let store = try_open(config, server.socket()).unwrap();
    let rows = run(&store, "pg.query", "SELECT count(*) AS records FROM keyway.records -- all\n;").unwrap();
    assert_eq!(rows, json!([{ "records": 1 }]));
    for request in [
        "DELETE FROM keyway.records",
        "SELECT 1; DELETE FROM keyway.records",
        "SELECT 1) AS query; COMMIT; DELETE FROM keyway.records; --",
        "SELECT nextval('keyway.numbers')",
        "",
    ] {
        let error = run(&store, "pg.query", request).unwrap_err();
        assert_eq!(error.outcome(), Outcome::NOT_APPLIED, "{request}: {error}");
    }
    assert_eq!(value(&store, b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn checks_of_absent_keys_in_two_batches_exclude_each_other() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    for round in 0..50_u32 {
        // The keyspace, too, is not there.
        let _dropped = block_on(
            store.drop_keyspace(&call(), keyway_loader::DropKeyspace::new("checks", WriteId::new([4; 16]))),
        );
        let both = thread::scope(|scope| {
            let store = &store;
            let take = |checked: &'static [u8], written: &'static [u8]| {
                scope.spawn(move || {
                    let ops = [
                        Op::check(Key::new("checks", checked), Condition::Absent),
                        Op::put(Key::new("checks", written), b"v").when(Condition::Absent),
                    ];
                    block_on(store.apply(&call(), Batch::new(&ops, BatchMode::Atomic, WriteId::new([3; 16]))))
                        .is_ok()
                })
            };
            let (one, other) = (take(b"x", b"y"), take(b"y", b"x"));
            one.join().unwrap() && other.join().unwrap()
        });
        assert!(
            !both,
            "round {round}: two batches that each checked the absence of what the other wrote both took place"
        );
    }
}

#[test]
fn delete_beside_a_transaction_that_puts_the_key_again_leaves_nothing() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"k", b"before").unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let again = "DELETE FROM keyway.records; INSERT INTO keyway.records (space, version, key, value) \
                         SELECT id, nextval('keyway.numbers'), 'k', 'again' FROM keyway.spaces";
            server.sql(&format!("BEGIN; {again}; SELECT pg_sleep(1); COMMIT")).unwrap()
        });
        thread::sleep(Duration::from_millis(500));
        let delete = keyway_loader::Delete::new(Key::new("test", b"k"));
        assert!(block_on(store.delete(&call(), delete)).unwrap());
        other.join().unwrap();
    });
    assert_eq!(value(&store, b"k").unwrap(), None);
}

#[test]
fn batch_beside_a_dropped_keyspace_is_whole() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"held", b"before").unwrap();
    block_on(store.put(&call(), Put::new(Key::new("a", b"old"), b"v"))).unwrap();
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let lock = "SELECT FROM keyway.records WHERE key = 'held' FOR UPDATE";
            server.sql(&format!("BEGIN; {lock}; SELECT pg_sleep(1.5); COMMIT")).unwrap()
        });
        thread::sleep(Duration::from_millis(500));
        let batch = scope.spawn(|| {
            let ops = [Op::put(Key::new("a", b"new"), b"v"), Op::put(Key::new("test", b"held"), b"after")];
            block_on(store.apply(&call(), Batch::new(&ops, BatchMode::Atomic, WriteId::new([5; 16]))))
                .unwrap();
        });
        thread::sleep(Duration::from_millis(300));
        let dropped = scope.spawn(|| {
            let drop = keyway_loader::DropKeyspace::new("a", WriteId::new([6; 16]));
            block_on(store.drop_keyspace(&call(), drop)).unwrap()
        });
        thread::sleep(Duration::from_millis(300));
        // The batch has not run yet. If the drop has, the batch runs after it, and its record stays.
        let is_behind = dropped.is_finished() && value(&store, b"held").unwrap() == Some(b"before".to_vec());
        batch.join().unwrap();
        assert!(dropped.join().unwrap());
        let record = block_on(store.get(&call(), Key::new("a", b"new"))).unwrap();
        assert_eq!(record.is_some(), is_behind);
        holder.join().unwrap();
    });
}

#[test]
fn restore_that_was_taken_for_abandoned_does_not_end_well() {
    let Some(server) = needed(&Options::default()) else { return };
    let store = open(&server);
    put(&store, b"before", b"v").unwrap();
    for is_late_at_the_end in [false, true] {
        let restore = block_on(store.restore(&call(), keyway_loader::RestoreMode::REPLACE)).unwrap();
        let record = |keyspace, key| keyway_loader::RestoreRecord::new(Key::new(keyspace, key), b"v", 0);
        block_on(restore.write(&call(), &[record("first", b"k")])).unwrap();
        // While another one is filled, the first is kept too.
        server.sql("UPDATE keyway.orphans SET due = now() + interval '1 minute'").unwrap();
        block_on(restore.write(&call(), &[record("second", b"k")])).unwrap();
        let kept = "SELECT count(*) FROM keyway.orphans WHERE due > now() + interval '50 minutes'";
        assert_eq!(server.sql(kept).unwrap(), "2");
        server.sql("UPDATE keyway.orphans SET due = now()").unwrap();
        let error = if is_late_at_the_end {
            block_on(restore.finish(&call(), WriteId::new([8; 16]))).map(|_| ()).unwrap_err()
        } else {
            block_on(restore.write(&call(), &[record("second", b"l")])).unwrap_err()
        };
        assert_eq!(error.code(), ErrorCode::RESOURCE_EXHAUSTED, "{error}");
        drop(restore);
        assert_eq!(value(&store, b"before").unwrap(), Some(b"v".to_vec()));
    }
}
