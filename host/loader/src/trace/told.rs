//! Requests and answers in words: keys, lengths of values, versions, conditions.

use std::fmt::Write as _;

use abi_stable::std_types::{ROption, RSlice, RString, RVec};
use keyway_abi::{
    AbiBytes, BackupChunk, BackupObject, Batch, BatchResult, Committed, Condition, Delete, DropKeyspace,
    Error, Health, Key, OpKind, Page, Put, Record, Records, Request, RestoreObject, RestoreRecord, Scan,
    TransactionObject, Version,
};

/// As many of several things are told; of the rest, how many there are.
const FIRST: usize = 8;

/// An answer in words.
pub(super) trait Told {
    fn told(&self) -> String;
}

macro_rules! in_words {
    ($($answer:ty: $words:expr;)*) => {
        $(impl Told for $answer {
            fn told(&self) -> String {
                let words: fn(&$answer) -> String = $words;
                words(self)
            }
        })*
    };
}

in_words! {
    ROption<Record>: |found| found.as_ref().map_or("none".to_owned(), record);
    Records: |records| several(records.iter().map(|found| found.map_or("none".to_owned(), record)));
    Version: |version| format!("{version:?}");
    bool: bool::to_string;
    u32: u32::to_string;
    u64: u64::to_string;
    (): |()| "done".to_owned();
    AbiBytes: |bytes| format!("{} bytes", bytes.len());
    Health: |health| format!("{health:?}");
    Page: page;
    BatchResult: |results| several(results.iter().map(|result| match result {
        Ok(written) => format!("{written:?}"),
        Err(failed) => error(failed),
    }));
    RVec<RString>: |names| several(names.iter().map(RString::to_string));
    Committed: |committed| several(committed.keys().iter().map(|written| {
        format!("{}:{} {:?}", written.keyspace(), written.key().escape_ascii(), written.version())
    }));
    BackupChunk: |chunk| {
        let end = if chunk.is_done() { "the last of " } else { "" };
        format!("{end}{} records", chunk.records().len())
    };
    TransactionObject: |_| "a transaction".to_owned();
    BackupObject: |_| "a backup".to_owned();
    RestoreObject: |_| "a restore".to_owned();
}

/// An error, with what it says of the effect.
pub(super) fn error(error: &Error) -> String {
    format!("{error} ({:?})", error.outcome())
}

pub(super) fn nothing(_request: &Request<'_, ()>) -> String {
    String::new()
}

pub(super) fn keys(request: &Request<'_, RSlice<'_, Key<'_>>>) -> String {
    several(request.body().iter().map(|key| format!("{key:?}")))
}

pub(super) fn put(request: &Request<'_, Put<'_>>) -> String {
    let put = request.body();
    let mut text = written(put.key(), put.value(), put.condition(), put.expires_at_ms());
    let _infallible = write!(text, ", write {:?}", put.write_id());
    text
}

pub(super) fn delete(request: &Request<'_, Delete<'_>>) -> String {
    let delete = request.body();
    format!("{:?}{}, write {:?}", delete.key(), when(delete.condition()), delete.write_id())
}

pub(super) fn scan(request: &Request<'_, Scan<'_>>) -> String {
    let scan = request.body();
    let mut text = format!("{}:{}*", scan.keyspace(), scan.key_prefix().escape_ascii());
    let mut add = |word: &str, bytes: Option<&[u8]>| {
        if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
            let _infallible = write!(text, " {word} {}", bytes.escape_ascii());
        }
    };
    add("from", Some(scan.start()));
    add("before", scan.end());
    add("up to", scan.delimiter());
    add("cursor", scan.cursor());
    for (is_so, word) in [(scan.is_reverse(), " in reverse"), (scan.is_keys_only(), " keys only")] {
        text += if is_so { word } else { "" };
    }
    let _infallible = write!(text, ", at most {} items", scan.max_items());
    text
}

pub(super) fn batch(request: &Request<'_, Batch<'_>>) -> String {
    let batch = request.body();
    let ops = several(batch.ops().iter().map(|op| match op.kind() {
        OpKind::Put => "put ".to_owned() + &written(op.key(), op.value(), op.condition(), op.expires_at_ms()),
        kind => format!("{kind:?} {:?}{}", op.key(), when(op.condition())),
    }));
    format!("{:?}, write {:?}: {ops}", batch.mode(), batch.write_id())
}

pub(super) fn drop_keyspace(request: &Request<'_, DropKeyspace<'_>>) -> String {
    format!("{}, write {:?}", request.body().name(), request.body().write_id())
}

pub(super) fn restored(request: &Request<'_, RSlice<'_, RestoreRecord<'_>>>) -> String {
    several(
        request
            .body()
            .iter()
            .map(|record| written(record.key(), record.value(), Condition::Any, record.expires_at_ms())),
    )
}

fn written(key: Key<'_>, value: &[u8], condition: Condition, expires_at_ms: Option<u64>) -> String {
    let expiry = expires_at_ms.map(|at| format!(", expires at {at}")).unwrap_or_default();
    format!("{key:?}, {} bytes{}{expiry}", value.len(), when(condition))
}

fn when(condition: Condition) -> String {
    if condition == Condition::Any { String::new() } else { format!(", if {condition:?}") }
}

fn record(record: &Record) -> String {
    let expiry = record.expires_at_ms().map(|at| format!(", expires at {at}")).unwrap_or_default();
    format!("{} bytes, {:?}{expiry}", record.value().len(), record.version())
}

fn page(page: &Page) -> String {
    let keys = page.entries().iter().map(|entry| entry.key().escape_ascii().to_string());
    let prefixes = page.prefixes().iter().map(|prefix| format!("{}…", prefix.escape_ascii()));
    let end = if page.cursor().is_some() { ", and a cursor" } else { "" };
    several(keys.chain(prefixes)) + end
}

fn several(things: impl Iterator<Item = String>) -> String {
    let mut things: Vec<String> = things.collect();
    let count = things.len();
    things.truncate(FIRST);
    let rest = if count > FIRST { format!(", and {} more", count - FIRST) } else { String::new() };
    format!("{count}: {}{rest}", things.join(", "))
}
