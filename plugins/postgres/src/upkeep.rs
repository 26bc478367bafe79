//! Removes the records of orphaned keyspaces and the expired ones.
//!
//! It works in small steps and skips rows that other sessions have locked, so several hosts can do it at the
//! same time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use keyway_sdk::{CallContext, Result};
use tokio::{sync::Notify, time::timeout};

use crate::{
    client::Client,
    error::Effect,
    session::{Deadline, Session},
    sql::Sql,
};

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(60);
/// Records that one statement removes at most.
const AT_A_TIME: i64 = 1_000;

/// Until the backend is closed or gone. `wanted` says that there is something to be done.
pub(crate) async fn run(client: Weak<Client>, wanted: Arc<Notify>) {
    loop {
        // Whichever comes first.
        let _either = timeout(EVERY, wanted.notified()).await;
        let Some(client) = client.upgrade() else { return };
        // A call like others: a close waits for it.
        let Ok(_call) = client.enter() else { return };
        match remove(&client).await {
            Ok(removed) => client.context().count("removed_records_total", removed as f64),
            // The next round tries again. Clients learn of such a failure from their own calls.
            Err(error) => tracing::debug!(%error, "upkeep was put off"),
        }
    }
}

async fn remove(client: &Client) -> Result<u64> {
    let mut session = client.session(deadline()).await?;
    let mut removed = some(client, &mut session, Sql::RemoveExpired, None).await?;
    let due = session.rows("upkeep", Effect::None, deadline(), Sql::DueOrphans, &[]).await?;
    for orphan in due {
        let orphan: i64 = orphan.get(0);
        removed += some(client, &mut session, Sql::RemoveOrphaned, Some(orphan)).await?;
        session.rows("upkeep", Effect::Commits, deadline(), Sql::RemoveOrphan, &[&orphan]).await?;
    }
    Ok(removed)
}

/// Until there are no more, or the backend is being closed.
async fn some(client: &Client, session: &mut Session, sql: Sql, orphan: Option<i64>) -> Result<u64> {
    let mut removed = 0;
    loop {
        let rows = match orphan {
            Some(orphan) => {
                session.rows("upkeep", Effect::Commits, deadline(), sql, &[&AT_A_TIME, &orphan]).await?
            }
            None => session.rows("upkeep", Effect::Commits, deadline(), sql, &[&AT_A_TIME]).await?,
        };
        let count: i64 = rows.first().map_or(0, |row| row.get(0));
        removed += count.cast_unsigned();
        if count < AT_A_TIME || client.is_closing() {
            return Ok(removed);
        }
    }
}

fn deadline() -> Deadline {
    Deadline::of(&CallContext::background())
}
