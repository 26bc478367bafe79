//! The truth about the store: a mark is written and read back.

use std::sync::atomic::Ordering;

use keyway_sdk::{Health, Result};
use tokio::time::Instant;

use crate::{
    client::Client,
    error::{self, Effect},
    rows::column,
    session::Deadline,
    sql::Sql,
};

/// How large that record is, in bytes.
const WEIGHT: usize = 256 * 1024;

pub(crate) async fn health(client: &Client, deadline: Deadline) -> Health {
    let begun = Instant::now();
    client.measure();
    // Both at the same time: if one does not answer, the other may.
    let (written, read) = tokio::join!(write(client, deadline), read(client, deadline));
    let mut details: Vec<String> = Vec::new();
    let is_written = written.is_ok();
    let is_read = read.is_ok();
    match read {
        Ok(seen) if seen.in_recovery => details.push("the server is a standby".to_owned()),
        Ok(seen) if seen.read_only => details.push("the server, or the role, may only read".to_owned()),
        Ok(_) => {}
        Err(error) => details.push(error.to_string()),
    }
    if let Err(error) = written {
        details.push(error.to_string());
    }
    details.dedup();
    if details.is_empty() {
        return Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Health::degraded(is_read, is_written, details.join("; "))
}

struct Seen {
    in_recovery: bool,
    read_only: bool,
}

async fn write(client: &Client, deadline: Deadline) -> Result<()> {
    let rows = client.write("health", deadline, Sql::Mark, &[]).await?;
    if rows.is_empty() {
        return Err(error::unexpected("health"));
    }
    if client.is_full().load(Ordering::Relaxed) {
        find_room(client, deadline).await?;
        client.is_full().store(false, Ordering::Relaxed);
    }
    Ok(())
}

/// Writes a record that is larger than the free room of a table usually is, and rolls back. The mark alone
/// proves nothing: it has its place even if the disk is full.
async fn find_room(client: &Client, deadline: Deadline) -> Result<()> {
    let mut session = client.session(deadline).await?;
    session.begin(deadline, false, false).await?;
    session.rows("health", Effect::None, deadline, Sql::Weight, &[&vec![0_u8; WEIGHT]]).await?;
    session.rollback(deadline).await
}

async fn read(client: &Client, deadline: Deadline) -> Result<Seen> {
    let rows = client.read("health", deadline, Sql::ReadMark, &[]).await?;
    let row = rows.first().ok_or_else(|| error::unexpected("health"))?;
    Ok(Seen { in_recovery: column(row, 1, "health")?, read_only: column(row, 2, "health")? })
}
