//! Opens the backends, one after the other, and tries again if the store was not there. What cannot be opened
//! keeps neither the server nor the other backends from serving.

use std::{sync::Arc, time::Duration};

use keyway_core::BackendSettings;
use keyway_loader::{
    BackendConfig, Backends, CallContext, Chain, ConnectError, Digest, Down, Generation, Loader, Plugin,
    ReadConsistency, Slot,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::config::Config;

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
/// How long a library that has failed waits for its second chance.
const SECOND_CHANCE: Duration = Duration::from_millis(300);
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
    /// One at a time, as long as none takes long, so that a crash of the process counts for the library that caused it.
    loads: Arc<Semaphore>,
    /// The permit to load first, for the attempt that gets it.
    first_load: Option<OwnedSemaphorePermit>,
    /// The plugin, once it is loaded, and why it is not the one that is configured: only the store is tried again.
    chosen: Option<(Plugin, Option<String>)>,
    /// The libraries that could not open the store, and why.
    failed: Vec<(Digest, String)>,
    /// The library that has failed once.
    suspected: Option<Digest>,
}

impl Opener {
    /// Opens what can be opened soon; the rest follows in the background.
    pub(super) async fn begin(loader: &Arc<Loader>, config: &Config) -> (Self, Backends) {
        let loads = Arc::new(Semaphore::new(1));
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
                loads: Arc::clone(&loads),
                first_load: Arc::clone(&loads).try_acquire_owned().ok(),
                chosen: None,
                failed: Vec::new(),
                suspected: None,
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
    /// Runs until the backend is open, or until only an operator can help.
    async fn run(mut self, first: tokio::sync::oneshot::Sender<()>) {
        let (mut first, mut pause) = (Some(first), FIRST_PAUSE);
        if let Some((down, pause)) = self.postponed() {
            tracing::error!(backend = self.slot.backend(), reason = down.reason, "backend not available");
            self.slot.close(down);
            drop(first.take());
            self.first_load = None;
            sleep(pause).await;
        }
        loop {
            let slot = Arc::clone(&self.slot);
            // No swap runs during an attempt. Between two attempts, a swap may open the backend with another
            // plugin.
            let Some(turn) = slot.turn().await else { return };
            if slot.generation().is_ok() {
                return;
            }
            let (down, is_transient) = match self.attempt().await {
                Tried::Open(generation) => {
                    self.report(&generation);
                    let _none = self.slot.open(*generation);
                    return;
                }
                Tried::Again => continue,
                Tried::Down(down, is_transient) => (down, is_transient),
            };
            let retry_s = is_transient.then_some(pause.as_secs());
            tracing::error!(
                backend = self.slot.backend(),
                reason = down.reason,
                retry_s,
                "backend not available"
            );
            self.slot.close(down);
            drop(first.take());
            if !is_transient {
                return;
            }
            drop(turn);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A backend that has taken the server down again and again, with a library that is not to be quarantined
    /// since it has worked, is not given up; the others are served for a while before it is tried.
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
        let turn = match self.first_load.take() {
            Some(turn) => Ok(turn),
            None => Arc::clone(&self.loads).acquire_owned().await,
        };
        let Ok(turn) = turn else { return ended("the server is ending") };
        let (plugin, fallback) = match self.choose().await {
            Ok(Ok(chosen)) => chosen,
            Ok(Err(error)) => {
                self.failed.clear();
                return down(&error);
            }
            Err(error) => return broken(&error),
        };
        let mut opening = self.open(&plugin, fallback);
        let mut opened = timeout(TURN, &mut opening).await;
        drop(turn);
        if opened.is_err() {
            opened = timeout(OPEN, &mut opening).await;
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(_) => {
                let reason = format!("it has not opened within {} s", OPEN.as_secs());
                if self.is_to_blame(&plugin) && self.blame(&plugin, reason.clone()) {
                    // It may hold the store, until it is closed.
                    tokio::spawn(async move {
                        if let Ok(Ok(late)) = opening.await {
                            close(&late).await;
                        }
                    });
                    return Tried::Again;
                }
                tracing::error!(backend = self.slot.backend(), reason, "backend not available");
                self.slot.close(Down { summary: reason.clone(), reason });
                // No second attempt runs meanwhile: this one may hold the store.
                opening.await
            }
        };
        match opened {
            Ok(Ok(generation)) if generation.capabilities().read_consistency == ReadConsistency::EVENTUAL => {
                close(&generation).await;
                ended("its reads may be of an earlier state, which Keyway's records do not bear")
            }
            Ok(Ok(generation)) => Tried::Open(Box::new(generation)),
            Ok(Err(error)) => self.failed_to_open(&plugin, error).await,
            Err(error) => broken(&error),
        }
    }

    /// The plugin, loaded on a separate thread, because a plugin's code may keep it for any time.
    async fn choose(&mut self) -> Result<Result<(Plugin, Option<String>), ConnectError>, JoinError> {
        if let Some(chosen) = &self.chosen {
            return Ok(Ok(chosen.clone()));
        }
        let (loader, wanted) = (Arc::clone(&self.loader), self.settings.wanted.clone());
        let (config, failed) = (self.config.clone(), self.failed.clone());
        let why = failed.last().map(|(_, why)| why.clone());
        let chosen = spawn_blocking(move || loader.choose_but(&wanted, &config, &failed)).await?;
        Ok(chosen.map(|(plugin, fallback)| {
            // An older version than the newest one is a fallback, too.
            let fallback = fallback.or(why.map(|why| format!("a newer one does not open the store: {why}")));
            self.chosen.insert((plugin, fallback)).clone()
        }))
    }

    fn open(
        &self,
        plugin: &Plugin,
        fallback: Option<String>,
    ) -> JoinHandle<Result<Generation, ConnectError>> {
        let (loader, plugin, config) = (Arc::clone(&self.loader), plugin.clone(), self.config.clone());
        tokio::spawn(async move {
            // The mark goes with this task: a server that is stopped meanwhile has not crashed.
            let _mark = loader.mark_opening(&plugin, &config.name);
            let opening = spawn_blocking(move || {
                Handle::current().block_on(loader.open_store(&plugin, fallback, &config))
            });
            opening.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        })
    }

    /// A library that cannot open the store gives way to what has opened it before, if that is another one;
    /// but not at its first failure, which may be the store's. When all have been tried, the newest is tried
    /// again first.
    async fn failed_to_open(&mut self, plugin: &Plugin, error: ConnectError) -> Tried {
        if !self.is_to_blame(plugin) {
            if !self.failed.is_empty() {
                self.chosen = None;
                self.failed.clear();
            }
            return down(&error);
        }
        let digest = plugin.digest();
        if error.is_transient() && self.suspected != digest {
            self.suspected = digest;
            sleep(SECOND_CHANCE).await;
            return Tried::Again;
        }
        let why = Chain(&error).to_string();
        if self.blame(plugin, why) { Tried::Again } else { down(&error) }
    }

    fn is_to_blame(&self, plugin: &Plugin) -> bool {
        self.settings.wanted.fallback && self.loader.may_be_to_blame(plugin, &self.config.name)
    }

    fn blame(&mut self, plugin: &Plugin, why: String) -> bool {
        let Some(digest) = plugin.digest() else { return false };
        tracing::error!(
            backend = self.slot.backend(), plugin = %plugin.descriptor(), why,
            "this version does not open the store"
        );
        self.failed.push((digest, why));
        self.chosen = None;
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

fn down(error: &ConnectError) -> Tried {
    let reason = Chain(error).to_string();
    Tried::Down(Down { summary: error.summary(), reason }, error.is_transient())
}

fn broken(error: &JoinError) -> Tried {
    let summary = "opening it has failed".to_owned();
    Tried::Down(Down { summary, reason: error.to_string() }, false)
}

async fn close(generation: &Generation) {
    if let Err(error) = generation.shutdown(&CallContext::background()).await {
        tracing::warn!(backend = generation.backend(), %error, "a backend did not close");
    }
}
