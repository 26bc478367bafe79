//! The bridge between an author's safe trait and the FFI interface. Everything that crosses passes one guard.

mod check;
mod guard;
mod runtime;
mod store;
mod streams;
mod transaction;

use std::sync::Arc;

use keyway_abi::{Error, ErrorCode, ForeignReply, OpenArgs, StoreObject};

use self::{guard::Guard, store::Bridge};
use crate::{Backend, OpenContext, cursor::CursorKey, state::BackendState};

/// Opens a backend for the host.
pub(crate) extern "C" fn open<B: Backend>(args: OpenArgs<'_>) -> ForeignReply<StoreObject> {
    let state = BackendState::leak(args.backend_name.as_str(), args.context, args.services);
    let guard = match Guard::new::<B>(state) {
        Ok(guard) => guard,
        Err(error) => return guard::answer(Err(error)),
    };
    let config = match serde_json::from_str::<B::Config>(args.config_json.as_str()) {
        Ok(config) => config,
        Err(error) => {
            let message = format!("the configuration of backend {:?}: {error}", args.backend_name.as_str());
            return guard::answer(Err(Error::new(ErrorCode::INVALID_ARGUMENT, message)));
        }
    };
    let cursors = CursorKey::new(args.cursor_key);
    let context = OpenContext::new(state, &args);
    let opened = guard.clone();
    guard.call(
        [0; 16],
        guard::Effect::Writes,
        "open",
        || B::open(config, context),
        move |backend| {
            let backend = Arc::new(backend);
            let bridge = Bridge::new(backend, opened, cursors);
            StoreObject::from_value(bridge, abi_stable::sabi_trait::TD_Opaque)
        },
    )
}
