//! The truth about the store: a mark is written, synced and read back through another connection, and the
//! files are looked at.

use std::{sync::Arc, time::Instant};

use keyway_sdk::{CallContext, Health, Reply, Result};

use crate::{client::Client, error, files, queue::Size, shared::Shared, sql};

/// Space on the file system below which health says so, in bytes: a few of the largest values and their WAL.
const LITTLE_SPACE: u64 = 256 * 1024 * 1024;

pub(crate) fn health(client: &Client, call: &CallContext<'_>) -> Reply<Health> {
    let begun = Instant::now();
    let queues = client.writes().and_then(|writes| Ok((writes, client.reads()?)));
    let (writes, reads) = match queues {
        Ok(queues) => queues,
        Err(error) => return Reply::ready(Err(error)),
    };
    let shared = Arc::clone(client.shared());
    let written = writes.write(call, "health", Size { ops: 1, bytes: 0 }, |writing| writing.probe());
    Reply::pending(async move {
        let written = written.wait().await;
        let read = reads
            .read(|connection| sql::probe(connection).map_err(|source| error::failed("health", &source)));
        Ok(verdict(&shared, begun, written, read.wait().await))
    })
}

fn verdict(shared: &Shared, begun: Instant, written: Result<u64>, read: Result<u64>) -> Health {
    let (mut readable, mut writable) = (read.is_ok(), written.is_ok());
    let mut details: Vec<String> = Vec::new();
    if let Some(detail) = shared.place().moved() {
        writable = false;
        details.push(detail);
    }
    match (written, read) {
        // Marks grow: another check's may have come in between.
        (Ok(written), Ok(read)) if read < written => {
            readable = false;
            details.push("what was written is not what is read".to_owned());
        }
        (written, read) => {
            details.extend(written.err().map(|error| error.to_string()));
            details.extend(read.err().map(|error| error.to_string()));
        }
    }
    details.extend(shared.trouble());
    match files::free_bytes(shared.place().database()) {
        Ok(free) => {
            shared.context().gauge("free_bytes", free as f64);
            if free < LITTLE_SPACE {
                details.push(format!("{} MiB are left on the file system", free / (1024 * 1024)));
            }
        }
        Err(source) => details.push(format!("the file system does not say how much space is left: {source}")),
    }
    shared.context().gauge("wal_bytes", shared.place().wal_bytes() as f64);
    if details.is_empty() {
        return Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Health::degraded(readable, writable, details.join("; "))
}
