//! Forwards `tracing` events of this image to the host's log.

use std::{fmt, sync::Once};

use keyway_abi::LogLevel;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry,
};

use crate::state;

/// Installs the layer once an image. An author's own global subscriber, were there one, is left in place.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Refused if the author has installed one: then theirs decides what becomes of the events.
        let _refused = tracing::subscriber::set_global_default(registry().with(ForwardLayer)).err();
    });
}

struct ForwardLayer;

impl<S: Subscriber> Layer<S> for ForwardLayer {
    /// Asked again for every event: the host's level may change, and differs between backends.
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        sink().is_some_and(|state| state.log_enabled(level(metadata.level())))
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let Some(state) = sink() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let json =
            if fields.rest.is_empty() { String::new() } else { Value::Object(fields.rest).to_string() };
        state.log(level(event.metadata().level()), event.metadata().target(), &fields.message, &json);
    }
}

fn sink() -> Option<&'static state::BackendState> {
    state::current().or_else(state::any_opened)
}

fn level(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR => LogLevel::ERROR,
        Level::WARN => LogLevel::WARN,
        Level::INFO => LogLevel::INFO,
        Level::DEBUG => LogLevel::DEBUG,
        Level::TRACE => LogLevel::TRACE,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.rest.insert(field.name().to_owned(), format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.rest.insert(field.name().to_owned(), value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.insert(field.name().to_owned(), value.into());
    }
}
