//! A transaction that can be committed again.

use abi_stable::std_types::ROption;
use keyway_abi::{
    Answer, CallContext, Committed, Delete, ErrorCode, ForeignReply, Key, Page, Put, Record, Request, Scan,
    TransactionObject, WriteId, transaction::Transaction,
};

pub(crate) struct CommitsTwice {
    pub(crate) inner: TransactionObject,
}

impl Transaction for CommitsTwice {
    fn get(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Key<'_>>,
        reply: &mut ForeignReply<ROption<Record>>,
    ) {
        self.inner.get(call, request, reply);
    }

    fn put(&self, call: &CallContext<'_>, request: &Request<'_, Put<'_>>, reply: &mut ForeignReply<()>) {
        self.inner.put(call, request, reply);
    }

    fn delete(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Delete<'_>>,
        reply: &mut ForeignReply<bool>,
    ) {
        self.inner.delete(call, request, reply);
    }

    fn scan(&self, call: &CallContext<'_>, request: &Request<'_, Scan<'_>>, reply: &mut ForeignReply<Page>) {
        self.inner.scan(call, request, reply);
    }

    fn commit(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, WriteId>,
        reply: &mut ForeignReply<Committed>,
    ) {
        self.inner.commit(call, request, reply);
        if let ForeignReply::Failed(error) = reply
            && error.code() == ErrorCode::CLOSED
        {
            *reply = ForeignReply::Ready(Answer::new(Committed::default()));
        }
    }

    fn rollback(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>) {
        self.inner.rollback(call, request, reply);
    }
}
