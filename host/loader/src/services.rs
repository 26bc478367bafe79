//! What the host offers to a backend: its log, and a place for measurements.
#![expect(unsafe_code, reason = "backends hand the context back as a raw pointer")]

use std::{
    collections::BTreeMap,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use abi_stable::prefix_type::WithMetadata;
use keyway_abi::{
    HostServices, HostServicesRef, LogEvent, LogLevel, MetricKind, MetricSample, OpenArgs, StorageBackendRef,
};
use tracing::{Level, enabled, event};

use crate::{
    Reply, Store,
    polls::{PollWatch, Polls},
};

/// Most names of measurements that one backend may have; further ones are dropped.
const MAX_METRICS: usize = 1_000;

/// One opening of a backend, as the services see it. Leaked: a plugin's threads may outlive the backend and
/// must be able to log for as long as the process lives. A few hundred bytes each.
pub(crate) struct ServiceContext {
    backend: String,
    metrics: Mutex<BTreeMap<String, f64>>,
    polls: Polls,
}

impl ServiceContext {
    fn leak(backend: &str) -> &'static Self {
        Box::leak(Box::new(Self {
            backend: backend.to_owned(),
            metrics: Mutex::default(),
            polls: Polls::new(backend),
        }))
    }

    /// The measurements that the backend has recorded: totals of counters, last values of the rest.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The polls of this opening's futures.
    pub(crate) fn polls(&self) -> &Polls {
        &self.polls
    }

    fn record(&self, sample: &MetricSample<'_>) {
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if metrics.len() >= MAX_METRICS && !metrics.contains_key(sample.name()) {
            return;
        }
        let value = metrics.entry(sample.name().to_owned()).or_default();
        if sample.kind() == MetricKind::COUNTER { *value += sample.value() } else { *value = sample.value() }
    }
}

/// What `open` of a library is called with.
pub(crate) struct Opening<'a> {
    pub(crate) backend_name: &'a str,
    pub(crate) config_json: &'a str,
    pub(crate) data_dir: &'a str,
    pub(crate) cursor_key: [u8; 32],
}

/// Calls the `open` of a library, with services and a context for this opening.
pub(crate) fn open(
    root: StorageBackendRef,
    opening: &Opening<'_>,
) -> (Reply<Store>, &'static ServiceContext) {
    let context = ServiceContext::leak(opening.backend_name);
    let args = OpenArgs {
        backend_name: opening.backend_name.into(),
        config_json: opening.config_json.into(),
        data_dir: opening.data_dir.into(),
        context: std::ptr::from_ref(context).cast(),
        services: services(),
        cursor_key: opening.cursor_key,
        flags: 0,
        extension: (&[][..]).into(),
    };
    // SAFETY: the context is one of these services: a leaked `ServiceContext`.
    let opened = Reply::of(PollWatch::new(&context.polls), |reply| *reply = unsafe { (root.open())(args) });
    (opened, context)
}

/// The services, as a prefix type that can grow.
fn services() -> HostServicesRef {
    const SERVICES: HostServices = HostServices { log_enabled, log, metric };
    static METADATA: WithMetadata<HostServices> = WithMetadata::new(SERVICES);
    HostServicesRef(METADATA.static_as_prefix())
}

/// The context of a pointer that a backend handed back.
///
/// # Safety
///
/// The pointer must be the one that `open` was given.
unsafe fn context<'a>(pointer: *const c_void) -> &'a ServiceContext {
    // SAFETY: `open` is given a leaked context, which is never freed; the interface
    // demands that backends pass back that pointer and no other.
    unsafe { &*pointer.cast::<ServiceContext>() }
}

/// Called by a backend with its own context, as the three below.
unsafe extern "C" fn log_enabled(_context: *const c_void, level: LogLevel) -> bool {
    // A panic of a subscriber must not unwind into the plugin.
    catch_unwind(|| is_enabled(level)).unwrap_or(false)
}

fn is_enabled(level: LogLevel) -> bool {
    match severity(level) {
        Level::ERROR => enabled!(target: "keyway::plugin", Level::ERROR),
        Level::WARN => enabled!(target: "keyway::plugin", Level::WARN),
        Level::INFO => enabled!(target: "keyway::plugin", Level::INFO),
        Level::DEBUG => enabled!(target: "keyway::plugin", Level::DEBUG),
        Level::TRACE => enabled!(target: "keyway::plugin", Level::TRACE),
    }
}

unsafe extern "C" fn log(pointer: *const c_void, line: &LogEvent<'_>) {
    // SAFETY: called by a backend with its own context.
    let context = unsafe { context(pointer) };
    // A panic of a subscriber must not unwind into the plugin; the line is lost, the process lives.
    let _lost = catch_unwind(AssertUnwindSafe(|| write_line(context, line)));
}

fn write_line(context: &ServiceContext, line: &LogEvent<'_>) {
    let backend = context.backend.as_str();
    let request_id = uuid::Uuid::from_bytes(line.request_id());
    let request_id = (!request_id.is_nil()).then(|| tracing::field::display(request_id));
    let module = line.target();
    let fields = Some(line.fields_json()).filter(|fields| !fields.is_empty());
    let message = line.message();
    macro_rules! write_at {
        ($level:expr) => {
            event!(target: "keyway::plugin", $level, backend, request_id, module, fields, "{message}")
        };
    }
    match severity(line.level()) {
        Level::ERROR => write_at!(Level::ERROR),
        Level::WARN => write_at!(Level::WARN),
        Level::INFO => write_at!(Level::INFO),
        Level::DEBUG => write_at!(Level::DEBUG),
        Level::TRACE => write_at!(Level::TRACE),
    }
}

unsafe extern "C" fn metric(pointer: *const c_void, sample: &MetricSample<'_>) {
    // SAFETY: called by a backend with its own context.
    let context = unsafe { context(pointer) };
    let _lost = catch_unwind(AssertUnwindSafe(|| context.record(sample)));
}

/// Levels that this version does not know are treated as the nearest that it does.
fn severity(level: LogLevel) -> Level {
    if level <= LogLevel::ERROR {
        Level::ERROR
    } else if level == LogLevel::WARN {
        Level::WARN
    } else if level == LogLevel::INFO {
        Level::INFO
    } else if level == LogLevel::DEBUG {
        Level::DEBUG
    } else {
        Level::TRACE
    }
}
