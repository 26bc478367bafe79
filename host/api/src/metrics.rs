//! The metrics of requests.

use std::time::Duration;

use keyway_common::metrics::{InFlight, Metrics};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};

/// The measurements of all requests.
pub(super) struct RequestMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    shed: IntCounter,
}

impl RequestMetrics {
    /// Registers the measurements.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters(
                "keyway_http_requests_total",
                "HTTP requests by route and status.",
                &["method", "route", "status"],
            ),
            seconds: metrics.durations(
                "keyway_http_request_duration_seconds",
                "Duration of HTTP requests, by route.",
                &["route"],
            ),
            in_flight: metrics.gauge("keyway_http_requests_in_flight", "HTTP requests in flight."),
            shed: metrics.counter(
                "keyway_http_requests_shed_total",
                "HTTP requests refused because too many were being served.",
            ),
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) -> InFlight {
        InFlight::begin(&self.in_flight)
    }

    /// A request was refused because too many were being served.
    pub(super) fn shed(&self) {
        self.shed.inc();
    }

    /// A request was answered.
    pub(super) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}
