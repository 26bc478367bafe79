//! Single records, by keyspace and key.

use keyway_sdk::{Bytes, Record, Version};
use rusqlite::{Connection, Result, named_params};

use super::{At, Format, expiry, version};

/// The live record of a key.
pub(crate) fn get(connection: &Connection, at: At, keyspace: &str, key: &[u8]) -> Result<Option<Record>> {
    match get_up_to(connection, at, keyspace, key, u64::MAX)? {
        Found::Record(record) => Ok(Some(record)),
        // No value is larger than the greatest number.
        Found::Nothing | Found::Large => Ok(None),
    }
}

/// The live record of a key, if its value has at most `max_bytes`. A larger one is not read.
pub(crate) fn get_up_to(
    connection: &Connection,
    at: At,
    keyspace: &str,
    key: &[u8],
    max_bytes: u64,
) -> Result<Found> {
    let mut statement = connection.prepare_cached(match at.format {
        Format::One => {
            "SELECT version, expires_at_ms, CASE WHEN length(value) <= ?3 THEN value END \
             FROM records WHERE keyspace = ?1 AND key = ?2"
        }
        Format::Two => {
            "SELECT version, expires_at_ms, CASE WHEN length(value) <= ?3 THEN value END \
             FROM entries WHERE space = (SELECT id FROM spaces WHERE name = ?1) AND key = ?2"
        }
    })?;
    let mut rows = statement.query((keyspace, key, i64::try_from(max_bytes).unwrap_or(i64::MAX)))?;
    let Some(row) = rows.next()? else { return Ok(Found::Nothing) };
    let expires_at_ms = expiry(row, 1)?;
    if at.is_expired(expires_at_ms) {
        return Ok(Found::Nothing);
    }
    let Some(value) = row.get_ref(2)?.as_blob_or_null()? else { return Ok(Found::Large) };
    let record = Record::new(Bytes::copy_from_slice(value), version(row, 0, at.incarnation)?);
    Ok(Found::Record(record.with_expiry(expires_at_ms)))
}

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Record(Record),
    /// A record, whose value is larger than was asked for.
    Large,
}

/// The version of the live record of a key.
pub(crate) fn current_version(
    connection: &Connection,
    at: At,
    keyspace: &str,
    key: &[u8],
) -> Result<Option<Version>> {
    let mut statement = connection.prepare_cached(match at.format {
        Format::One => "SELECT version, expires_at_ms FROM records WHERE keyspace = ?1 AND key = ?2",
        Format::Two => {
            "SELECT version, expires_at_ms FROM entries
             WHERE space = (SELECT id FROM spaces WHERE name = ?1) AND key = ?2"
        }
    })?;
    let mut rows = statement.query((keyspace, key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if at.is_expired(expiry(row, 1)?) {
        return Ok(None);
    }
    version(row, 0, at.incarnation).map(Some)
}

/// A record to write.
#[derive(Clone, Copy)]
pub(crate) struct NewRecord<'a> {
    pub(crate) keyspace: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) version: u64,
    pub(crate) expires_at_ms: Option<u64>,
}

/// Writes a record. A keyspace that this is the first of gets the record's version as its number: neither repeats.
pub(crate) fn put(connection: &Connection, format: Format, record: &NewRecord<'_>) -> Result<()> {
    match format {
        Format::One => connection
            .prepare_cached("INSERT INTO keyspaces (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([record.keyspace])?,
        Format::Two => connection
            .prepare_cached("INSERT INTO spaces (name, id) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")?
            .execute((record.keyspace, record.version.cast_signed()))?,
    };
    let mut statement = connection.prepare_cached(match format {
        Format::One => {
            "INSERT INTO records (keyspace, key, value, version, expires_at_ms)
             VALUES (:keyspace, :key, :value, :version, :expires_at_ms)
             ON CONFLICT (keyspace, key) DO UPDATE SET
                 value = excluded.value, version = excluded.version, expires_at_ms = excluded.expires_at_ms"
        }
        Format::Two => {
            "INSERT INTO entries (space, key, version, expires_at_ms, value)
             VALUES ((SELECT id FROM spaces WHERE name = :keyspace), :key, :version, :expires_at_ms, :value)
             ON CONFLICT (space, key) DO UPDATE SET
                 version = excluded.version, expires_at_ms = excluded.expires_at_ms, value = excluded.value"
        }
    })?;
    statement
        .execute(named_params! {
            ":keyspace": record.keyspace,
            ":key": record.key,
            ":value": record.value,
            ":version": record.version.cast_signed(),
            ":expires_at_ms": record.expires_at_ms.map(u64::cast_signed),
        })
        .map(|_| ())
}

/// Removes a record, live or expired.
pub(crate) fn delete(connection: &Connection, format: Format, keyspace: &str, key: &[u8]) -> Result<()> {
    let mut statement = connection.prepare_cached(match format {
        Format::One => "DELETE FROM records WHERE keyspace = ?1 AND key = ?2",
        Format::Two => {
            "DELETE FROM entries WHERE space = (SELECT id FROM spaces WHERE name = ?1) AND key = ?2"
        }
    })?;
    statement.execute((keyspace, key)).map(|_| ())
}

pub(crate) fn keyspaces(
    connection: &Connection,
    format: Format,
    after: &str,
    limit: u32,
) -> Result<Vec<String>> {
    let mut statement = connection.prepare_cached(match format {
        Format::One => "SELECT name FROM keyspaces WHERE name > ?1 ORDER BY name LIMIT ?2",
        Format::Two => "SELECT name FROM spaces WHERE name > ?1 ORDER BY name LIMIT ?2",
    })?;
    statement.query_map((after, limit), |row| row.get(0))?.collect()
}

/// Removes a keyspace. In format 2 its records become orphans, however many they are.
pub(crate) fn drop_keyspace(connection: &Connection, format: Format, name: &str) -> Result<bool> {
    let removed = match format {
        Format::One => {
            connection.prepare_cached("DELETE FROM records WHERE keyspace = ?1")?.execute([name])?;
            connection.prepare_cached("DELETE FROM keyspaces WHERE name = ?1")?.execute([name])?
        }
        Format::Two => {
            let orphan = "INSERT INTO orphans (id) SELECT id FROM spaces WHERE name = ?1";
            connection.prepare_cached(orphan)?.execute([name])?;
            connection.prepare_cached("DELETE FROM spaces WHERE name = ?1")?.execute([name])?
        }
    };
    Ok(removed > 0)
}
