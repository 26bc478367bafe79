//! What is asked of a backend and what it answers, for a listener: to see what a test did, and where time goes.
//!
//! Keys are told, values are not: only their lengths.

mod told;

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{ROption, RResult, RSlice, RStr, RString, RVec},
};
use async_ffi::FutureExt as _;
use keyway_abi::{
    AbiBytes, Answer, BackupChunk, BackupObject, BackupPull, Batch, BatchResult, Begin, CallContext,
    Capabilities, Committed, Delete, DropKeyspace, ForeignReply, Health, Key, Page, Put, Record, Records,
    Request, RestoreMode, RestoreObject, RestoreRecord, Scan, StoreObject, TransactionObject, Version,
    WriteId,
    backup::{BackupStream, RestoreSink},
    store::Store,
    transaction::Transaction,
};

use told::Told;

/// Hears calls. Both methods run on threads that wait for them, so they must be quick.
pub trait Listener: Send + Sync + 'static {
    /// A call begins. `call` differs from that of every other call in this process.
    fn begins(&self, call: u64, operation: &'static str, request: String);
    /// It has ended: with an answer, an error, or because its caller has dropped it.
    fn ends(&self, call: u64, answer: String);
}

/// The same store, with a listener.
pub(crate) fn heard(store: StoreObject, listener: Arc<dyn Listener>) -> StoreObject {
    StoreObject::from_value(Heard { object: store, listener, opened_by: None }, TD_Opaque)
}

/// An object whose calls are told.
struct Heard<O> {
    object: O,
    listener: Arc<dyn Listener>,
    /// The call that answered it; none for the store itself.
    opened_by: Option<u64>,
}

impl<O> Drop for Heard<O> {
    fn drop(&mut self) {
        if let Some(opened_by) = self.opened_by {
            let call = next_call();
            self.listener.begins(call, "drop", format!("what call {opened_by} opened"));
            self.listener.ends(call, String::new());
        }
    }
}

fn next_call() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A call that runs, or has just ended.
struct Running {
    listener: Arc<dyn Listener>,
    number: u64,
    has_ended: bool,
}

impl Running {
    /// An object that this call has opened.
    fn opened<O>(&self, object: O) -> Heard<O> {
        Heard { object, listener: Arc::clone(&self.listener), opened_by: Some(self.number) }
    }

    fn end(&mut self, answer: String) {
        self.has_ended = true;
        self.listener.ends(self.number, answer);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            self.listener.ends(self.number, "dropped by its caller".to_owned());
        }
    }
}

impl<O> Heard<O> {
    /// Tells of one call. `convert` puts a listener around an object that is answered.
    fn tell<T: Told + Send + 'static>(
        &self,
        operation: &'static str,
        request: String,
        reply: &mut ForeignReply<T>,
        call: impl FnOnce(&O, &mut ForeignReply<T>),
        convert: impl FnOnce(T, &Running) -> T + Send + 'static,
    ) {
        let number = next_call();
        let request = match self.opened_by {
            Some(opened_by) => format!("in what call {opened_by} opened: {request}"),
            None => request,
        };
        self.listener.begins(number, operation, request);
        let mut running = Running { listener: Arc::clone(&self.listener), number, has_ended: false };
        call(&self.object, reply);
        let ended = move |running: &mut Running, answer: Answer<T>| {
            answer.map(|body| {
                running.end(body.told());
                convert(body, running)
            })
        };
        *reply = match std::mem::replace(reply, ForeignReply::Unwritten) {
            ForeignReply::Unwritten => {
                running.end("no reply".to_owned());
                ForeignReply::Unwritten
            }
            ForeignReply::Ready(answer) => ForeignReply::Ready(ended(&mut running, answer)),
            ForeignReply::Failed(error) => {
                running.end(told::error(&error));
                ForeignReply::Failed(error)
            }
            ForeignReply::Pending(future) => ForeignReply::Pending(
                async move {
                    match future.await {
                        RResult::ROk(answer) => RResult::ROk(ended(&mut running, answer)),
                        RResult::RErr(error) => {
                            running.end(told::error(&error));
                            RResult::RErr(error)
                        }
                    }
                }
                .into_ffi(),
            ),
        };
    }
}

/// What is answered as it is.
fn same<T>(answer: T, _call: &Running) -> T {
    answer
}

/// A request as its debug text has it.
fn text<T: Debug + Copy>(request: &Request<'_, T>) -> String {
    format!("{:?}", request.body())
}

/// Methods that pass a request on and tell of it.
macro_rules! told {
    ($($method:ident($request:ty) -> $answer:ty: $told:expr, $convert:expr;)*) => {
        $(fn $method(
            &self,
            call: &CallContext<'_>,
            request: &Request<'_, $request>,
            reply: &mut ForeignReply<$answer>,
        ) {
            let told = $told(request);
            self.tell(stringify!($method), told, reply, |object, reply| object.$method(call, request, reply), $convert);
        })*
    };
}

impl Store for Heard<StoreObject> {
    fn capabilities(&self) -> Capabilities {
        self.object.capabilities()
    }

    told! {
        get(Key<'_>) -> ROption<Record>: text, same;
        get_many(RSlice<'_, Key<'_>>) -> Records: told::keys, same;
        put(Put<'_>) -> Version: told::put, same;
        delete(Delete<'_>) -> bool: told::delete, same;
        scan(Scan<'_>) -> Page: told::scan, same;
        apply(Batch<'_>) -> BatchResult: told::batch, same;
        begin(Begin) -> TransactionObject: text, |object, call| {
            TransactionObject::from_value(call.opened(object), TD_Opaque)
        };
        keyspaces(RStr<'_>) -> RVec<RString>: text, same;
        drop_keyspace(DropKeyspace<'_>) -> bool: told::drop_keyspace, same;
        health(()) -> Health: told::nothing, same;
        backup(()) -> BackupObject: told::nothing, |object, call| {
            BackupObject::from_value(call.opened(object), TD_Opaque)
        };
        restore(RestoreMode) -> RestoreObject: text, |object, call| {
            RestoreObject::from_value(call.opened(object), TD_Opaque)
        };
        upgrade(()) -> u32: told::nothing, same;
        shutdown(()) -> (): told::nothing, same;
    }

    fn extension(
        &self,
        call: &CallContext<'_>,
        name: RStr<'_>,
        request: &Request<'_, RSlice<'_, u8>>,
        reply: &mut ForeignReply<AbiBytes>,
    ) {
        let told = format!("{name}, {} bytes", request.body().len());
        let pass_on = |object: &StoreObject, reply: &mut _| object.extension(call, name, request, reply);
        self.tell("extension", told, reply, pass_on, same);
    }
}

impl Transaction for Heard<TransactionObject> {
    told! {
        get(Key<'_>) -> ROption<Record>: text, same;
        put(Put<'_>) -> (): told::put, same;
        delete(Delete<'_>) -> bool: told::delete, same;
        scan(Scan<'_>) -> Page: told::scan, same;
        commit(WriteId) -> Committed: text, same;
        rollback(()) -> (): told::nothing, same;
    }
}

impl BackupStream for Heard<BackupObject> {
    told! { next(BackupPull) -> BackupChunk: text, same; }
}

impl RestoreSink for Heard<RestoreObject> {
    told! {
        write(RSlice<'_, RestoreRecord<'_>>) -> (): told::restored, same;
        finish(WriteId) -> u64: text, same;
        abort(()) -> (): told::nothing, same;
    }
}
