//! Scans: one statement a page, by keyset.

use keyway_sdk::{
    AbiBytes, Page, Record, Result, Version,
    paging::{Pager, ScanPlan, Step},
};
use tokio_postgres::Row;

use crate::{connect::Parameter, error, rows::PageRow, sql::Sql};

/// What a page's statement is asked.
pub(crate) struct PageQuery {
    name: Vec<u8>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    max_bytes: i64,
    keys_only: bool,
    /// One more than the page, to see whether more follows.
    limit: i64,
    walk: Option<Walk>,
    is_reverse: bool,
}

struct Walk {
    prefix_bytes: i32,
    delimiter: Vec<u8>,
    max_items: i32,
}

impl PageQuery {
    pub(crate) fn of(plan: &ScanPlan<'_>) -> Self {
        let most = i64::try_from(plan.max_items()).unwrap_or(i64::MAX - 1);
        Self {
            name: plan.keyspace().as_bytes().to_vec(),
            lower: plan.lower().to_vec(),
            upper: plan.upper().map(<[u8]>::to_vec),
            max_bytes: i64::try_from(plan.max_bytes()).unwrap_or(i64::MAX),
            keys_only: plan.is_keys_only(),
            limit: most + 1,
            walk: plan.delimiter().map(|delimiter| Walk {
                prefix_bytes: i32::try_from(plan.prefix().len()).unwrap_or(i32::MAX),
                delimiter: delimiter.to_vec(),
                max_items: i32::try_from(most).unwrap_or(i32::MAX),
            }),
            is_reverse: plan.is_reverse(),
        }
    }

    /// The statement and its parameters.
    pub(crate) fn statement(&self) -> (Sql, Vec<Parameter<'_>>) {
        if let Some(walk) = &self.walk {
            let parameters: Vec<Parameter<'_>> = vec![
                &self.name,
                &self.lower,
                &self.upper,
                &walk.prefix_bytes,
                &walk.delimiter,
                &self.is_reverse,
                &walk.max_items,
                &self.max_bytes,
                &self.keys_only,
            ];
            return (Sql::Walk, parameters);
        }
        let sql = match (self.is_reverse, self.upper.is_some()) {
            (false, false) => Sql::PageOn,
            (false, true) => Sql::PageOnTo,
            (true, false) => Sql::PageBack,
            (true, true) => Sql::PageBackFrom,
        };
        (sql, vec![&self.name, &self.lower, &self.upper, &self.max_bytes, &self.keys_only, &self.limit])
    }
}

/// The page that rows make.
pub(crate) fn page(plan: ScanPlan<'_>, rows: &[Row], version: impl Fn(i64) -> Version) -> Result<Page> {
    let keys_only = plan.is_keys_only();
    let (mut pager, mut is_whole) = (Pager::new(plan), true);
    for row in rows {
        let row = PageRow::of(row)?;
        // If a common prefix is jumped over, the statement has done so too.
        let step = pager.offer(row.key, row.value_bytes, || {
            row.entry(keys_only, &version).unwrap_or_else(|| {
                is_whole = false;
                (AbiBytes::copy_from_slice(row.key), Record::new(AbiBytes::copy_from_slice(b""), version(0)))
            })
        });
        if step == Step::Done {
            break;
        }
    }
    // The statement leaves out no value that the page has room for.
    if is_whole { Ok(pager.finish()) } else { Err(error::unexpected("scan")) }
}
