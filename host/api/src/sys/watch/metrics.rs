//! The measurements, for Prometheus or as JSON.

use keyway_common::metrics::Sample;
use keyway_loader::images;
use keyway_storage::breaker::Circuit;

use crate::{Edge, answer::Answer, call::Call, error::ApiError, route::RequestContext};

pub(crate) async fn metrics(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    let (metrics, samples) = (&call.edge.metrics, samples(&call.edge));
    Ok(match format(call)? {
        Format::Prometheus => Answer::Metrics(metrics.text(&samples)),
        Format::Json => Answer::plain(metrics.json(&samples)),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Prometheus,
    Json,
}

/// Vault's clients ask for JSON by saying nothing, and say of themselves that they are; so does everything
/// else that scrapes ask for Prometheus' format.
fn format(call: &Call) -> Result<Format, ApiError> {
    let text = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match call.query("format").as_deref() {
        Some("prometheus") => return Ok(Format::Prometheus),
        Some("json") => return Ok(Format::Json),
        None | Some("") => {}
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "metric response format {other:?} unknown; there are prometheus and json"
            )));
        }
    }
    let accepts = text("accept");
    let is_scraper = ["application/openmetrics-text", "prometheus/telemetry", "text/plain"]
        .iter()
        .any(|kind| accepts.contains(kind));
    let is_client = accepts.contains("application/json") || text("x-vault-request") == "true";
    Ok(if is_client && !is_scraper { Format::Json } else { Format::Prometheus })
}

/// Samples that are taken when a client asks for metrics.
fn samples(edge: &Edge) -> Vec<Sample> {
    let core = &edge.core;
    let mut samples = vec![
        Sample {
            name: "keyway_build_info",
            help: "The version of the server; always 1.",
            labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
            value: 1,
        },
        Sample {
            name: "keyway_unsealed",
            help: "Whether the server is unsealed.",
            labels: Vec::new(),
            value: u64::from(core.unsealed().is_ok()),
        },
    ];
    samples.push(Sample {
        name: "keyway_log_lines_dropped_total",
        help: "Log lines that were dropped: the reader was too slow, or the write failed.",
        labels: Vec::new(),
        value: (edge.log_lines_dropped)(),
    });
    let images = images();
    samples.push(Sample {
        name: "keyway_plugin_images",
        help: "Plugin images that the process has mapped. It never unmaps one.",
        labels: Vec::new(),
        value: images.count as u64,
    });
    samples.push(Sample {
        name: "keyway_plugin_image_bytes",
        help: "Size of the files of the mapped plugin images.",
        labels: Vec::new(),
        value: images.bytes,
    });
    for ((backend, outcome), value) in core.swapping().counts() {
        samples.push(Sample {
            name: "keyway_backend_swaps_total",
            help: "Swaps of backends by outcome: swapped, reopened, rolled_back, failed (the former generation serves), or lost \
                   (none does).",
            labels: vec![("backend", backend), ("outcome", outcome.to_owned())],
            value,
        });
    }
    for storage in core.backends() {
        samples.push(Sample {
            name: "keyway_backend_draining",
            help: "Former generations of a backend that requests, calls or streams still use.",
            labels: vec![("backend", storage.name().to_owned())],
            value: storage.slot().draining() as u64,
        });
        let backend = || ("backend", storage.name().to_owned());
        let generation = storage.generation();
        samples.push(Sample {
            name: "keyway_backend_open",
            help: "Whether a backend is open: 0 if its plugin cannot be used or its store cannot be opened.",
            labels: vec![backend()],
            value: u64::from(generation.is_ok()),
        });
        let Ok(generation) = generation else { continue };
        let descriptor = generation.plugin().descriptor();
        samples.push(Sample {
            name: "keyway_backend_generation",
            help: "Generation of a backend that serves. All backends share the count, which begins at 1.",
            labels: vec![
                backend(),
                ("plugin", descriptor.name.clone()),
                ("version", descriptor.version.to_string()),
            ],
            value: generation.number(),
        });
        samples.push(Sample {
            name: "keyway_backend_circuit_state",
            help: "The circuit breaker of a backend: 0 closed, 1 half-open, 2 open.",
            labels: vec![backend()],
            value: match storage.circuit() {
                Circuit::Closed => 0,
                Circuit::HalfOpen => 1,
                Circuit::Open => 2,
            },
        });
        samples.push(Sample {
            name: "keyway_backend_slow_polls_total",
            help: "Calls and polls in which a backend blocked a thread of the server for more than 5 ms.",
            labels: vec![backend()],
            value: generation.slow_polls(),
        });
        for (name, value) in generation.metrics() {
            samples.push(Sample {
                name: "keyway_backend_own",
                help: "Values that a backend reports, by its own names, rounded down.",
                labels: vec![backend(), ("name", name)],
                // A float that is too large, or negative, is cut to the range.
                value: value as u64,
            });
        }
    }
    for device in core.audit().devices().iter() {
        let figures = device.figures();
        let sample = |name, help, value| Sample {
            name,
            help,
            labels: vec![("device", device.spec().name.clone())],
            value,
        };
        let up = "Whether an audit device could write its last line.";
        samples.push(sample("keyway_audit_device_up", up, u64::from(figures.is_up)));
        samples.push(sample("keyway_audit_lines_total", "Lines that an audit device wrote.", figures.lines));
        let missed = "Lines that an audit device could not write.";
        samples.push(sample("keyway_audit_missed_lines_total", missed, figures.failures));
    }
    if let Ok(unsealed) = core.unsealed() {
        let key = unsealed.barrier().key_use();
        let sample = |name, help, value| Sample { name, help, labels: Vec::new(), value };
        samples.push(sample(
            "keyway_key_number",
            "Number of the key that seals new records.",
            key.key.into(),
        ));
        samples.push(sample(
            "keyway_key_made_timestamp_seconds",
            "Creation time of the key that seals new records, in Unix seconds.",
            key.made,
        ));
        samples.push(sample(
            "keyway_key_uses_reserved",
            "Reserved uses of the key, by all hosts that this one knows of.",
            key.reserved,
        ));
        samples.push(sample(
            "keyway_key_uses_bound",
            "The number of uses after which the key is rotated.",
            key.bound,
        ));
        samples.push(sample(
            "keyway_mounts",
            "Number of mounts.",
            unsealed.mounts().current().iter().count() as u64,
        ));
    }
    samples
}
