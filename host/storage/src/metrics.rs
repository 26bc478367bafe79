//! The metrics of a backend's calls.

use std::time::Duration;

use keyway_common::metrics::{InFlight, Metrics};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// The measurements of all calls.
#[derive(Debug, Clone)]
pub struct CallMetrics {
    calls: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGaugeVec,
    shed: IntCounterVec,
    refused: IntCounterVec,
    opened: IntCounterVec,
}

/// The measurements of one backend.
#[derive(Debug, Clone)]
pub struct BackendMetrics {
    backend: String,
    calls: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    shed: IntCounter,
    refused: IntCounter,
    opened: IntCounter,
}

impl CallMetrics {
    /// Registers the measurements.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            calls: metrics.counters(
                "keyway_backend_calls_total",
                "Calls of backends by operation and result (ok, or the code of the error).",
                &["backend", "operation", "result"],
            ),
            seconds: metrics.durations(
                "keyway_backend_call_duration_seconds",
                "Duration of calls of backends, including the time that they wait for a turn.",
                &["backend", "operation"],
            ),
            in_flight: metrics.gauges(
                "keyway_backend_calls_in_flight",
                "Calls of backends in flight.",
                &["backend"],
            ),
            shed: metrics.counters(
                "keyway_backend_calls_shed_total",
                "Calls refused because too many were running and waiting.",
                &["backend"],
            ),
            refused: metrics.counters(
                "keyway_backend_calls_refused_total",
                "Calls refused while the backend's circuit was open.",
                &["backend"],
            ),
            opened: metrics.counters(
                "keyway_backend_circuit_opened_total",
                "Number of times that a backend's circuit opened.",
                &["backend"],
            ),
        }
    }

    /// Those of one backend.
    pub fn backend(&self, name: &str) -> BackendMetrics {
        let labels = [name];
        BackendMetrics {
            backend: name.to_owned(),
            calls: self.calls.clone(),
            seconds: self.seconds.clone(),
            in_flight: self.in_flight.with_label_values(&labels),
            shed: self.shed.with_label_values(&labels),
            refused: self.refused.with_label_values(&labels),
            opened: self.opened.with_label_values(&labels),
        }
    }
}

impl BackendMetrics {
    /// A call begins.
    pub fn begin(&self) -> InFlight {
        InFlight::begin(&self.in_flight)
    }

    /// A call has ended.
    pub fn called(&self, operation: &str, result: &str, took: Duration) {
        self.calls.with_label_values(&[&self.backend, operation, result]).inc();
        self.seconds.with_label_values(&[&self.backend, operation]).observe(took.as_secs_f64());
    }

    /// A call was refused because too many were running and waiting.
    pub fn shed(&self) {
        self.shed.inc();
    }

    /// A call was refused because the circuit is open.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// The circuit has opened.
    pub fn opened(&self) {
        self.opened.inc();
    }
}
