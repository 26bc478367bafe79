//! Measurements, in Prometheus' text format and as JSON. Names and labels never hold paths, keys or tokens.

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

/// What a server measures. Each crate registers its own measurements, once.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    registry: Registry,
}

/// Counts as in flight until it is dropped.
#[must_use = "it is counted until it is dropped"]
pub struct InFlight(IntGauge);

impl Metrics {
    /// No measurements yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        register(&self.registry, IntCounter::new(name, help))
    }

    /// Registers counters that differ in their labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        register(&self.registry, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        register(&self.registry, IntGauge::new(name, help))
    }

    /// Registers gauges that differ in their labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        register(&self.registry, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// Registers histograms of durations in seconds that differ in their labels.
    pub fn durations(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        register(&self.registry, HistogramVec::new(options, labels))
    }

    /// All of it with `more`, which is known only now, in Prometheus' text format.
    pub fn text(&self, more: &[Sample]) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.families(more), &mut text);
        encoded.expect("measurements have names, and a Vec takes them");
        String::from_utf8(text).expect("the text format is text")
    }

    /// The same in the shape of Vault's JSON; what Keyway does not measure (rates, extremes, deviations) is
    /// left out.
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

impl InFlight {
    /// Counts one more in a gauge.
    pub fn begin(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
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

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("names and labels of measurements are valid");
    registry.register(Box::new(collector.clone())).expect("each measurement is registered once");
    collector
}
