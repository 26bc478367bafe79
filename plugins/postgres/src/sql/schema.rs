//! The schema's text, whether a database has it, and how it gets it.

use tokio_postgres::{Client, Error};

use super::{Schema, first_row};

/// The data format that a new schema gets, and the newest that is read.
pub(crate) const DATA_FORMAT: u32 = 1;

const TEXT: &str = include_str!("schema.sql");

/// Two hosts that make or change a schema at the same time do it one after the other. The number is "keyw" in
/// ASCII.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1801812343, hashtext('SCHEMA'))";

/// The session that changes the schema holds the lock to the end of its transaction.
pub(super) fn lock(schema: &Schema) -> String {
    LOCK.replace("SCHEMA", schema.name())
}

/// What a database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No schema of that name, or an empty one.
    Nothing,
    /// One that is not Keyway's.
    Foreign,
    /// Keyway's.
    Ours { data_format: i64, incarnation: i64, is_durable: bool },
}

/// Looks without changing anything.
pub(crate) async fn look(client: &Client, schema: &Schema) -> Result<Found, Error> {
    let name = schema.name();
    let found = client
        .simple_query(&format!(
            "SELECT count(*), count(*) FILTER (WHERE c.relname IN ('meta', 'spaces', 'orphans', 'records')) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{name}'"
        ))
        .await?;
    let count = |column| first_row(&found).and_then(|row| row.get(column)?.parse::<u64>().ok()).unwrap_or(0);
    match (count(0), count(1)) {
        (0, _) => return Ok(Found::Nothing),
        (_, 4) => {}
        _ => return Ok(Found::Foreign),
    }
    let facts = client
        .simple_query(&schema.text(
            "SELECT (SELECT value FROM keyway.meta WHERE name = 'data_format'), \
             (SELECT value FROM keyway.meta WHERE name = 'incarnation'), \
             CASE WHEN current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean THEN 1 ELSE 0 END",
        ))
        .await?;
    let fact = |column| first_row(&facts).and_then(|row| row.get(column)?.parse::<i64>().ok());
    match (fact(0), fact(1), fact(2)) {
        (Some(data_format), Some(incarnation), Some(is_durable)) => {
            Ok(Found::Ours { data_format, incarnation, is_durable: is_durable == 1 })
        }
        _ => Ok(Found::Foreign),
    }
}

/// Makes the schema, in one transaction, unless another host has made it meanwhile.
pub(crate) async fn create(client: &Client, schema: &Schema) -> Result<Found, Error> {
    client.batch_execute(&format!("BEGIN; {}", lock(schema))).await?;
    let made = match look(client, schema).await? {
        Found::Nothing => {
            let text = schema.text(TEXT).replace("EXISTS keyway;", &format!("EXISTS {};", schema.name()));
            client.batch_execute(&text).await?;
            look(client, schema).await?
        }
        found => found,
    };
    client.batch_execute("COMMIT").await?;
    Ok(made)
}
