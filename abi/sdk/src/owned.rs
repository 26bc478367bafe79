//! Requests that own their bytes, for work that outlives the call.
//!
//! What a method of [`Backend`](crate::Backend) is given is borrowed for the length of the call. A pending future or
//! a thread needs a copy: `PutBuf::from(put)`, and `.as_put()` there. Each copies keyspace, key and value once.

use keyway_abi::{
    Batch, BatchMode, Condition, Delete, DropKeyspace, Key, Op, OpKind, Put, RestoreRecord, WriteId,
};

/// An owned [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyBuf {
    keyspace: Box<str>,
    bytes: Box<[u8]>,
}

impl KeyBuf {
    /// The borrowed form.
    pub fn as_key(&self) -> Key<'_> {
        Key::new(&self.keyspace, &self.bytes)
    }
}

impl From<Key<'_>> for KeyBuf {
    fn from(key: Key<'_>) -> Self {
        Self { keyspace: key.keyspace().into(), bytes: key.bytes().into() }
    }
}

/// An owned [`Put`].
#[derive(Debug, Clone)]
pub struct PutBuf {
    key: KeyBuf,
    value: Box<[u8]>,
    condition: Condition,
    expires_at_ms: u64,
    write_id: WriteId,
}

impl PutBuf {
    /// The borrowed form.
    pub fn as_put(&self) -> Put<'_> {
        Put::new(self.key.as_key(), &self.value)
            .when(self.condition)
            .expiring_at_ms(self.expires_at_ms)
            .with_write_id(self.write_id)
    }
}

impl From<Put<'_>> for PutBuf {
    fn from(put: Put<'_>) -> Self {
        Self {
            key: put.key().into(),
            value: put.value().into(),
            condition: put.condition(),
            expires_at_ms: put.expires_at_ms().unwrap_or(0),
            write_id: put.write_id(),
        }
    }
}

/// An owned [`Delete`].
#[derive(Debug, Clone)]
pub struct DeleteBuf {
    key: KeyBuf,
    condition: Condition,
    write_id: WriteId,
}

impl DeleteBuf {
    /// The borrowed form.
    pub fn as_delete(&self) -> Delete<'_> {
        Delete::new(self.key.as_key()).when(self.condition).with_write_id(self.write_id)
    }
}

impl From<Delete<'_>> for DeleteBuf {
    fn from(delete: Delete<'_>) -> Self {
        Self { key: delete.key().into(), condition: delete.condition(), write_id: delete.write_id() }
    }
}

/// An owned [`DropKeyspace`].
#[derive(Debug, Clone)]
pub struct DropKeyspaceBuf {
    name: Box<str>,
    write_id: WriteId,
}

impl DropKeyspaceBuf {
    /// The borrowed form.
    pub fn as_drop(&self) -> DropKeyspace<'_> {
        DropKeyspace::new(&self.name, self.write_id)
    }
}

impl From<DropKeyspace<'_>> for DropKeyspaceBuf {
    fn from(drop: DropKeyspace<'_>) -> Self {
        Self { name: drop.name().into(), write_id: drop.write_id() }
    }
}

/// An owned [`Op`].
#[derive(Debug, Clone)]
pub struct OpBuf {
    kind: OpKind,
    key: KeyBuf,
    value: Box<[u8]>,
    condition: Condition,
    expires_at_ms: u64,
}

impl OpBuf {
    /// The borrowed form.
    pub fn as_op(&self) -> Op<'_> {
        match self.kind {
            OpKind::Put => Op::put(self.key.as_key(), &self.value)
                .when(self.condition)
                .expiring_at_ms(self.expires_at_ms),
            OpKind::Delete => Op::delete(self.key.as_key()).when(self.condition),
            OpKind::Check => Op::check(self.key.as_key(), self.condition),
        }
    }
}

impl From<&Op<'_>> for OpBuf {
    fn from(op: &Op<'_>) -> Self {
        Self {
            kind: op.kind(),
            key: op.key().into(),
            value: op.value().into(),
            condition: op.condition(),
            expires_at_ms: op.expires_at_ms().unwrap_or(0),
        }
    }
}

/// An owned [`Batch`].
#[derive(Debug, Clone)]
pub struct BatchBuf {
    ops: Vec<OpBuf>,
    mode: BatchMode,
    write_id: WriteId,
}

impl BatchBuf {
    /// Calls `work` with the borrowed form.
    pub fn with<T>(&self, work: impl FnOnce(Batch<'_>) -> T) -> T {
        let ops: Vec<Op<'_>> = self.ops.iter().map(OpBuf::as_op).collect();
        work(Batch::new(&ops, self.mode, self.write_id))
    }
}

impl From<Batch<'_>> for BatchBuf {
    fn from(batch: Batch<'_>) -> Self {
        Self {
            ops: batch.ops().iter().map(OpBuf::from).collect(),
            mode: batch.mode(),
            write_id: batch.write_id(),
        }
    }
}

/// An owned [`RestoreRecord`].
#[derive(Debug, Clone)]
pub struct RestoreRecordBuf {
    key: KeyBuf,
    value: Box<[u8]>,
    expires_at_ms: u64,
}

impl RestoreRecordBuf {
    /// The borrowed form.
    pub fn as_record(&self) -> RestoreRecord<'_> {
        RestoreRecord::new(self.key.as_key(), &self.value, self.expires_at_ms)
    }
}

impl From<&RestoreRecord<'_>> for RestoreRecordBuf {
    fn from(record: &RestoreRecord<'_>) -> Self {
        Self {
            key: record.key().into(),
            value: record.value().into(),
            expires_at_ms: record.expires_at_ms().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyway_abi::Version;

    use super::*;

    #[test]
    fn owned_requests_are_what_they_were_made_of() {
        let key = Key::new("k", b"a\0b");
        let version = Condition::Version(Version::numbered(1, 2));
        let write_id = WriteId::new([7; 16]);
        let put = Put::new(key, b"v").when(version).expiring_at_ms(9).with_write_id(write_id);
        assert_eq!(format!("{put:?}"), format!("{:?}", PutBuf::from(put).as_put()));
        let delete = Delete::new(key).when(version).with_write_id(write_id);
        assert_eq!(format!("{delete:?}"), format!("{:?}", DeleteBuf::from(delete).as_delete()));
        let drop = DropKeyspace::new("k", write_id);
        assert_eq!(format!("{drop:?}"), format!("{:?}", DropKeyspaceBuf::from(drop).as_drop()));
        let ops = [
            Op::put(key, b"v").when(version).expiring_at_ms(9),
            Op::delete(key).when(Condition::Absent),
            Op::check(key, version),
        ];
        let batch = Batch::new(&ops, BatchMode::Atomic, write_id);
        let text = BatchBuf::from(batch).with(|same| format!("{same:?}"));
        assert_eq!(format!("{batch:?}"), text);
        let record = RestoreRecord::new(key, b"v", 3);
        assert_eq!(format!("{record:?}"), format!("{:?}", RestoreRecordBuf::from(&record).as_record()));
    }
}
