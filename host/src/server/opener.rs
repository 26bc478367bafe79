//! Opens the backends, one after the other, and tries again where the store was not there. What cannot be opened keeps neither
//! the server nor the other backends from serving.

use std::{sync::Arc, time::Duration};

use keyway_loader::{
    BackendConfig, Backends, CallContext, ConfigureError, ConnectError, Digest, Down, Generation, Loader,
    Plugin, ReadConsistency, Slot,
};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{JoinError, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::config::{BackendSettings, Config};

/// How long opening a backend may take until it counts as down; it may still come.
const OPEN: Duration = Duration::from_secs(30);
/// How long a backend has the others wait for it while it opens.
const TURN: Duration = Duration::from_secs(3);
/// How long the server waits for all backends before it listens.
const START: Duration = Duration::from_secs(10);
/// How long is waited before the first other attempt; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often the server may have ended while it opened a backend before the others come first.
const DEATHS: u32 = 2;
/// How long the others are served then before it is tried; twice as long after each further time.
const AFTER_DEATHS: Duration = Duration::from_secs(30);
/// The longest such time.
const LONGEST_AFTER_DEATHS: Duration = Duration::from_secs(600);
/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The backends that are not open yet. Dropping it ends the attempts.
pub(super) struct Opener {
    _attempts: JoinSet<()>,
}

struct Attempt {
    loader: Arc<Loader>,
    slot: Arc<Slot>,
    settings: BackendSettings,
    config: BackendConfig,
    /// One at a time, as long as none takes long, so that a crash of the process is laid at the right door.
    turn: Arc<Semaphore>,
    /// The plugin, once it is loaded, and why it is not the one that is configured: only the store is tried again.
    chosen: Option<(Plugin, Option<String>)>,
    /// The libraries that could not open the store, and why.
    failed: Vec<(Digest, String)>,
}

impl Opener {
    /// Opens what can be opened soon; the rest follows in the background.
    pub(super) async fn begin(loader: &Arc<Loader>, config: &Config) -> (Self, Backends) {
        let turn = Arc::new(Semaphore::new(1));
        let (mut backends, mut attempts, mut firsts) = (Backends::default(), JoinSet::new(), Vec::new());
        // The system backend first: without it nothing else is of use.
        let mut wanted: Vec<_> = config.backends.iter().collect();
        wanted.sort_by_key(|(name, _)| **name != config.system_backend);
        for (name, settings) in wanted {
            let attempt = Attempt {
                loader: Arc::clone(loader),
                slot: backends.register(Slot::new(name)),
                config: BackendConfig {
                    name: name.clone(),
                    config: settings.config.clone(),
                    data_dir: config.data_dir.clone(),
                },
                settings: settings.clone(),
                turn: Arc::clone(&turn),
                chosen: None,
                failed: Vec::new(),
            };
            let (first, tried) = tokio::sync::oneshot::channel();
            attempts.spawn(attempt.run(first));
            firsts.push(tried);
        }
        let all = async {
            for first in firsts {
                // A task that is gone has tried.
                let _tried = first.await;
            }
        };
        if timeout(START, all).await.is_err() {
            tracing::warn!("not all backends are open yet; the server listens without them");
        }
        let open =
            backends.iter().filter_map(|slot| slot.generation().ok()?.plugin().digest()).collect::<Vec<_>>();
        if backends.iter().all(|slot| slot.generation().is_ok()) {
            loader.prune(&open);
        }
        (Self { _attempts: attempts }, backends)
    }
}

/// What an attempt has come to.
enum Tried {
    Open(Box<Generation>),
    Down(Down, /* passing: */ bool),
    /// Another library may be able to.
    Again,
}

impl Attempt {
    /// Until the backend is open, or there is no hope without somebody's doing.
    async fn run(mut self, first: tokio::sync::oneshot::Sender<()>) {
        let slot = Arc::clone(&self.slot);
        // Nobody swaps what is not open yet.
        let _turn = slot.turn().await;
        let (mut first, mut pause) = (Some(first), FIRST_PAUSE);
        if let Some((down, pause)) = self.postponed() {
            tracing::error!(backend = self.slot.backend(), reason = down.reason, "backend not available");
            self.slot.close(down);
            drop(first.take());
            sleep(pause).await;
        }
        loop {
            let tried = self.attempt().await;
            let (down, is_passing) = match tried {
                Tried::Open(generation) => {
                    self.report(&generation);
                    let _none = self.slot.open(*generation);
                    return;
                }
                Tried::Again => continue,
                Tried::Down(down, is_passing) => (down, is_passing),
            };
            let retry_s = is_passing.then_some(pause.as_secs());
            tracing::error!(
                backend = self.slot.backend(),
                reason = down.reason,
                retry_s,
                "backend not available"
            );
            self.slot.close(down);
            drop(first.take());
            if !is_passing {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A backend that has taken the server down again and again, with a library that is not to be quarantined since it has
    /// worked, is not given up; the others are served for a while before it is tried.
    fn postponed(&self) -> Option<(Down, Duration)> {
        let deaths = self.loader.history.deaths(self.slot.backend());
        let doubled = u32::try_from(deaths).ok()?.checked_sub(DEATHS)?.min(8);
        let pause = (AFTER_DEATHS * 2_u32.pow(doubled)).min(LONGEST_AFTER_DEATHS);
        let summary = format!(
            "the server has ended {deaths} times while it opened this backend; tried again after {} s",
            pause.as_secs()
        );
        let reason = format!("{summary}; mend its store, or take the backend out of the configuration");
        Some((Down { summary, reason }, pause))
    }

    async fn attempt(&mut self) -> Tried {
        let Ok(turn) = self.turn.acquire().await else { return ended("the server is ending") };
        let mut connecting =
            Box::pin(connect(&self.loader, &self.settings, &self.config, &mut self.chosen, &self.failed));
        let mut connected = timeout(TURN, &mut connecting).await;
        drop(turn);
        if connected.is_err() {
            connected = timeout(OPEN, &mut connecting).await;
        }
        let connected = match connected {
            Ok(connected) => connected,
            Err(_) => {
                let reason = format!("it has not opened within {} s", OPEN.as_secs());
                tracing::error!(backend = self.slot.backend(), reason, "backend not available");
                self.slot.close(Down { summary: reason.clone(), reason });
                // Not tried beside it: it may hold the store.
                (&mut connecting).await
            }
        };
        drop(connecting);
        if matches!(connected, Ok(Err(ConnectError::Load { .. }))) {
            self.failed.clear();
        }
        if let Ok(Err(ConnectError::Configure(error))) = &connected
            && self.gives_way_to_another(error)
        {
            return Tried::Again;
        }
        match connected {
            Ok(Ok(generation)) if generation.capabilities().read_consistency == ReadConsistency::EVENTUAL => {
                if let Err(error) = generation.shutdown(&CallContext::background()).await {
                    tracing::warn!(backend = self.slot.backend(), %error, "a backend did not close");
                }
                ended("its reads may be of an earlier state, which Keyway's records do not bear")
            }
            Ok(Ok(generation)) => Tried::Open(Box::new(generation)),
            Ok(Err(error)) => {
                let reason = keyway_loader::Chain(&error).to_string();
                Tried::Down(Down { summary: error.summary(), reason }, error.is_passing())
            }
            Err(error) => {
                let (summary, reason) = ("opening it has failed".to_owned(), error.to_string());
                Tried::Down(Down { summary, reason }, false)
            }
        }
    }

    /// A library that cannot open the store gives way to what has opened it before, where that is another one. When all have
    /// been tried, the newest is tried again first.
    fn gives_way_to_another(&mut self, error: &ConfigureError) -> bool {
        let Some((plugin, fallback)) = self.chosen.take() else { return false };
        let Some(digest) = plugin.digest() else { return false };
        if !self.settings.wanted.fallback || !self.loader.may_be_to_blame(&plugin, &self.config.name) {
            if self.failed.is_empty() {
                self.chosen = Some((plugin, fallback));
            }
            self.failed.clear();
            return false;
        }
        let why = keyway_loader::Chain(error).to_string();
        tracing::error!(backend = self.slot.backend(), plugin = %plugin.descriptor(), why, "this version does not open the store");
        self.failed.push((digest, why));
        true
    }

    fn report(&self, generation: &Generation) {
        let (backend, plugin) = (self.slot.backend(), generation.plugin());
        if let Some(why) = generation.fallback() {
            tracing::error!(backend, plugin = %plugin.descriptor(), why, "FALLBACK: not the plugin that is configured");
        }
        let trust = plugin.grant().map(ToString::to_string);
        tracing::info!(backend, plugin = %plugin.descriptor(), trust, "backend open");
    }
}

fn ended(reason: &str) -> Tried {
    Tried::Down(Down { summary: reason.to_owned(), reason: reason.to_owned() }, false)
}

/// Loads and opens on threads of their own: a stranger's code may keep them for as long as it likes.
async fn connect(
    loader: &Arc<Loader>,
    settings: &BackendSettings,
    config: &BackendConfig,
    chosen: &mut Option<(Plugin, Option<String>)>,
    failed: &[(Digest, String)],
) -> Result<Result<Generation, ConnectError>, JoinError> {
    let (plugin, fallback) = match chosen {
        Some(chosen) => chosen.clone(),
        None => {
            let (loader, wanted, config) = (Arc::clone(loader), settings.wanted.clone(), config.clone());
            let failed = failed.to_vec();
            match spawn_blocking(move || loader.choose_but(&wanted, &config, &failed)).await? {
                Ok(loaded) => chosen.insert(loaded).clone(),
                Err(error) => return Ok(Err(error)),
            }
        }
    };
    // Goes with this future: a server that is told to stop meanwhile has not crashed.
    let _mark = loader.mark_opening(&plugin, &config.name);
    let (loader, config) = (Arc::clone(loader), config.clone());
    spawn_blocking(move || Handle::current().block_on(loader.open_store(&plugin, fallback, &config))).await
}
