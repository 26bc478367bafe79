//! Swaps of backends while the server serves: requests for them, their status, and the watch over a new
//! generation. [`upgrade`] brings a data format forward.

pub(super) mod state;
mod upgrade;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

use keyway_common::clock;
use keyway_loader::{
    BackendConfig, Chain, Durability, Fix, Generation, Swap, SwapError, Swapped,
    swap::{Data, Side, Target},
};
use keyway_storage::{Storage, Tallied};
use serde_json::Value;

pub use self::state::{BackendSettings, LastSwap, PluginSource, SwapRequest, SwapSettings, Trigger};
use super::{Core, CoreError, Swapping};
use crate::audit::entry::{Entry, Request, Response};

/// How often a generation is looked at that has just been swapped in.
const LOOK: Duration = Duration::from_millis(200);
/// The fewest calls by which it is judged.
const FEWEST: u64 = 20;

impl Swapping<'_> {
    /// Takes plugins from here, from now on.
    pub fn set_plugin_source(self, source: PluginSource) {
        *self.0.swaps.source.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(source));
    }

    /// What became of the last swap of a backend.
    pub fn last(self, backend: &str) -> Option<LastSwap> {
        self.0.swaps.last.lock().unwrap_or_else(PoisonError::into_inner).get(backend).cloned()
    }

    /// How many swaps there were, by backend and outcome.
    pub fn counts(self) -> BTreeMap<(String, &'static str), u64> {
        self.0.swaps.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Swaps a backend, on a client's request.
    ///
    /// # Errors
    ///
    /// `NoBackend`, `NotFromPlugins`, `NotConfigured`, `DiscardsSystem`; `Swap`; `SwapAfterUpgrade` if the
    /// former generation cannot read the data format that the store has now.
    pub async fn swap(self, name: &str, asked: SwapRequest) -> Result<Swapped, CoreError> {
        self.swap_by(Trigger::Request, name, asked).await
    }

    /// Swaps a backend, and goes on to its end, whether or not the caller waits for it.
    async fn swap_by(self, by: Trigger, name: &str, asked: SwapRequest) -> Result<Swapped, CoreError> {
        let storage = self.0.backends.get(name)?.clone();
        let source = self.0.swaps.source().ok_or(CoreError::NotFromPlugins)?;
        if asked.data == Data::Discarded && storage.name() == self.0.backends.system.name() {
            return Err(CoreError::DiscardsSystem);
        }
        let is_back = asked.back;
        let swap = plan(by, &storage, &source, asked).ok_or(CoreError::NotConfigured)?;
        let core = Arc::clone(self.0);
        let task = tokio::spawn(async move {
            core.swapping().swap_to_the_end(by, &storage, &source, swap, is_back).await
        });
        let broken = |error: tokio::task::JoinError| SwapError::Interrupted { reason: error.to_string() };
        let swapped = task.await.unwrap_or_else(|error| Err(broken(error)));
        swapped.map_err(|error| self.explain(name, error))
    }

    async fn swap_to_the_end(
        self,
        by: Trigger,
        storage: &Storage,
        source: &Arc<PluginSource>,
        swap: Swap,
        is_back: bool,
    ) -> Result<Swapped, SwapError> {
        let name = storage.name();
        let swapped = source.loader.swap(storage.slot(), swap).await;
        match &swapped {
            Ok(swapped) => {
                let outcome = match (is_back, swapped.is_reopening()) {
                    (_, true) => "reopened",
                    (true, false) => "rolled_back",
                    (false, false) => "swapped",
                };
                let (to, waited_ms) = (&swapped.to, swapped.waited.as_millis());
                let named = |side: &Side| format!("{} {}", side.plugin, side.version);
                let from = swapped.from.as_ref().map_or_else(|| "nothing".to_owned(), named);
                tracing::warn!(
                    backend = name,
                    by = by.name(),
                    outcome,
                    from,
                    to = named(to),
                    generation = to.generation,
                    way = swapped.way.name(),
                    waited_ms,
                    migrated = swapped.migrated,
                    "backend swapped"
                );
                let detail = format!("{from} → {}", named(to));
                self.0.swaps.note(name, LastSwap { time: clock::now(), by, outcome, detail });
                if by != Trigger::Watch && !is_back && swapped.is_changed && swapped.from.is_some() {
                    self.watch(storage, &source.swaps);
                }
            }
            Err(error) => {
                let outcome = if error.is_loss() { "lost" } else { "failed" };
                let detail = Chain(error).to_string();
                tracing::error!(
                    backend = name,
                    by = by.name(),
                    reason = detail,
                    fix = error.fix(),
                    "backend not swapped"
                );
                self.0.swaps.note(name, LastSwap { time: clock::now(), by, outcome, detail });
            }
        }
        swapped
    }

    /// Rolls a new generation back if it does worse than the configuration allows.
    fn watch(self, storage: &Storage, settings: &SwapSettings) {
        if settings.watch.is_zero() {
            return;
        }
        let (core, storage, settings) = (Arc::downgrade(self.0), storage.clone(), *settings);
        let is_it = |present: &Generation, digest, config: &Value| {
            present.plugin().digest() == digest && present.config().config == *config
        };
        let Ok(watched) = storage.generation() else { return };
        tokio::spawn(async move {
            let (digest, config) = (watched.plugin().digest(), watched.config().config.clone());
            drop(watched);
            let begun = Instant::now();
            while begun.elapsed() < settings.watch {
                tokio::time::sleep(LOOK).await;
                let generation = match storage.generation() {
                    // It may have been opened again, when another swap has failed.
                    Ok(present) if is_it(&present, digest, &config) => present.number(),
                    // Another swap was faster, and watches the present generation itself.
                    Ok(_) => return,
                    Err(_) => continue,
                };
                let tallied = storage.tallied();
                // No call has reached it yet.
                if tallied.generation != generation {
                    continue;
                }
                if let Some(why) = settings.too_bad(&tallied)
                    && roll_back(&core, &storage, generation, &why).await
                {
                    return;
                }
            }
        });
    }

    /// Records in the audit log a swap that the server makes without a request. If no device accepts the
    /// entry, the swap happens all the same: to leave the backend alone would be worse.
    async fn audit_unasked(self, by: Trigger, name: &str, what: &str, outcome: Result<String, String>) {
        let request = Request {
            id: uuid::Uuid::new_v4().to_string(),
            operation: "update",
            mount_point: String::new(),
            mount_type: String::new(),
            client_token: String::new(),
            client_token_accessor: String::new(),
            path: format!("sys/backends/{name}/{what}"),
            data: Some(serde_json::json!({ "by": by.name() })),
            remote_address: String::new(),
            remote_port: None,
            wrap_ttl: None,
        };
        let (response, error) = match outcome {
            Ok(detail) => {
                let data = Some(serde_json::json!({ "detail": detail }));
                (Some(Response { data, ..Response::default() }), None)
            }
            Err(error) => (None, Some(error)),
        };
        let entry =
            Entry { time: clock::now(), kind: "response", auth: None, request: &request, response, error };
        if let Err(error) = self.0.audit.devices().accept(entry.text()).await {
            tracing::error!(%error, backend = name, "a swap is not in the audit log");
        }
    }

    /// Swaps each backend for which the configuration, read again, asks for another version or other
    /// settings.
    pub async fn swap_to_configuration(self) {
        for name in self.0.backend_names().into_iter().map(str::to_owned).collect::<Vec<_>>() {
            let Ok(storage) = self.0.backends.get(&name) else { continue };
            let Some(source) = self.0.swaps.source() else { return };
            match due(storage, &source).await {
                Ok(false) => {
                    tracing::info!(backend = name, "it has the newest version and its settings already")
                }
                Ok(true) => {
                    let done = self.swap_by(Trigger::Reload, &name, SwapRequest::NEWEST).await;
                    let outcome = match &done {
                        Ok(swapped) => Ok(format!("{} {}", swapped.to.plugin, swapped.to.version)),
                        Err(error) => Err(Chain(error).to_string()),
                    };
                    self.audit_unasked(Trigger::Reload, &name, "swap", outcome).await;
                }
                Err(reason) => tracing::error!(backend = name, reason, "it stays as it is"),
            }
        }
    }
}

/// Whether the configuration asks for something else than what serves.
async fn due(storage: &Storage, source: &Arc<PluginSource>) -> Result<bool, String> {
    let Ok(present) = storage.generation() else { return Ok(true) };
    let settings = source
        .backends
        .get(storage.name())
        .ok_or("it is no longer in the configuration, which takes a restart")?;
    let requirement = settings.wanted.plugin.clone();
    let admits = |version| requirement.admits(version);
    let (source, wanted, name) = (Arc::clone(source), settings.wanted.clone(), storage.name().to_owned());
    let foreseen = tokio::task::spawn_blocking(move || source.loader.foresee(&wanted, &name));
    let foreseen =
        foreseen.await.map_err(|error| error.to_string())?.map_err(|error| Chain(&error).to_string())?;
    let digest = foreseen.library.described.staged.digest;
    let (serves, found) = (present.plugin().descriptor(), &foreseen.library.described.descriptor);
    let is_older = serves.name == found.name && found.version < serves.version;
    // Its file may be gone for a moment, while it is replaced.
    if is_older && admits(&serves.version) && present.config().config == settings.config {
        return Ok(false);
    }
    let is_new = present.plugin().digest() != Some(digest) || present.config().config != settings.config;
    if is_new && present.capabilities().durability == Durability::VOLATILE {
        return Err("its store is volatile; say `keyway backend swap` with --migrate or --discard".to_owned());
    }
    Ok(is_new)
}

/// Only a request may ask for a plugin that was rolled back. None if the backend is no longer in the
/// configuration, which would say what to open.
fn plan(by: Trigger, storage: &Storage, source: &PluginSource, asked: SwapRequest) -> Option<Swap> {
    let configured = source.backends.get(storage.name());
    let target = match asked.plugin {
        _ if asked.back => Target::Previous,
        Some(plugin) => Target::Newest(plugin),
        None => Target::Newest(configured?.wanted.plugin.clone()),
    };
    let config = match asked.config {
        Some(config) => Some(config),
        None if asked.back => None,
        None => configured.map(|settings| settings.config.clone()),
    };
    let data_dir = source.data_dir.clone();
    let config = config.map(|config| BackendConfig { name: storage.name().to_owned(), config, data_dir });
    Some(Swap {
        target,
        config,
        data: asked.data,
        takes_set_aside: by == Trigger::Request,
        only_from: asked.only_from,
        deadlines: source.swaps.deadlines,
    })
}

/// Whether that is over, one way or the other; else it is tried again.
async fn roll_back(core: &Weak<Core>, storage: &Storage, generation: u64, why: &str) -> bool {
    let Some(core) = core.upgrade() else { return true };
    let name = storage.name();
    tracing::error!(backend = name, why, "ROLLING BACK: the generation that was swapped in does too badly");
    let data = if storage.is_volatile() { Data::Migrated } else { Data::Kept };
    let back = SwapRequest { data, only_from: Some(generation), ..SwapRequest::BACK };
    let done = core.swapping().swap_by(Trigger::Watch, name, back).await;
    let outcome = match &done {
        Ok(swapped) => Ok(format!("{} {}: {why}", swapped.to.plugin, swapped.to.version)),
        Err(error) => Err(format!("{why}; {}", Chain(error))),
    };
    core.swapping().audit_unasked(Trigger::Watch, name, "rollback", outcome).await;
    match done {
        Err(CoreError::Swap(error)) => error.is_refusal(),
        _ => true,
    }
}

impl SwapSettings {
    fn too_bad(&self, tallied: &Tallied) -> Option<String> {
        if tallied.calls < FEWEST {
            return None;
        }
        if tallied.failed * 100 > tallied.calls * u64::from(self.error_percent) {
            let Tallied { failed, calls, .. } = tallied;
            return Some(format!("{failed} of {calls} calls have failed"));
        }
        let (p95, most) = (tallied.p95.as_millis(), self.latency.as_millis());
        (p95 > most).then(|| format!("95 of 100 calls take up to {p95} ms, more than {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_is_judged_by_failures_and_times_of_enough_calls() {
        let settings = SwapSettings::default();
        let tallied =
            |calls, failed, p95| Tallied { generation: 1, calls, failed, p95: Duration::from_millis(p95) };
        assert_eq!(settings.too_bad(&tallied(19, 19, 60_000)), None);
        assert_eq!(settings.too_bad(&tallied(20, 2, 2_000)), None);
        assert!(settings.too_bad(&tallied(20, 3, 1)).is_some_and(|why| why.starts_with("3 of 20")));
        assert!(settings.too_bad(&tallied(20, 0, 2_001)).is_some_and(|why| why.contains("2001 ms")));
    }
}
