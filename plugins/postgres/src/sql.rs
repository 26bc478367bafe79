//! Every statement, and the schema that they are for.
//!
//! All are prepared once a connection. Each names its tables with their schema, so that no search path can
//! lead it elsewhere.

mod migrate;
mod schema;

use std::fmt::Write as _;

use tokio_postgres::SimpleQueryMessage;

pub(crate) use migrate::migrate;
pub(crate) use schema::{DATA_FORMAT, Found, create, look};

/// How the SQL below names the schema; [`Schema::text`] puts the configured name in its place.
const PLACEHOLDER: &str = "keyway.";

/// The schema's name: a plain identifier, which is the same with quotes and without.
#[derive(Debug, Clone)]
pub(crate) struct Schema(String);

impl Schema {
    /// A name of lower-case letters, digits and underscores that begins with no digit; at most 63, as
    /// PostgreSQL has it.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        (begins_well && name.len() <= 63 && name.bytes().all(is_plain)).then(|| Self(name.to_owned()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// `sql` for this schema.
    pub(crate) fn text(&self, sql: &str) -> String {
        sql.replace(PLACEHOLDER, &format!("{}.", self.0))
    }
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        /// A statement.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Sql {
            $($(#[$doc])* $name,)*
        }

        impl Sql {
            /// All.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its text, for a schema named as the placeholder.
            fn template(self) -> &'static str {
                match self { $(Self::$name => $sql,)* }
            }
        }
    };
}

/// A record that has not expired at the time of its transaction.
macro_rules! live {
    () => {
        "(r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment())"
    };
}

/// The keyspace that the first parameter names.
macro_rules! space {
    () => {
        "(SELECT s.id FROM keyway.spaces s WHERE s.name = $1)"
    };
}

/// A page of a scan by keyset: the index is entered at the bound, and left after the limit. Records beyond
/// `$4` bytes come without their value; `$5` leaves out all values. A statement without a bound leaves the
/// condition out, because it would otherwise walk to the end of the keyspace.
macro_rules! page {
    ($bound:literal, $order:literal) => {
        concat!(
            "SELECT p.key, p.version, p.expires_at_ms, length(p.value), \
             CASE WHEN NOT $5::boolean AND (p.nth = 1 OR p.bytes <= $4::bigint) THEN p.value END \
             FROM (SELECT q.*, row_number() OVER w AS nth, sum(length(q.key) + length(q.value)) OVER w AS bytes \
             FROM (SELECT r.key, r.version, r.expires_at_ms, r.value FROM keyway.records r WHERE r.space = ",
            space!(),
            " AND r.key >= $2 AND ",
            $bound,
            " AND ",
            live!(),
            " ORDER BY r.key",
            $order,
            " LIMIT $6) q WINDOW w AS (ORDER BY q.key",
            $order,
            " ROWS UNBOUNDED PRECEDING)) p"
        )
    };
}

statements! {
    /// Of a keyspace and a key.
    Get = concat!(
        "SELECT r.version, r.expires_at_ms, r.value FROM keyway.records r WHERE r.space = ", space!(),
        " AND r.key = $2 AND ", live!()
    );
    /// Takes arrays of keyspaces and keys; answers the positions of the keys that exist.
    GetMany = concat!(
        "SELECT o.nth::integer, r.version, r.expires_at_ms, r.value \
         FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS o (name, key, nth) \
         JOIN keyway.spaces s ON s.name = o.name JOIN keyway.records r ON r.space = s.id AND r.key = o.key WHERE ",
        live!()
    );
    /// Of keyspace, key, value and expiry. No row if there is no such keyspace.
    PutAny = "INSERT INTO keyway.records AS r (space, key, version, expires_at_ms, value) \
         SELECT s.id, $2, nextval('keyway.numbers'), $4, $3 FROM keyway.spaces s WHERE s.name = $1 \
         ON CONFLICT (space, key) DO UPDATE SET \
             version = excluded.version, expires_at_ms = excluded.expires_at_ms, value = excluded.value \
         RETURNING r.version";
    /// As [`Sql::PutAny`]; no row if the key exists either.
    PutAbsent = "INSERT INTO keyway.records AS r (space, key, version, expires_at_ms, value) \
         SELECT s.id, $2, nextval('keyway.numbers'), $4, $3 FROM keyway.spaces s WHERE s.name = $1 \
         ON CONFLICT (space, key) DO UPDATE SET \
             version = excluded.version, expires_at_ms = excluded.expires_at_ms, value = excluded.value \
         WHERE r.expires_at_ms <= keyway.moment() \
         RETURNING r.version";
    /// As [`Sql::PutAny`], and of the version that must be there.
    PutVersion = concat!(
        "UPDATE keyway.records r SET version = nextval('keyway.numbers'), expires_at_ms = $4, value = $3 WHERE r.space = ",
        space!(), " AND r.key = $2 AND r.version = $5 AND ", live!(), " RETURNING r.version"
    );
    /// Of keyspace and key; answers whether what was removed had not expired.
    Delete = concat!(
        "DELETE FROM keyway.records r WHERE r.space = ", space!(), " AND r.key = $2 RETURNING ", live!()
    );
    /// Of keyspace, key and version.
    DeleteVersion = concat!(
        "DELETE FROM keyway.records r WHERE r.space = ", space!(), " AND r.key = $2 AND r.version = $3 AND ", live!(),
        " RETURNING true"
    );
    /// A page in order, to the end.
    PageOn = page!("$3::bytea IS NULL", "");
    /// A page in order, up to `$3`.
    PageOnTo = page!("r.key < $3", "");
    /// A page in reverse, from the end.
    PageBack = page!("$3::bytea IS NULL", " DESC");
    /// A page in reverse, from before `$3`.
    PageBackFrom = page!("r.key < $3", " DESC");
    /// A page of a scan with a delimiter; see the schema.
    Walk = "SELECT key, version, expires_at_ms, value_bytes, value FROM keyway.walk($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    /// A batch; see the schema.
    Apply = "SELECT nth, code, new_version, existed FROM keyway.apply($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    /// The names after one.
    Keyspaces = "SELECT s.name FROM keyway.spaces s WHERE s.name > $1 ORDER BY s.name LIMIT $2";
    /// Takes a keyspace its name; see the schema.
    DropKeyspace = "SELECT keyway.drop_space($1)";
    /// Writes a mark, for health.
    Mark = "UPDATE keyway.meta SET value = value + 1 WHERE name = 'mark' RETURNING value";
    /// Writes a record that belongs to no keyspace, in a transaction that is rolled back: no keyspace has the
    /// number zero.
    Weight = "INSERT INTO keyway.records (space, version, key, value) VALUES (0, 0, 'weight', $1)";
    /// Reads the mark and looks for a record of keyspace zero. It waits if another session has locked the
    /// table.
    ReadMark = "SELECT value, pg_is_in_recovery(), current_setting('transaction_read_only')::boolean, \
         EXISTS (SELECT FROM keyway.records r WHERE r.space = 0) FROM keyway.meta WHERE name = 'mark'";
    /// The first keyspace whose name is `$1` or later, for a backup.
    SpaceFrom = "SELECT s.id, s.name FROM keyway.spaces s WHERE s.name >= $1 ORDER BY s.name LIMIT 1";
    /// The same, for names later than `$1`.
    SpaceBehind = "SELECT s.id, s.name FROM keyway.spaces s WHERE s.name > $1 ORDER BY s.name LIMIT 1";
    /// Records of the keyspace `$1` from the key `$2` on, at most `$4`; records beyond `$3` bytes come
    /// without their value.
    Copy = concat!(
        "SELECT p.key, p.version, p.expires_at_ms, CASE WHEN p.nth = 1 OR p.bytes <= $3::bigint THEN p.value END \
         FROM (SELECT q.*, row_number() OVER w AS nth, sum(length(q.key) + length(q.value)) OVER w AS bytes \
         FROM (SELECT r.key, r.version, r.expires_at_ms, r.value FROM keyway.records r \
         WHERE r.space = $1 AND r.key >= $2 AND ", live!(), " ORDER BY r.key LIMIT $4) q \
         WINDOW w AS (ORDER BY q.key ROWS UNBOUNDED PRECEDING)) p"
    );
    /// Whether there is no record.
    IsEmpty = "SELECT keyway.is_empty()";
    /// A number for a keyspace that a restore fills.
    Stage = "INSERT INTO keyway.orphans (id, due) VALUES (nextval('keyway.numbers'), now() + interval '1 hour') RETURNING id";
    /// Keeps all that a restore fills for another hour; answers those for which it is not too late.
    Keep = "UPDATE keyway.orphans SET due = clock_timestamp() + interval '1 hour' \
         WHERE id = ANY ($1) AND due > clock_timestamp() RETURNING id";
    /// Records for such keyspaces.
    StageRecords = "INSERT INTO keyway.records (space, key, version, expires_at_ms, value) \
         SELECT u.space, u.key, nextval('keyway.numbers'), u.expiry, u.value \
         FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[]) AS u (space, key, expiry, value) \
         ON CONFLICT (space, key) DO UPDATE SET \
             version = excluded.version, expires_at_ms = excluded.expires_at_ms, value = excluded.value";
    /// Gives up what a restore has filled.
    Forget = "UPDATE keyway.orphans SET due = now() WHERE id = ANY ($1)";
    /// Gives it its names; see the schema.
    Publish = "SELECT keyway.publish($1, $2, $3)";
    /// Orphans whose records may be removed.
    DueOrphans = "SELECT o.id FROM keyway.orphans o WHERE o.due <= now() ORDER BY o.id";
    /// Removes up to `$1` records of a keyspace that is still an orphan; answers how many.
    RemoveOrphaned = "WITH gone AS (DELETE FROM keyway.records WHERE ctid = ANY (ARRAY( \
         SELECT r.ctid FROM keyway.records r WHERE r.space = $2 AND EXISTS ( \
             SELECT FROM keyway.orphans o WHERE o.id = $2 AND o.due <= now()) \
         LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1) \
         SELECT count(*) FROM gone";
    /// Forgets an orphan, an hour after it had its last record: no write that had found its number is on its
    /// way then.
    RemoveOrphan = "DELETE FROM keyway.orphans o WHERE o.id = $1 AND o.due < now() - interval '1 hour' \
         AND NOT EXISTS (SELECT FROM keyway.records r WHERE r.space = $1)";
    /// Removes up to `$1` records that have expired; answers how many.
    RemoveExpired = "WITH gone AS (DELETE FROM keyway.records WHERE ctid = ANY (ARRAY( \
         SELECT r.ctid FROM keyway.records r WHERE r.expires_at_ms <= keyway.moment() LIMIT $1 FOR UPDATE SKIP LOCKED)) \
         RETURNING 1) SELECT count(*) FROM gone";
    /// What the server says of itself and of the store, as JSON.
    Stat = "SELECT json_build_object( \
             'server_version', current_setting('server_version'), \
             'in_recovery', pg_is_in_recovery(), \
             'synchronous_commit', current_setting('synchronous_commit'), \
             'database_bytes', pg_database_size(current_database()), \
             'records_bytes', pg_total_relation_size('keyway.records'), \
             'records_estimate', (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = 'keyway.records'::regclass), \
             'dead_rows', (SELECT t.n_dead_tup FROM pg_stat_all_tables t WHERE t.relid = 'keyway.records'::regclass), \
             'connections', (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = current_database()), \
             'oldest_transaction_s', (SELECT extract(epoch FROM max(now() - a.xact_start)) FROM pg_stat_activity a WHERE a.datname = current_database()), \
             'deadlocks', (SELECT d.deadlocks FROM pg_stat_database d WHERE d.datname = current_database()) \
         )::text";
}

impl Sql {
    /// Its text for a schema.
    pub(crate) fn text(self, schema: &Schema) -> String {
        schema.text(self.template())
    }
}

/// What begins a transaction and fixes its snapshot, in one round trip.
pub(crate) fn begin(schema: &Schema, is_serializable: bool, read_only: bool) -> String {
    let isolation = if is_serializable { "SERIALIZABLE" } else { "REPEATABLE READ" };
    let access = if read_only { " READ ONLY" } else { "" };
    // What writes holds that lock before its snapshot is fixed, so that no keyspace is dropped beneath it.
    let lock = if read_only {
        String::new()
    } else {
        schema.text("LOCK TABLE keyway.records IN ROW EXCLUSIVE MODE; ")
    };
    format!("BEGIN ISOLATION LEVEL {isolation}{access}; {lock}SELECT 1")
}

pub(crate) const COMMIT: &str = "COMMIT";
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// The settings of a new connection, and whether it leads to a standby: the first row's `in_recovery`. The
/// planner may not use plans without an index: each statement has one, and missing statistics of a new table
/// must not change that. Settings that an older server does not have are left out.
pub(crate) fn session(settings: Session) -> String {
    let mut sql = String::from(
        "SET search_path = pg_catalog; SET jit = off; SET plan_cache_mode = force_generic_plan; \
         SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
         SET default_transaction_isolation = 'read committed'; SET bytea_output = 'hex'; SET client_min_messages = warning; \
         SELECT pg_is_in_recovery() AS in_recovery; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
         SELECT set_config('client_connection_check_interval', '1s', false) \
         WHERE current_setting('client_connection_check_interval', true) IS NOT NULL; ",
    );
    // A string takes any number of these.
    let _infallible = write!(
        sql,
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        settings.statement_timeout_ms, settings.idle_in_transaction_ms
    );
    sql
}

/// The limits that the server itself sets for a session, in milliseconds. They hold even if the host has
/// gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) statement_timeout_ms: u64,
    pub(crate) idle_in_transaction_ms: u64,
}

/// A read-only query from an operator, its rows as a JSON array. A text with several statements fails as a
/// syntax error, because it is prepared. A statement that writes fails, because the transaction is read-only.
pub(crate) fn as_json(query: &str, most_rows: u32, most_bytes: usize) -> String {
    format!(
        "SELECT CASE WHEN length(t) <= {most_bytes} THEN t END FROM (SELECT coalesce(json_agg(q), '[]')::text AS t \
         FROM (SELECT * FROM ({}\n) AS query LIMIT {most_rows}) q) texts",
        query.trim().trim_end_matches(';')
    )
}

/// The first row of a simple query.
pub(crate) fn first_row(messages: &[SimpleQueryMessage]) -> Option<&tokio_postgres::SimpleQueryRow> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_is_named_in_each_statement_and_none_uses_an_offset() {
        let schema = Schema::new("other").unwrap();
        for sql in Sql::ALL {
            let text = sql.text(&schema);
            assert!(text.contains("other.") && !text.contains("keyway"), "{sql:?}: {text}");
            let upper = text.to_uppercase();
            assert!(!upper.contains("OFFSET") && !upper.contains("LIKE"), "{sql:?}: {text}");
        }
    }

    #[test]
    fn schema_has_a_plain_name() {
        let longest = "k".repeat(63);
        for name in ["keyway", "_k1", longest.as_str()] {
            assert!(Schema::new(name).is_some(), "{name}");
        }
        for name in ["", "1k", "Keyway", "k-w", "k\"w", "k'w", "k w", "schlüssel", &"k".repeat(64)] {
            assert!(Schema::new(name).is_none(), "{name}");
        }
    }
}
