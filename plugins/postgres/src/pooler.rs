//! Recognises a pooler that hands out the server's sessions by transaction, as PgBouncer does with `pool_mode
//! = transaction`.
//!
//! Two connections that are both open have two sessions, each its own, if nothing or a pooler by session is
//! between. A pooler by transaction gives the session that one connection has used last to the other, or
//! another session to the same connection. Nothing is set or prepared meanwhile, so that a session which
//! others share is left as it was.

use tokio_postgres::{Client, Error};

use crate::sql;

/// How often each connection is asked for its session. One round is enough for a pooler that hands out the
/// session that was given back last; others take turns, or are busy with other clients.
const ROUNDS: usize = 4;

/// Names the session: no two that are open at the same time have the same process and the same beginning.
const SESSION: &str = "SELECT a.pid, a.backend_start FROM pg_catalog.pg_stat_activity a \
                       WHERE a.pid = pg_catalog.pg_backend_pid()";

/// Whether sessions are not kept for one connection each.
pub(crate) async fn shares_sessions(one: &Client, other: &Client) -> Result<bool, Error> {
    let first = session(one).await?;
    for _ in 0..ROUNDS {
        if session(other).await? == first || session(one).await? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn session(client: &Client) -> Result<(Option<String>, Option<String>), Error> {
    let said = client.simple_query(SESSION).await?;
    let column = |name| sql::first_row(&said).and_then(|row| row.get(name)).map(str::to_owned);
    Ok((column("pid"), column("backend_start")))
}
