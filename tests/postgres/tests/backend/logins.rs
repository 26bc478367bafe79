//! Logins that change while the backend is open, and poolers between it and the server.

use keyway_private_postgres::pooler;

use super::*;

/// A server that asks for passwords on its socket, but for the superuser's.
const ASKS: &str = "local all admin trust\nlocal all all scram-sha-256\n";

fn server_that_asks() -> Option<Server> {
    let server = needed(&Options { hba: Some(ASKS), ..Options::default() })?;
    server.sql("CREATE ROLE app LOGIN PASSWORD 'first'; GRANT CREATE ON DATABASE postgres TO app").unwrap();
    Some(server)
}

fn url(server: &Server, user: &str, password: &str) -> String {
    server.url_as(&format!("{user}:{password}"))
}

fn write_url(server: &Server, url: &str) {
    let (file, new) = (server.socket().join("url"), server.socket().join("url.new"));
    fs::write(&new, url).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
}

fn end_sessions(server: &Server) {
    server
        .sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename <> 'admin'")
        .unwrap();
}

fn refusals(server: &Server) -> usize {
    server.log().matches("password authentication failed").count()
}

#[test]
fn password_that_changes_in_the_file_is_read_again_when_the_login_is_refused() {
    let Some(server) = server_that_asks() else { return };
    write_url(&server, &url(&server, "app", "first"));
    let store = try_open(json!({ "url_file": "url" }), server.socket()).unwrap();
    put(&store, b"k", b"before").unwrap();
    let mine = "SELECT min(pid) FROM pg_stat_activity WHERE usename = 'app'";
    let kept = server.sql(mine).unwrap();
    server.sql("ALTER ROLE app PASSWORD 'second'").unwrap();
    // Sessions that are open go on.
    put(&store, b"k", b"meanwhile").unwrap();
    assert_eq!(server.sql(mine).unwrap(), kept);

    end_sessions(&server);
    recovers("what notices", || put(&store, b"k", b"refused").is_err());
    let error = timely("a put", || put(&store, b"k", b"refused")).unwrap_err();
    assert_eq!(
        (error.code(), error.outcome()),
        (ErrorCode::PERMISSION_DENIED, Outcome::NOT_APPLIED),
        "{error}"
    );
    assert!(!error.to_string().contains("first"), "{error}");
    write_url(&server, &url(&server, "app", "second"));
    recovers("a password that was changed", || put(&store, b"k", b"after").is_ok());
    assert_eq!(value(&store, b"k").unwrap(), Some(b"after".to_vec()));

    // Both at once, as a rotation does it: the first call that needs a connection has it.
    let before = refusals(&server);
    server.sql("ALTER ROLE app PASSWORD 'third'").unwrap();
    write_url(&server, &url(&server, "app", "third"));
    end_sessions(&server);
    recovers("a password that was rotated", || put(&store, b"k", b"rotated").is_ok());
    assert!(refusals(&server) - before <= 8, "{} logins were refused", refusals(&server) - before);
}

#[test]
fn user_that_takes_the_place_of_another_is_read_and_another_database_is_not() {
    let Some(server) = server_that_asks() else { return };
    write_url(&server, &url(&server, "app", "first"));
    let store = try_open(json!({ "url_file": "url" }), server.socket()).unwrap();
    put(&store, b"k", b"v").unwrap();
    server.sql("CREATE ROLE next LOGIN PASSWORD 'other' IN ROLE app").unwrap();
    server.sql("CREATE DATABASE elsewhere").unwrap();
    server.sql("ALTER ROLE app NOLOGIN").unwrap();
    write_url(&server, &url(&server, "next", "other").replace("/postgres", "/elsewhere"));
    end_sessions(&server);
    recovers("what notices", || {
        value(&store, b"k").is_err_and(|error| error.to_string().contains("another server or database"))
    });
    write_url(&server, &url(&server, "next", "other"));
    recovers("a user that was changed", || value(&store, b"k").is_ok_and(|value| value.is_some()));
    assert_eq!(server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'elsewhere'").unwrap(), "0");
}

#[test]
fn login_that_is_refused_is_not_tried_by_each_call() {
    let Some(server) = server_that_asks() else { return };
    write_url(&server, &url(&server, "app", "first"));
    let store = try_open(json!({ "url_file": "url" }), server.socket()).unwrap();
    put(&store, b"k", b"v").unwrap();
    server.sql("ALTER ROLE app PASSWORD 'second'").unwrap();
    end_sessions(&server);
    let (begun, mut calls) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(6) {
        let _refused = value(&store, b"k");
        calls += 1;
        thread::sleep(Duration::from_millis(1));
    }
    // After 25 ms, 50 ms, and so on up to five seconds.
    let refused = refusals(&server);
    assert!((1..=16).contains(&refused) && calls > 500, "{refused} of {calls} calls tried to log in");
    // A file that cannot be used is named, and the server's reason stays.
    fs::set_permissions(server.socket().join("url"), fs::Permissions::from_mode(0o644)).unwrap();
    recovers("what notices", || {
        let error = value(&store, b"k").unwrap_err().to_string();
        error.contains("password authentication failed") && error.contains("chmod 600")
    });
    write_url(&server, &url(&server, "app", "second"));
    recovers("a password that was changed", || value(&store, b"k").is_ok());
}

#[test]
fn pooler_by_transaction_or_statement_is_refused_at_open_and_named() {
    let Some(server) = needed(&Options::default()) else { return };
    for (mode, round_robin) in [("transaction", false), ("transaction", true), ("statement", false)] {
        let Some(pooler) = pooler(&server, mode, round_robin) else { return };
        let refused = try_open(json!({ "url": pooler.url() }), server.socket()).map(|_| ()).unwrap_err();
        for text in ["PgBouncer", "pool_mode = session", "database server itself"] {
            assert!(refused.contains(text), "{mode}: {refused}");
        }
        // With other sessions in the pool, and other clients at work.
        thread::scope(|scope| {
            let busy: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let url = pooler.url();
                        let sql = "SELECT pg_sleep(0.01);".repeat(40);
                        let mut psql = std::process::Command::new(server.binaries().program("psql"));
                        for statement in sql.split_inclusive(';') {
                            psql.args(["-c", statement]);
                        }
                        assert!(psql.arg(url).output().unwrap().status.success());
                    })
                })
                .collect();
            for _ in 0..5 {
                let refused = try_open(json!({ "url": pooler.url() }), server.socket()).map(|_| ());
                assert!(refused.unwrap_err().contains("pool_mode = session"), "{mode}");
            }
            busy.into_iter().for_each(|client| client.join().unwrap());
        });
        assert_eq!(server.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'keyway'").unwrap(), "0");
    }
}

#[test]
fn pooler_by_session_is_used() {
    let Some(server) = needed(&Options::default()) else { return };
    let Some(pooler) = pooler(&server, "session", false) else { return };
    for _ in 0..2 {
        let store = try_open(json!({ "url": pooler.url() }), server.socket())
            .unwrap_or_else(|error| panic!("{error}"));
        thread::scope(|scope| {
            for writer in 0..8_u8 {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..20_u8 {
                        put(store, &[writer, round], b"v").unwrap();
                        assert_eq!(value(store, &[writer, round]).unwrap(), Some(b"v".to_vec()));
                    }
                });
            }
        });
        let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
        let transaction = block_on(store.begin(&call(), begin)).unwrap();
        block_on(transaction.put(&call(), Put::new(Key::new("test", b"t"), b"v"))).unwrap();
        block_on(transaction.commit(&call(), WriteId::default())).map(|_| ()).unwrap();
        assert!(block_on(store.health(&call())).unwrap().is_ready());
    }
}
