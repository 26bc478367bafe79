//! A transaction of the backend within.

use keyway_sdk::{
    CallContext, Committed, Delete, Key, Page, Put, Record, Reply, Transaction, WriteId, paging::ScanPlan,
};

use crate::pages::handed_on;

pub(crate) struct Struck(pub(crate) keyway_loader::Transaction);

impl Transaction for Struck {
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::pending(self.0.get(call, key))
    }

    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        Reply::pending(self.0.put(call, put))
    }

    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::pending(self.0.delete(call, delete))
    }

    fn scan(&self, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let is_reverse = plan.is_reverse();
        Reply::pending(self.0.scan(call, plan.as_scan())).map(move |page| handed_on(page, is_reverse))
    }

    fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed> {
        Reply::pending(self.0.commit(call, write_id))
    }

    fn rollback(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::pending(self.0.rollback(call))
    }
}
