//! Measurements, in Prometheus' text format and as JSON. Names and labels never hold paths, keys or tokens.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
    core::Collector,
    proto::{MetricFamily, MetricType},
};
use serde_json::{Map, Value, json};

/// Bounds of latencies, in seconds: from a read in memory to the deadline.
const SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

/// All measurements of a server.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    requests_in_flight: IntGauge,
    requests_shed: IntCounter,
    connections: IntGauge,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    calls_in_flight: IntGaugeVec,
    calls_shed: IntCounterVec,
    calls_refused: IntCounterVec,
    circuits_opened: IntCounterVec,
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

/// Counted among what is in flight until it is dropped.
#[must_use = "it is counted until it is dropped"]
pub struct InFlight(IntGauge);

impl Metrics {
    /// Measurements that begin now.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            register(&registry, HistogramVec::new(options, labels))
        };
        Self {
            requests: counters(
                "keyway_http_requests_total",
                "HTTP requests by route and status.",
                &["method", "route", "status"],
            ),
            request_seconds: histograms(
                "keyway_http_request_duration_seconds",
                "How long HTTP requests take, by route.",
                &["route"],
            ),
            requests_in_flight: register(
                &registry,
                IntGauge::new("keyway_http_requests_in_flight", "HTTP requests that are being served."),
            ),
            requests_shed: register(
                &registry,
                IntCounter::new(
                    "keyway_http_requests_shed_total",
                    "HTTP requests refused because too many were being served.",
                ),
            ),
            connections: register(&registry, IntGauge::new("keyway_http_connections", "Open connections.")),
            calls: counters(
                "keyway_backend_calls_total",
                "Calls of backends by operation and result (ok, or the code of the error).",
                &["backend", "operation", "result"],
            ),
            call_seconds: histograms(
                "keyway_backend_call_duration_seconds",
                "How long calls of backends take, the waiting for their turn included.",
                &["backend", "operation"],
            ),
            calls_in_flight: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new("keyway_backend_calls_in_flight", "Calls of backends that are running."),
                    &["backend"],
                ),
            ),
            calls_shed: counters(
                "keyway_backend_calls_shed_total",
                "Calls refused because too many were running and waiting.",
                &["backend"],
            ),
            calls_refused: counters(
                "keyway_backend_calls_refused_total",
                "Calls refused because the backend's circuit was open.",
                &["backend"],
            ),
            circuits_opened: counters(
                "keyway_backend_circuit_opened_total",
                "How often a backend's circuit has opened.",
                &["backend"],
            ),
            registry,
        }
    }

    /// Those of one backend.
    pub fn backend(&self, name: &str) -> BackendMetrics {
        let labels = [name];
        BackendMetrics {
            backend: name.to_owned(),
            calls: self.calls.clone(),
            seconds: self.call_seconds.clone(),
            in_flight: self.calls_in_flight.with_label_values(&labels),
            shed: self.calls_shed.with_label_values(&labels),
            refused: self.calls_refused.with_label_values(&labels),
            opened: self.circuits_opened.with_label_values(&labels),
        }
    }

    /// A request begins.
    pub fn begin_request(&self) -> InFlight {
        in_flight(&self.requests_in_flight)
    }

    /// A connection begins.
    pub fn begin_connection(&self) -> InFlight {
        in_flight(&self.connections)
    }

    /// A request was refused because too many were being served.
    pub fn shed_request(&self) {
        self.requests_shed.inc();
    }

    /// A request was answered.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// All of it with `more`, which is known only now, in Prometheus' text format.
    pub fn text(&self, more: &[Sample]) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.families(more), &mut text);
        encoded.expect("measurements have names, and a Vec takes them");
        String::from_utf8(text).expect("the text format is text")
    }

    /// The same in the shape of Vault's JSON; what Keyway does not measure (rates, extremes, deviations) is left out.
    pub fn json(&self, more: &[Sample]) -> Value {
        let (mut gauges, mut counters, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for family in self.families(more) {
            for metric in family.get_metric() {
                let labels: Map<String, Value> = metric
                    .get_label()
                    .iter()
                    .map(|pair| (pair.name().to_owned(), pair.value().into()))
                    .collect();
                let name = family.name();
                match family.get_field_type() {
                    MetricType::COUNTER => {
                        let value = metric.get_counter().get_value();
                        counters
                            .push(json!({ "Name": name, "Count": value, "Sum": value, "Labels": labels }));
                    }
                    MetricType::HISTOGRAM => {
                        let histogram = metric.get_histogram();
                        let (count, sum) = (histogram.get_sample_count(), histogram.get_sample_sum());
                        let mean = if count == 0 { 0.0 } else { sum / count as f64 };
                        samples.push(json!({
                            "Name": name, "Count": count, "Sum": sum, "Mean": mean, "Labels": labels,
                        }));
                    }
                    _ => {
                        let value = metric.get_gauge().get_value();
                        gauges.push(json!({ "Name": name, "Value": value, "Labels": labels }));
                    }
                }
            }
        }
        json!({
            "Timestamp": jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
            "Gauges": gauges,
            "Points": [],
            "Counters": counters,
            "Samples": samples,
        })
    }

    fn families(&self, more: &[Sample]) -> Vec<MetricFamily> {
        let now = Registry::new();
        for sample in more {
            sample.register(&now);
        }
        let mut families = self.registry.gather();
        families.extend(now.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl BackendMetrics {
    /// A call begins.
    pub fn begin(&self) -> InFlight {
        in_flight(&self.in_flight)
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

/// A measurement that is taken when it is asked for.
pub struct Sample {
    /// Its name; that of a counter ends with `_total`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Names and values of its labels, the same names for the same name.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: u64,
}

impl Sample {
    fn register(&self, registry: &Registry) {
        let labels = self.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let options = Opts::new(self.name, self.help).const_labels(labels);
        let value = i64::try_from(self.value).unwrap_or(i64::MAX);
        if self.name.ends_with("_total") {
            register(registry, IntCounter::with_opts(options)).inc_by(self.value);
        } else {
            register(registry, IntGauge::with_opts(options)).set(value);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn in_flight(gauge: &IntGauge) -> InFlight {
    gauge.inc();
    InFlight(gauge.clone())
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("names and labels of measurements are valid");
    registry.register(Box::new(collector.clone())).expect("each measurement is registered once");
    collector
}
