//! What the server answers, in the interface's types; and operations, as it takes them.

use keyway_sdk::{
    AbiBytes, Bytes, Condition, Delete, Error, ErrorCode, Op, OpKind, Put, Record, Result, Version,
};
use tokio_postgres::{
    Row,
    types::{FromSql, WasNull},
};

use crate::error;

/// A column; a value that it cannot have is `Corrupt`.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize, doing: &str) -> Result<T> {
    row.try_get(index).map_err(|source| {
        let is_null = std::error::Error::source(&source).is_some_and(|cause| cause.is::<WasNull>());
        debug_assert!(is_null, "a column has another type than it is read as: {source}");
        error::unexpected(doing)
    })
}

/// An expiry as it is kept. No time that is meant lies beyond the greatest number.
pub(crate) fn expiry_in(expires_at_ms: Option<u64>) -> Option<i64> {
    expires_at_ms.map(|expires_at_ms| i64::try_from(expires_at_ms).unwrap_or(i64::MAX))
}

pub(crate) fn expiry_out(expires_at_ms: Option<i64>) -> Option<u64> {
    expires_at_ms.map(|expires_at_ms| u64::try_from(expires_at_ms).unwrap_or(0))
}

/// A record from its version, expiry and value, which stand in this order from a column on.
pub(crate) fn record(
    row: &Row,
    first: usize,
    doing: &str,
    version: impl Fn(i64) -> Version,
) -> Result<Record> {
    let value: &[u8] = column(row, first + 2, doing)?;
    let record = Record::new(Bytes::copy_from_slice(value), version(column(row, first, doing)?));
    Ok(record.with_expiry(expiry_out(column(row, first + 1, doing)?)))
}

/// The version that a write answers.
pub(crate) fn written(rows: &[Row], doing: &str) -> Result<Option<i64>> {
    rows.first().map(|row| column(row, 0, doing)).transpose()
}

/// An operation that owns what it needs.
#[derive(Debug)]
pub(crate) struct OwnedOp {
    pub(crate) kind: OpKind,
    pub(crate) keyspace: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) expires_at_ms: Option<i64>,
    pub(crate) condition: Condition,
}

impl OwnedOp {
    pub(crate) fn put(put: &Put<'_>) -> Self {
        Self {
            kind: OpKind::Put,
            keyspace: put.key().keyspace().as_bytes().to_vec(),
            key: put.key().bytes().to_vec(),
            value: put.value().to_vec(),
            expires_at_ms: expiry_in(put.expires_at_ms()),
            condition: put.condition(),
        }
    }

    pub(crate) fn delete(delete: &Delete<'_>) -> Self {
        Self {
            kind: OpKind::Delete,
            keyspace: delete.key().keyspace().as_bytes().to_vec(),
            key: delete.key().bytes().to_vec(),
            value: Vec::new(),
            expires_at_ms: None,
            condition: delete.condition(),
        }
    }

    pub(crate) fn of(op: &Op<'_>) -> Self {
        Self {
            kind: op.kind(),
            keyspace: op.key().keyspace().as_bytes().to_vec(),
            key: op.key().bytes().to_vec(),
            value: op.value().to_vec(),
            expires_at_ms: expiry_in(op.expires_at_ms()),
            condition: op.condition(),
        }
    }
}

/// What a condition asks, as `keyway.apply` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowCondition {
    Any,
    Absent,
    Number(i64),
    /// A version of another store: no record has it.
    Foreign,
}

impl RowCondition {
    pub(crate) fn of(condition: Condition, number: impl Fn(Version) -> Option<i64>) -> Self {
        match condition {
            Condition::Any => Self::Any,
            Condition::Absent => Self::Absent,
            Condition::Version(version) => number(version).map_or(Self::Foreign, Self::Number),
        }
    }

    /// The condition's kind and number. No record has the number zero.
    fn parts(self) -> (i16, i64) {
        match self {
            Self::Any => (0, 0),
            Self::Absent => (1, 0),
            Self::Number(number) => (2, number),
            Self::Foreign => (2, 0),
        }
    }
}

/// The error of a condition that failed.
pub(crate) fn failed_condition(condition: Condition) -> Error {
    match condition {
        Condition::Absent => Error::new(ErrorCode::ALREADY_EXISTS, "the key exists"),
        _ => Error::new(ErrorCode::PRECONDITION_FAILED, "the key has another version, or none"),
    }
}

/// The arrays that `keyway.apply` takes, in the order of the keys; and which operation each place is.
#[derive(Debug, Default)]
pub(crate) struct Arrays<'a> {
    pub(crate) places: Vec<usize>,
    pub(crate) kinds: Vec<i16>,
    pub(crate) names: Vec<&'a [u8]>,
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) values: Vec<Option<&'a [u8]>>,
    pub(crate) expiries: Vec<Option<i64>>,
    pub(crate) conditions: Vec<i16>,
    pub(crate) versions: Vec<i64>,
}

impl<'a> Arrays<'a> {
    pub(crate) fn of(
        ops: impl Iterator<Item = &'a OwnedOp>,
        number: impl Fn(Version) -> Option<i64>,
    ) -> Self {
        let mut sorted: Vec<(usize, &OwnedOp)> = ops.enumerate().collect();
        sorted.sort_by_key(|(_, op)| (op.keyspace.as_slice(), op.key.as_slice()));
        let mut arrays = Self::default();
        for (place, op) in sorted {
            arrays.places.push(place);
            let (condition, version) = RowCondition::of(op.condition, &number).parts();
            arrays.kinds.push(match op.kind {
                OpKind::Put => 1,
                OpKind::Delete => 2,
                OpKind::Check => 3,
            });
            arrays.names.push(&op.keyspace);
            arrays.keys.push(&op.key);
            arrays.values.push((op.kind == OpKind::Put).then_some(op.value.as_slice()));
            arrays.expiries.push(op.expires_at_ms);
            arrays.conditions.push(condition);
            arrays.versions.push(version);
        }
        arrays
    }
}

/// What `keyway.apply` says of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) is_done: bool,
    pub(crate) version: Option<i64>,
    pub(crate) existed: bool,
    /// Its place among the arrays.
    pub(crate) nth: usize,
}

impl Applied {
    pub(crate) fn of(row: &Row) -> Result<Self> {
        let (nth, code): (i32, i16) = (column(row, 0, "apply")?, column(row, 1, "apply")?);
        Ok(Self {
            is_done: code == 0,
            version: column(row, 2, "apply")?,
            existed: column::<Option<bool>>(row, 3, "apply")?.unwrap_or(false),
            nth: usize::try_from(nth).map_err(|_| error::unexpected("apply"))?,
        })
    }
}

/// One page of a scan, from the rows of its statements.
pub(crate) struct PageRow<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value_bytes: usize,
    version: i64,
    expires_at_ms: Option<i64>,
    value: Option<&'a [u8]>,
}

impl<'a> PageRow<'a> {
    pub(crate) fn of(row: &'a Row) -> Result<Self> {
        let bytes: i32 = column(row, 3, "scan")?;
        Ok(Self {
            key: column(row, 0, "scan")?,
            version: column(row, 1, "scan")?,
            expires_at_ms: column(row, 2, "scan")?,
            value_bytes: usize::try_from(bytes).unwrap_or(0),
            value: column(row, 4, "scan")?,
        })
    }

    /// The entry; `None` if its value was left out.
    pub(crate) fn entry(
        &self,
        keys_only: bool,
        version: impl Fn(i64) -> Version,
    ) -> Option<(AbiBytes, Record)> {
        let value = if keys_only { &[] } else { self.value? };
        let record = Record::new(Bytes::copy_from_slice(value), version(self.version));
        Some((AbiBytes::copy_from_slice(self.key), record.with_expiry(expiry_out(self.expires_at_ms))))
    }
}
