//! What this backend alone can: figures of the server's, and queries that only read.

use keyway_sdk::{AbiBytes, Error, ErrorCode, Result};

use crate::{
    client::Client,
    error,
    rows::column,
    session::Deadline,
    sql::{self, Sql},
};

/// Figures of the server and the store, as a JSON object. The request is empty.
const STAT: &str = "pg.stat";
/// The rows of a query, as a JSON array of objects. The request is one SQL statement that only reads.
const QUERY: &str = "pg.query";

pub(crate) const NAMES: &[&str] = &[STAT, QUERY];

/// Most rows of a query.
const MOST_ROWS: u32 = 1_000;
/// Longest answer, in bytes.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Longest query, in bytes.
const LONGEST: usize = 64 * 1024;

pub(crate) async fn run(client: &Client, deadline: Deadline, name: &str, request: &[u8]) -> Result<AbiBytes> {
    match name {
        STAT => {
            let rows = client.read_alone(STAT, deadline, Sql::Stat, &[]).await?;
            let row = rows.first().ok_or_else(|| error::unexpected(STAT))?;
            Ok(AbiBytes::copy_from_slice(column::<&str>(row, 0, STAT)?.as_bytes()))
        }
        QUERY if !client.allows_queries => {
            let message =
                "pg.query is switched off: allow_queries = true in the backend's config switches it on";
            Err(Error::new(ErrorCode::PERMISSION_DENIED, message))
        }
        QUERY => query(client, deadline, request).await,
        _ => Err(Error::new(ErrorCode::NOT_FOUND, format!("there is no extension named {name}"))),
    }
}

/// In a transaction that only reads and is rolled back.
async fn query(client: &Client, deadline: Deadline, request: &[u8]) -> Result<AbiBytes> {
    let text = std::str::from_utf8(request)
        .ok()
        .filter(|text| !text.trim().is_empty() && text.len() <= LONGEST)
        .ok_or_else(|| {
            Error::new(ErrorCode::INVALID_ARGUMENT, "the request is one SQL query, at most 64 KiB")
        })?;
    let mut session = client.session(deadline).await?;
    session.begin(deadline, false, true).await?;
    let answer = session.query_text(QUERY, deadline, &sql::as_json(text, MOST_ROWS, MOST_BYTES)).await;
    // The session is not used again, so a lock or a setting of the query ends with it.
    session.spoil();
    let text = answer.map_err(|error| match error.native_code() {
        // A wrong query is no outage.
        code if code.starts_with("SQLSTATE 42") || code == "SQLSTATE 25006" => {
            Error::new(ErrorCode::INVALID_ARGUMENT, error.message().to_owned())
                .with_native_code(code.to_owned())
        }
        _ => error,
    })?;
    let text = text.ok_or_else(|| Error::new(ErrorCode::TOO_LARGE, "the answer has more than 8 MiB"))?;
    Ok(AbiBytes::copy_from_slice(text.as_bytes()))
}
