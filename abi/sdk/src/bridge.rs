//! The bridge between an author's safe trait and the FFI interface. Everything that crosses passes one guard.
#![expect(unsafe_code, reason = "the interface's `open` takes a raw context")]

mod check;
mod guard;
mod runtime;
mod scanning;
mod seat;
mod store;
mod streams;
mod transaction;
mod turn;

use std::sync::Arc;

use keyway_abi::{CallContext, Error, ErrorCode, ForeignReply, OpenArgs, StoreObject};

use self::{
    guard::{Guard, GuardedCall},
    store::Bridge,
};
use crate::{Backend, OpenContext, Reply, Result, cursor::CursorKey, reply::Answered, state::BackendState};

/// Opens a backend for the host.
///
/// # Safety
///
/// The context must be one that the services accept.
pub(crate) unsafe extern "C" fn open<B: Backend>(args: OpenArgs<'_>) -> ForeignReply<StoreObject> {
    let state = BackendState::leak(args.backend_name.as_str(), args.context, args.services);
    // The author's code runs from the first line on: their configuration parses itself, their runtime starts.
    let opening = state.guard([0; 16], "open", || prepare::<B>(state, &args));
    let Ok(opening) = opening else { return ForeignReply::Failed(guard::panicked_in("open")) };
    let (guard, reply) = match opening {
        Ok(opening) => opening,
        Err(error) => return ForeignReply::Failed(error),
    };
    let (opened, cursors) = (guard.clone(), CursorKey::new(args.cursor_key));
    let asked = guard.clone();
    let unopened = Unopened(Some(state));
    // Asked inside the guard, so that a panic in the answer is an error of the opening.
    let with_capabilities = || match reply.0 {
        Answered::Ready(result) => Reply::ready(result.map(|backend| {
            unopened.opened();
            (backend.capabilities(), backend)
        })),
        Answered::Pending(future) => Reply::pending(async move {
            let backend = future.await?;
            unopened.opened();
            Ok((backend.capabilities(), backend))
        }),
    };
    let into_object = move |(capabilities, backend)| {
        let bridge = Bridge::new(Arc::new(backend), opened, capabilities, cursors);
        StoreObject::from_value(bridge, abi_stable::sabi_trait::TD_Opaque)
    };
    let mut reply = ForeignReply::Unwritten;
    let call = GuardedCall::writes(&CallContext::background(), "open");
    asked.call(&mut reply, call, with_capabilities, into_object);
    reply
}

/// A backend that is not open yet. If it never is, the threads that it has started end.
struct Unopened(Option<&'static BackendState>);

impl Unopened {
    fn opened(mut self) {
        self.0 = None;
    }
}

impl Drop for Unopened {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.close_pools();
        }
    }
}

fn prepare<B: Backend>(state: &'static BackendState, args: &OpenArgs<'_>) -> Result<(Guard, Reply<B>)> {
    if args.unknown_flags() != 0 {
        let message = format!("the flags {:#x} of open are not understood", args.unknown_flags());
        return Err(Error::new(ErrorCode::UNSUPPORTED, message));
    }
    let guard = Guard::new::<B>(state)?;
    let config = serde_json::from_str::<B::Config>(args.config_json.as_str()).map_err(|error| {
        // Without serde's text, which quotes what it does not like: it may be a password.
        let place = format!("line {}, column {}", error.line(), error.column());
        let message =
            format!("the configuration of backend {:?} is not valid ({place})", args.backend_name.as_str());
        Error::new(ErrorCode::INVALID_ARGUMENT, message)
    })?;
    let reply = guard.entered(|| B::open(config, OpenContext::new(state, args)));
    Ok((guard, reply))
}
