//! The tokio runtime of a backend that wants one: owned here, entered around its polls and drops.

#[cfg(feature = "tokio")]
pub(super) use self::with_tokio::Runtime;
#[cfg(not(feature = "tokio"))]
pub(super) use self::without::Runtime;

#[cfg(feature = "tokio")]
mod with_tokio {
    use keyway_abi::{Error, ErrorCode};

    use crate::{Backend, Result, state::BackendState};

    pub(in crate::bridge) struct Runtime(Option<tokio::runtime::Runtime>);

    impl Runtime {
        pub(in crate::bridge) fn start<B: Backend>(state: &'static BackendState) -> Result<Option<Self>> {
            if B::RUNTIME_THREADS == 0 {
                return Ok(None);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(B::RUNTIME_THREADS)
                .thread_name(format!("keyway-{}", state.name()))
                .on_thread_start(move || state.adopt_thread())
                .enable_all()
                .build()
                .map_err(|error| {
                    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("cannot start a runtime: {error}"))
                })?;
            Ok(Some(Self(Some(runtime))))
        }

        pub(in crate::bridge) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
            self.0.as_ref().map(tokio::runtime::Runtime::enter)
        }
    }

    /// Without waiting: the last handle may go away on a thread of the host's runtime, which must not block.
    impl Drop for Runtime {
        fn drop(&mut self) {
            if let Some(runtime) = self.0.take() {
                runtime.shutdown_background();
            }
        }
    }
}

#[cfg(not(feature = "tokio"))]
mod without {
    use std::marker::PhantomData;

    use crate::{Backend, Result, state::BackendState};

    /// No backend has one.
    pub(in crate::bridge) enum Runtime {}

    impl Runtime {
        pub(in crate::bridge) fn start<B: Backend>(_state: &'static BackendState) -> Result<Option<Self>> {
            let _backend = PhantomData::<B>;
            Ok(None)
        }

        pub(in crate::bridge) fn enter(&self) {
            match *self {}
        }
    }
}
