//! Which backend, and which request, the present thread works for; and what becomes of panics.
#![expect(unsafe_code, reason = "the host's services take back the raw context that came with them")]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::pool::{DEFAULT_THREADS, Pool};
use keyway_abi::{HostServicesRef, LogEvent, LogLevel, MetricKind, MetricSample};

/// One open backend, as logging and panics need to know it. Leaked at `open`, because threads of the plugin may
/// outlive the backend; a few hundred bytes each.
pub(crate) struct BackendState {
    name: String,
    context: HostContext,
    services: HostServicesRef,
    closed: AtomicBool,
    shut_down: AtomicBool,
    /// The threads for work that blocks.
    pool: Pool,
    /// The threads for calls of transactions and streams. Separate ones, because a call of the store may wait for the
    /// end of a transaction. There are never more than there are open objects, each of which serves one call at a time.
    object_pool: Pool,
    /// Held while the store is closed.
    pub(crate) closing: Mutex<()>,
}

/// The host's context pointer. Opaque here: it is only handed back.
struct HostContext(*const c_void);

// SAFETY: the pointer is never dereferenced here, and the interface (`HostServices`) lets every thread pass
// it back.
unsafe impl Send for HostContext {}
// SAFETY: as above.
unsafe impl Sync for HostContext {}

/// The backend that the present thread works for.
#[derive(Clone, Copy)]
struct Frame {
    /// The backend whose code runs now, inside a guard or on the backend's own thread.
    state: Option<&'static BackendState>,
    request: [u8; 16],
    /// Whether a guard waits to contain a panic.
    guarded: bool,
}

thread_local! {
    /// One variable, because finding a thread-local of a shared library is a call.
    static FRAME: Cell<Frame> = const { Cell::new(Frame { state: None, request: [0; 16], guarded: false }) };
    static PANIC_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// All backends opened from this image.
static OPENED: Mutex<Vec<&'static BackendState>> = Mutex::new(Vec::new());

impl BackendState {
    pub(crate) fn leak(name: &str, context: *const c_void, services: HostServicesRef) -> &'static Self {
        let state: &'static Self = Box::leak(Box::new(Self {
            name: name.to_owned(),
            context: HostContext(context),
            services,
            closed: AtomicBool::new(false),
            shut_down: AtomicBool::new(false),
            pool: Pool::new(DEFAULT_THREADS),
            object_pool: Pool::new(usize::MAX),
            closing: Mutex::new(()),
        }));
        OPENED.lock().unwrap_or_else(PoisonError::into_inner).push(state);
        state
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether a shutdown has completed. A backend that a panic has closed has not been shut down.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }

    pub(crate) fn set_shut_down(&self) {
        self.shut_down.store(true, Ordering::Release);
        self.close();
    }

    /// The threads for work that blocks.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The threads for calls of transactions and streams.
    pub(crate) fn object_pool(&self) -> &Pool {
        &self.object_pool
    }

    /// Lets no further work begin on the backend's threads, and drops what waits for one.
    pub(crate) fn close_pools(&'static self) {
        let waiting = [self.pool.close(), self.object_pool.close()];
        // The panic is in the log.
        let _contained = self.guard([0; 16], "the drop of calls that waited", || drop(waiting));
    }

    pub(crate) fn log_enabled(&self, level: LogLevel) -> bool {
        // SAFETY: the context came with these services.
        unsafe { (self.services.log_enabled())(self.context.0, level) }
    }

    pub(crate) fn log(&self, level: LogLevel, target: &str, message: &str, fields_json: &str) {
        let event = LogEvent::new(level, FRAME.get().request, target, message, fields_json);
        // SAFETY: the context came with these services.
        unsafe { (self.services.log())(self.context.0, &event) }
    }

    pub(crate) fn metric(&self, kind: MetricKind, name: &str, value: f64) {
        // SAFETY: the context came with these services.
        unsafe { (self.services.metric())(self.context.0, &MetricSample::new(kind, name, value)) }
    }

    /// Runs `work` as this backend's code for the request `request_id`, with panics contained and logged.
    #[inline]
    pub(crate) fn guard<T>(
        &'static self,
        request_id: [u8; 16],
        operation: &'static str,
        work: impl FnOnce() -> T,
    ) -> Result<T, Panicked> {
        FRAME.with(|frame| {
            let before = frame.replace(Frame { state: Some(self), request: request_id, guarded: true });
            let result =
                catch_unwind(AssertUnwindSafe(work)).map_err(|payload| self.contain(operation, payload));
            frame.set(before);
            result
        })
    }

    /// Makes the present thread one of this backend's own.
    pub(crate) fn adopt_thread(&'static self) {
        FRAME.set(Frame { state: Some(self), ..FRAME.get() });
    }

    #[cold]
    fn contain(&self, operation: &'static str, payload: Box<dyn Any + Send>) -> Panicked {
        let place = PANIC_PLACE.take().unwrap_or_default();
        let message = format!("panicked in {operation}: {}{place}", panic_text(&*payload));
        self.log(LogLevel::ERROR, "keyway_sdk::panic", &message, "");
        discard(payload);
        Panicked
    }
}

/// A panic that was contained and logged.
#[derive(Debug)]
pub(crate) struct Panicked;

/// The request that this thread works for; zeros if it works for none.
pub(crate) fn current_request() -> [u8; 16] {
    FRAME.get().request
}

/// The backend whose code runs on this thread.
pub(crate) fn current() -> Option<&'static BackendState> {
    FRAME.get().state
}

/// Every backend opened from this image, for a line or a panic that belongs to none in particular.
fn opened() -> Vec<&'static BackendState> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A backend of this image that can write to the host's log, for threads that belong to none in particular.
pub(crate) fn any_opened() -> Option<&'static BackendState> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner).last().copied()
}

/// Makes a panic on one of the plugin's own threads close the thread's backend, or all backends of the image
/// if the thread's is unknown. Only for a separate image: in a binary that links a backend statically, the
/// hook belongs to the program.
pub(crate) fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|location| format!(" ({location})")).unwrap_or_default();
            if FRAME.get().guarded {
                PANIC_PLACE.set(Some(place));
                return;
            }
            let thread = std::thread::current();
            let message = format!(
                "panicked on the plugin's own thread {:?}: {}{place}; the backend is closed",
                thread.name().unwrap_or("unnamed"),
                panic_text(panic.payload()),
            );
            let affected = current().map_or_else(opened, |state| vec![state]);
            for state in affected {
                state.close();
                state.log(LogLevel::ERROR, "keyway_sdk::panic", &message, "");
            }
        }));
    });
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no text)"
    }
}

/// Drops a panic's payload, whose own drop may panic too: then it is leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
