//! A restore fills keyspaces that have no name yet, next to the ones in use, and names them in one step. If
//! it ends before that, it leaves orphans, which upkeep removes.

use std::{collections::BTreeMap, sync::Arc};

use keyway_sdk::{
    CallContext, Error, ErrorCode, Reply, RestoreMode, RestoreRecord, RestoreSink, Result, WriteId,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use crate::{
    client::Client,
    connect::Parameter,
    error::{self, Effect},
    rows::{column, expiry_in},
    session::Deadline,
    sql::Sql,
};

pub(crate) struct PostgresRestore {
    client: Arc<Client>,
    mode: RestoreMode,
    filled: Arc<Mutex<Filled>>,
    _place: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Filled {
    keyspaces: BTreeMap<Vec<u8>, i64>,
    records: u64,
}

struct Owned {
    keyspace: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    expires_at_ms: Option<i64>,
}

impl PostgresRestore {
    pub(crate) async fn begin(client: Arc<Client>, deadline: Deadline, mode: RestoreMode) -> Result<Self> {
        let place = client.stream()?;
        // Checked early, so that the client does not send a million records in vain. The publication checks
        // it again.
        if mode == RestoreMode::INTO_EMPTY {
            let rows = client.read_alone("restore", deadline, Sql::IsEmpty, &[]).await?;
            if !rows.first().map_or(Ok(false), |row| column(row, 0, "restore"))? {
                return Err(not_empty());
            }
        }
        Ok(Self { client, mode, filled: Arc::default(), _place: place })
    }
}

fn not_empty() -> Error {
    Error::new(ErrorCode::INVALID_ARGUMENT, "the store is not empty, and the restore wants one that is")
}

fn given_up() -> Error {
    let message = "the restore was given up: more than an hour went by without a record";
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message)
}

impl Filled {
    async fn write(&mut self, client: &Client, deadline: Deadline, records: &[Owned]) -> Result<()> {
        let mut session = client.session(deadline).await?;
        let mut spaces = Vec::with_capacity(records.len());
        for record in records {
            let space = match self.keyspaces.get(&record.keyspace) {
                Some(space) => *space,
                None => {
                    let rows = session.rows("restore", Effect::Commits, deadline, Sql::Stage, &[]).await?;
                    let row = rows.first().ok_or_else(|| error::unexpected("restore"))?;
                    let space = column(row, 0, "restore")?;
                    self.keyspaces.insert(record.keyspace.clone(), space);
                    space
                }
            };
            spaces.push(space);
        }
        // All of them: while one is filled the others must not be taken for abandoned.
        let all: Vec<i64> = self.keyspaces.values().copied().collect();
        let kept = session.rows("restore", Effect::Commits, deadline, Sql::Keep, &[&all]).await?;
        if kept.len() != all.len() {
            return Err(given_up());
        }
        // One that comes twice in a statement would meet itself: the last one counts.
        let mut last: BTreeMap<(i64, &[u8]), &Owned> = BTreeMap::new();
        for (space, record) in spaces.iter().zip(records) {
            last.insert((*space, &record.key), record);
        }
        let spaces: Vec<i64> = last.keys().map(|(space, _)| *space).collect();
        let keys: Vec<&[u8]> = last.keys().map(|(_, key)| *key).collect();
        let expiries: Vec<Option<i64>> = last.values().map(|record| record.expires_at_ms).collect();
        let values: Vec<&[u8]> = last.values().map(|record| record.value.as_slice()).collect();
        let parameters: [Parameter<'_>; 4] = [&spaces, &keys, &expiries, &values];
        session.rows("restore", Effect::Commits, deadline, Sql::StageRecords, &parameters).await?;
        self.records += records.len() as u64;
        Ok(())
    }

    async fn publish(&mut self, client: &Client, deadline: Deadline, into_empty: bool) -> Result<u64> {
        let ids: Vec<i64> = self.keyspaces.values().copied().collect();
        let names: Vec<&[u8]> = self.keyspaces.keys().map(Vec::as_slice).collect();
        let rows = client.write("restore", deadline, Sql::Publish, &[&ids, &names, &into_empty]).await?;
        let row = rows.first().ok_or_else(|| error::unexpected("restore").with_unknown_outcome())?;
        match column::<i16>(row, 0, "restore")? {
            0 => {}
            1 => return Err(not_empty()),
            _ => return Err(given_up()),
        }
        self.keyspaces.clear();
        Ok(self.records)
    }
}

impl RestoreSink for PostgresRestore {
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        let entered = match self.client.enter() {
            Ok(entered) => entered,
            Err(error) => return Reply::ready(Err(error)),
        };
        let records: Vec<Owned> = records
            .iter()
            .map(|record| Owned {
                keyspace: record.key().keyspace().as_bytes().to_vec(),
                key: record.key().bytes().to_vec(),
                value: record.value().to_vec(),
                expires_at_ms: expiry_in(record.expires_at_ms()),
            })
            .collect();
        let (client, filled, deadline) =
            (Arc::clone(&self.client), Arc::clone(&self.filled), Deadline::of(call));
        Reply::pending(async move {
            let written = filled.lock().await.write(&client, deadline, &records).await;
            drop(entered);
            written
        })
    }

    fn finish(&self, call: &CallContext<'_>, _write_id: WriteId) -> Reply<u64> {
        let entered = match self.client.enter() {
            Ok(entered) => entered,
            Err(error) => return Reply::ready(Err(error)),
        };
        let (client, filled, deadline) =
            (Arc::clone(&self.client), Arc::clone(&self.filled), Deadline::of(call));
        let into_empty = self.mode == RestoreMode::INTO_EMPTY;
        Reply::pending(async move {
            let published = filled.lock().await.publish(&client, deadline, into_empty).await;
            client.want_upkeep();
            drop(entered);
            published
        })
    }

    fn abort(&self, call: &CallContext<'_>) -> Reply<()> {
        let (client, filled, deadline) =
            (Arc::clone(&self.client), Arc::clone(&self.filled), Deadline::of(call));
        Reply::pending(async move {
            let ids: Vec<i64> = std::mem::take(&mut filled.lock().await.keyspaces).into_values().collect();
            if !ids.is_empty() {
                // If that fails they are due in an hour.
                client.write("restore", deadline, Sql::Forget, &[&ids]).await?;
                client.want_upkeep();
            }
            Ok(())
        })
    }
}
