//! A transaction that can be committed again.

use abi_stable::std_types::{ROption, RResult};
use keyway_abi::{
    Answer, CallContext, Committed, Delete, ErrorCode, ForeignReply, Key, MaybeReady, Page, Put, Record,
    Request, Scan, TransactionObject, WriteId, transaction::Transaction,
};

pub(crate) struct CommitsTwice {
    pub(crate) inner: TransactionObject,
}

impl Transaction for CommitsTwice {
    fn get(&self, call: &CallContext<'_>, request: Request<'_, Key<'_>>) -> ForeignReply<ROption<Record>> {
        self.inner.get(call, request)
    }

    fn put(&self, call: &CallContext<'_>, request: Request<'_, Put<'_>>) -> ForeignReply<()> {
        self.inner.put(call, request)
    }

    fn delete(&self, call: &CallContext<'_>, request: Request<'_, Delete<'_>>) -> ForeignReply<bool> {
        self.inner.delete(call, request)
    }

    fn scan(&self, call: &CallContext<'_>, request: Request<'_, Scan<'_>>) -> ForeignReply<Page> {
        self.inner.scan(call, request)
    }

    fn commit(&self, call: &CallContext<'_>, request: Request<'_, WriteId>) -> ForeignReply<Committed> {
        match self.inner.commit(call, request) {
            MaybeReady::Ready(RResult::RErr(error)) if error.code() == ErrorCode::CLOSED => {
                MaybeReady::Ready(RResult::ROk(Answer::new(Committed::default())))
            }
            reply => reply,
        }
    }

    fn rollback(&self, call: &CallContext<'_>, request: Request<'_, ()>) -> ForeignReply<()> {
        self.inner.rollback(call, request)
    }
}
