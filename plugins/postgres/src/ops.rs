//! Single operations on a connection: by themselves, or in a transaction.

use keyway_sdk::{Key, Page, Record, Result, Version, paging::ScanPlan};

use crate::{
    connect::Parameter,
    error::Effect,
    rows::{Applied, Arrays, OwnedOp, RowCondition, column, failed_condition, record, written},
    scan,
    session::{Deadline, Session},
    sql::Sql,
};

/// How operations are run.
pub(crate) struct On<'a> {
    pub(crate) session: &'a mut Session,
    /// Of a write.
    pub(crate) effect: Effect,
    pub(crate) deadline: Deadline,
}

impl On<'_> {
    /// The live record of a key.
    pub(crate) async fn get(
        &mut self,
        keyspace: &[u8],
        key: &[u8],
        version: impl Fn(i64) -> Version,
    ) -> Result<Option<Record>> {
        let rows =
            self.session.rows("get", Effect::None, self.deadline, Sql::Get, &[&keyspace, &key]).await?;
        rows.first().map(|row| record(row, 0, "get", version)).transpose()
    }

    /// One page.
    pub(crate) async fn scan(
        &mut self,
        plan: ScanPlan<'_>,
        version: impl Fn(i64) -> Version,
    ) -> Result<Page> {
        if plan.is_empty() {
            return Ok(Page::new());
        }
        let asked = scan::PageQuery::of(&plan);
        let (session, deadline) = (&mut *self.session, self.deadline);
        let (sql, parameters) = asked.statement();
        let rows = session.rows("scan", Effect::None, deadline, sql, &parameters).await?;
        scan::page(plan, &rows, version)
    }

    /// Writes a record if its condition holds; its version's number.
    pub(crate) async fn put(&mut self, op: &OwnedOp, number: impl Fn(Version) -> Option<i64>) -> Result<i64> {
        let asked = RowCondition::of(op.condition, &number);
        let (keyspace, key, value) = (&op.keyspace, &op.key, &op.value);
        let (effect, deadline, expiry) = (self.effect, self.deadline, &op.expires_at_ms);
        let sql = match asked {
            RowCondition::Any => Sql::PutAny,
            RowCondition::Absent => Sql::PutAbsent,
            RowCondition::Number(number) => {
                let parameters: [Parameter<'_>; 5] = [keyspace, key, value, expiry, &number];
                let rows = self.session.rows("put", effect, deadline, Sql::PutVersion, &parameters).await?;
                return written(&rows, "put")?.ok_or_else(|| failed_condition(op.condition));
            }
            RowCondition::Foreign => return Err(failed_condition(op.condition)),
        };
        let rows = self.session.rows("put", effect, deadline, sql, &[keyspace, key, value, expiry]).await?;
        if let Some(number) = written(&rows, "put")? {
            return Ok(number);
        }
        // Either there is no such keyspace yet, or the key exists. This statement tells which, and makes a
        // missing keyspace.
        let applied = self.apply(std::slice::from_ref(op), false, 0, number).await?;
        match applied.first() {
            Some(Applied { is_done: true, version: Some(number), .. }) => Ok(*number),
            _ => Err(failed_condition(op.condition)),
        }
    }

    /// Removes a record if its condition holds; whether it existed.
    pub(crate) async fn delete(
        &mut self,
        op: &OwnedOp,
        number: impl Fn(Version) -> Option<i64>,
    ) -> Result<bool> {
        let (keyspace, key, condition) = (&op.keyspace, &op.key, op.condition);
        match RowCondition::of(condition, &number) {
            RowCondition::Any => {
                let rows = self
                    .session
                    .rows("delete", self.effect, self.deadline, Sql::Delete, &[keyspace, key])
                    .await?;
                if let Some(row) = rows.first() {
                    return column(row, 0, "delete");
                }
                // Nothing there; or what was there went while this waited for its lock, and something else
                // came in its place.
                let applied = self.apply(std::slice::from_ref(op), false, 0, number).await?;
                Ok(applied.first().is_some_and(|one| one.existed))
            }
            RowCondition::Absent => match self.get(keyspace, key, |_| Version::numbered(0, 0)).await? {
                Some(_) => Err(failed_condition(condition)),
                None => Ok(false),
            },
            RowCondition::Number(number) => {
                let rows = self
                    .session
                    .rows("delete", self.effect, self.deadline, Sql::DeleteVersion, &[keyspace, key, &number])
                    .await?;
                if rows.is_empty() { Err(failed_condition(condition)) } else { Ok(true) }
            }
            RowCondition::Foreign => Err(failed_condition(condition)),
        }
    }

    /// A batch in one statement; what became of each operation, in the order of `ops`. An atomic one that
    /// failed answers up to the one that did. With a patience, in milliseconds, it fails rather than wait for
    /// a lock for longer.
    pub(crate) async fn apply(
        &mut self,
        ops: &[OwnedOp],
        is_atomic: bool,
        patience_ms: i32,
        number: impl Fn(Version) -> Option<i64>,
    ) -> Result<Vec<Applied>> {
        self.apply_arrays(&Arrays::of(ops.iter(), number), is_atomic, patience_ms).await
    }

    /// As [`On::apply`].
    pub(crate) async fn apply_arrays(
        &mut self,
        arrays: &Arrays<'_>,
        is_atomic: bool,
        patience_ms: i32,
    ) -> Result<Vec<Applied>> {
        let parameters: [Parameter<'_>; 9] = [
            &is_atomic,
            &patience_ms,
            &arrays.kinds,
            &arrays.names,
            &arrays.keys,
            &arrays.values,
            &arrays.expiries,
            &arrays.conditions,
            &arrays.versions,
        ];
        let rows = self.session.rows("apply", self.effect, self.deadline, Sql::Apply, &parameters).await?;
        let mut applied = rows.iter().map(Applied::of).collect::<Result<Vec<_>>>()?;
        for one in &mut applied {
            one.nth = arrays.places.get(one.nth).copied().unwrap_or(one.nth);
        }
        applied.sort_by_key(|one| one.nth);
        Ok(applied)
    }
}

/// A key that a call owns.
pub(crate) fn owned(key: Key<'_>) -> (Vec<u8>, Vec<u8>) {
    (key.keyspace().as_bytes().to_vec(), key.bytes().to_vec())
}
