//! The database is stopped, paused, locked, read-only, full, out of connections, or takes this role no more:
//! 503 with a reason within the deadline, unsealed throughout, and well again without a restart.

use std::time::{Duration, Instant};

use keyway_e2e::{Keys, Server, within};
use keyway_private_postgres::{Options, needed};
use serde_json::json;

use super::{health, private, site_as};

/// The deadline of a call of a backend, and what a busy machine may take on top.
const DEADLINE: Duration = Duration::from_secs(15);

struct Trial {
    database: private::Server,
    site: keyway_e2e::Site,
    server: Server,
    keys: Keys,
}

impl Trial {
    fn begin(options: &Options<'_>) -> Option<Self> {
        let database = needed(options)?;
        database.sql("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app").unwrap();
        let site = site_as(&database.url_as("app"));
        let server = site.start();
        let keys = server.init_and_unseal();
        let trial = Self { database, site, server, keys };
        trial.write("before");
        Some(trial)
    }

    fn put(&self, value: &str) -> keyway_e2e::Answer {
        let begun = Instant::now();
        // Larger than a page of the database's.
        let body = json!({ "data": { "v": value, "padding": "x".repeat(20_000) } });
        let answer = self.server.post("secret/data/app", &self.keys.root_token, &body);
        assert!(begun.elapsed() < DEADLINE, "a write took {} s", begun.elapsed().as_secs());
        answer
    }

    fn write(&self, value: &str) {
        let answer = self.put(value);
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    fn read(&self) -> keyway_e2e::Answer {
        let begun = Instant::now();
        let answer = self.server.get("secret/data/app", &self.keys.root_token);
        assert!(begun.elapsed() < DEADLINE, "a read took {} s", begun.elapsed().as_secs());
        answer
    }

    fn is_unsealed(&self) {
        assert_eq!(self.server.get("sys/seal-status", "").json()["sealed"], json!(false));
    }

    /// What the database takes a moment to do has been done.
    fn notices(&self) {
        within(DEADLINE, || self.put("meanwhile").status != 200);
    }

    /// Reads are refused with a reason.
    fn is_unreadable(&self, what: &str) {
        let answer = self.read();
        assert!(
            answer.status == 503 && !answer.error().is_empty(),
            "{what}: {} {}",
            answer.status,
            answer.text
        );
    }

    /// Writes are refused with a reason, from the first on, and `sys/health` says it; answers it.
    fn is_refused(&self, what: &str) -> String {
        let answer = self.put("meanwhile");
        assert_eq!(answer.status, 503, "{what}: {}", answer.text);
        assert!(!answer.error().is_empty(), "{what}: {}", answer.text);
        self.is_unsealed();
        within(DEADLINE, || health(&self.server).0 == 503);
        let (status, body) = health(&self.server);
        assert_eq!((status, &body["sealed"]), (503, &json!(false)), "{what}: {body}");
        self.is_unsealed();
        format!("{} {body}", answer.error())
    }

    /// Well again, with what was acknowledged.
    fn recovers(&self, what: &str) {
        let begun = Instant::now();
        while self.put("after").status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {}", self.put("after").text);
            std::thread::sleep(Duration::from_millis(100));
        }
        let answer = self.read();
        assert_eq!(answer.json()["data"]["data"]["v"], json!("after"), "{what}: {}", answer.text);
        within(DEADLINE, || health(&self.server).0 == 200);
        let log = self.site.log_text();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn database_that_is_stopped_and_started() {
    let Some(mut trial) = Trial::begin(&Options::default()) else { return };
    for crash in [false, true] {
        if crash { trial.database.crash() } else { trial.database.stop() }.unwrap();
        let said = trial.is_refused("stopped");
        assert!(said.contains("not available"), "{said}");
        trial.is_unreadable("stopped");
        trial.database.resume_life().unwrap();
        trial.recovers("stopped");
    }
}

#[test]
fn database_that_is_paused() {
    let Some(trial) = Trial::begin(&Options::default()) else { return };
    trial.database.pause().unwrap();
    let said = trial.is_refused("paused");
    assert!(said.contains("time"), "{said}");
    trial.is_unreadable("paused");
    trial.database.unpause().unwrap();
    trial.recovers("paused");
}

#[test]
fn database_that_only_reads() {
    let Some(trial) = Trial::begin(&Options::default()) else { return };
    trial.database.sql("ALTER SYSTEM SET default_transaction_read_only = on").unwrap();
    trial.database.sql("SELECT pg_reload_conf()").unwrap();
    trial.notices();
    let said = trial.is_refused("read-only");
    assert!(said.contains("read-only") || said.contains("only read"), "{said}");
    // What is there can be read all the same.
    within(DEADLINE, || trial.read().status == 200);
    trial.database.sql("ALTER SYSTEM RESET default_transaction_read_only").unwrap();
    trial.database.sql("SELECT pg_reload_conf()").unwrap();
    trial.recovers("read-only");
}

#[test]
fn table_that_somebody_has_locked() {
    let Some(trial) = Trial::begin(&Options::default()) else { return };
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let lock =
                "BEGIN; LOCK TABLE keyway.records IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(45); COMMIT";
            // Ended below.
            let _ended = trial.database.sql(lock);
        });
        std::thread::sleep(Duration::from_millis(500));
        let answer = trial.put("meanwhile");
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.error().contains("Timeout"), "{}", answer.text);
        trial.is_unreadable("locked");
        let (status, body) = health(&trial.server);
        assert_eq!((status, &body["sealed"]), (503, &json!(false)), "{body}");
        trial.is_unsealed();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(45)%' AND pid <> pg_backend_pid()";
        trial.database.sql(end).unwrap();
        holder.join().unwrap();
    });
    trial.recovers("locked");
}

#[test]
fn role_that_is_gone() {
    let Some(trial) = Trial::begin(&Options::default()) else { return };
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
    let drop = "ALTER ROLE app NOLOGIN; REASSIGN OWNED BY app TO admin; DROP OWNED BY app; DROP ROLE app";
    for (part, sql) in drop.split("; ").enumerate() {
        trial.database.sql(sql).unwrap();
        if part == 0 {
            trial.database.sql(end).unwrap();
        }
    }
    let said = trial.is_refused("the role is gone");
    assert!(said.contains("role"), "{said}");
    trial.is_unreadable("the role is gone");
    for sql in [
        "CREATE ROLE app LOGIN",
        "GRANT USAGE ON SCHEMA keyway TO app",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA keyway TO app",
        "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA keyway TO app",
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA keyway TO app",
    ] {
        trial.database.sql(sql).unwrap();
    }
    trial.recovers("the role is gone");
}

#[test]
fn server_without_a_free_connection() {
    let Some(trial) = Trial::begin(&Options::default()) else { return };
    trial.database.sql("ALTER ROLE app CONNECTION LIMIT 0").unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
    trial.database.sql(end).unwrap();
    let said = trial.is_refused("out of connections");
    assert!(said.contains("too many connections"), "{said}");
    trial.is_unreadable("out of connections");
    trial.database.sql("ALTER ROLE app CONNECTION LIMIT -1").unwrap();
    trial.recovers("out of connections");
}

/// A database that answers but has lost all records is not an outage: the server must not report the former
/// state.
#[test]
fn database_that_was_emptied() {
    let Some(trial) = Trial::begin(&Options::default()) else { return };
    trial.is_unsealed();
    trial.database.sql("TRUNCATE keyway.records").unwrap();
    assert_ne!(trial.server.get("sys/seal-status", "").status, 200);
    let (status, body) = health(&trial.server);
    assert_ne!(status, 200, "{body}");
}

#[test]
fn disk_that_is_full() {
    if !private::is_root() {
        assert!(!private::is_ci(), "it takes root to mount a small disk");
        tell("SKIPPED: it takes root to mount a small disk");
        return;
    }
    let options = Options { can_be_full: true, settings: &["autovacuum=off"], ..Options::default() };
    let Some(trial) = Trial::begin(&options) else { return };
    let disk = trial.database.disk().unwrap();
    disk.fill().unwrap();
    trial.notices();
    let said = trial.is_refused("full");
    assert!(said.contains("No space left"), "{said}");
    // What is there can be read all the same.
    within(DEADLINE, || trial.read().status == 200);
    trial.is_unsealed();
    disk.free().unwrap();
    trial.recovers("full");
}

#[expect(clippy::print_stderr, reason = "the output says what was not tested")]
fn tell(line: &str) {
    eprintln!("{line}");
}
