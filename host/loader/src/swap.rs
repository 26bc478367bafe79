//! Has one generation of a backend follow another while it serves. [`choose`] finds the library, [`trial`]
//! says whether it may serve.
//!
//! If the store may be open twice, the new generation is opened next to the old one, tried, and put into its
//! place by one pointer. Calls on the old one end there ([`beside`]).
//!
//! If it may not, calls wait while the old generation is closed and the new one opened. If that fails, the
//! old one is opened again ([`held`]). Records of a volatile store are copied or, if the request says so,
//! lost ([`copy`]). The data format changes only on request ([`upgrade`]). If a swap fails before the new
//! generation serves, the old one goes on serving.

mod beside;
mod choose;
mod copy;
mod error;
mod held;
mod trial;
mod upgrade;

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

pub use self::{
    error::{SwapError, Unready},
    upgrade::Upgraded,
};
use crate::{
    BackendConfig, Digest, Down, Durability, Generation, Loader, Plugin, Requirement, Sharing, Slot,
    configure::{configure, configure_with},
    failpoint,
    probe::Rehearsed,
    readback::Scratch,
};

/// How long a retired generation may take to release cancelled work.
const RELEASE: Duration = Duration::from_secs(1);
/// How long writing down what serves is waited for.
const REMEMBER: Duration = Duration::from_secs(5);
/// The longest that calls wait for others to end before a store of one opener is closed.
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// A swap to be done.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The plugin.
    pub target: Target,
    /// The backend's new settings. None keeps the present ones; a roll back then takes the former ones.
    pub config: Option<BackendConfig>,
    /// What becomes of the data of a volatile store.
    pub data: Data,
    /// Whether a library that the backend was rolled back from may be taken again.
    pub takes_set_aside: bool,
    /// Only if this generation serves, by its number; none is whichever.
    pub only_from: Option<u64>,
    /// How long each step may take.
    pub deadlines: Deadlines,
}

/// With which plugin the new generation is opened.
#[derive(Debug, Clone)]
pub enum Target {
    /// The newest usable version that satisfies it.
    Newest(Requirement),
    /// That of the generation before.
    Previous,
    /// This one.
    Plugin(Box<Plugin>),
}

/// What becomes of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// They are in the store, which both generations open.
    Kept,
    /// They are copied: for a volatile store.
    Migrated,
    /// They are lost: for a volatile store.
    Discarded,
}

/// How long each step of a swap may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// What runs on the old generation; if calls wait for it, 5 s at most.
    pub drain: Duration,
    /// Closing a generation.
    pub close: Duration,
    /// Opening one and trying it.
    pub open: Duration,
    /// Copying the records of a volatile store.
    pub copy: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { drain: seconds(30), close: seconds(10), open: seconds(10), copy: seconds(60) }
    }
}

/// How a new generation came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapMode {
    /// Opened next to the old one.
    SideBySide,
    /// Opened after the old one was closed, while calls waited.
    Exclusive,
}

impl SwapMode {
    /// Its name in answers and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::SideBySide => "beside",
            Self::Exclusive => "held",
        }
    }
}

/// A generation, as a report names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its number.
    pub generation: u64,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: semver::Version,
    /// The library's digest; none if it is linked.
    pub digest: Option<Digest>,
    /// The data format of its store.
    pub data_format: u32,
}

impl Side {
    fn of(generation: &Generation) -> Self {
        let descriptor = generation.plugin().descriptor();
        Self {
            generation: generation.number(),
            plugin: descriptor.name.clone(),
            version: descriptor.version.clone(),
            digest: generation.plugin().digest(),
            data_format: generation.capabilities().data_format,
        }
    }
}

/// A swap that has been made.
#[derive(Debug, Clone)]
pub struct Swapped {
    /// What served before; none if the backend was not open.
    pub from: Option<Side>,
    /// What serves now.
    pub to: Side,
    /// How.
    pub way: SwapMode,
    /// How long calls waited.
    pub waited: Duration,
    /// Whether its library or its settings are others.
    pub is_changed: bool,
    /// The records that were copied.
    pub migrated: Option<u64>,
    /// Whether the library was tried on an empty store in a child process; none if it had worked before.
    pub rehearsed: Option<Rehearsed>,
}

impl Swapped {
    /// Whether the library is the same, with its image and its statics, so that only the store was opened again.
    pub fn is_reopening(&self) -> bool {
        let is_same = |from: &Side| from.digest == self.to.digest && from.plugin == self.to.plugin;
        self.from.as_ref().is_some_and(is_same)
    }
}

impl Loader {
    /// Swaps the generation of a backend for a new one. Goes on to its end, whether or not the caller waits
    /// for it.
    ///
    /// # Errors
    ///
    /// `Busy` if another swap runs; a refusal, after which the old generation serves; [`SwapError::is_loss`]
    /// tells the errors after which nothing serves.
    pub async fn swap(self: &Arc<Self>, slot: &Arc<Slot>, swap: Swap) -> Result<Swapped, SwapError> {
        let swapping = Swapping { loader: Arc::clone(self), slot: Arc::clone(slot), swap };
        let recovering = swapping.clone();
        let task = tokio::spawn(async move { swapping.run().await });
        task.await.unwrap_or_else(|error| Err(recovering.interrupted(&error)))
    }
}

/// A swap under way.
#[derive(Clone)]
struct Swapping {
    loader: Arc<Loader>,
    slot: Arc<Slot>,
    swap: Swap,
}

/// What was chosen.
struct Chosen {
    plugin: Plugin,
    config: BackendConfig,
    rehearsed: Option<Rehearsed>,
}

impl Swapping {
    async fn run(&self) -> Result<Swapped, SwapError> {
        let _turn = self.slot.try_turn()?;
        let old = match self.slot.generation() {
            Ok(old) => old,
            Err(down) => return self.open_first(down).await,
        };
        if self.swap.only_from.is_some_and(|number| number != old.number()) {
            return Err(SwapError::Overtaken);
        }
        let is_volatile = old.capabilities().durability == Durability::VOLATILE;
        match (is_volatile, self.swap.data) {
            (true, Data::Kept) => {
                return Err(SwapError::Volatile { plugin: old.plugin().descriptor().label() });
            }
            (false, Data::Migrated | Data::Discarded) => {
                return Err(SwapError::NotVolatile { plugin: old.plugin().descriptor().label() });
            }
            _ => {}
        }
        let chosen = self.choose(Some(&old), old.config()).await?;
        failpoint::reached("chosen");
        let none = Duration::ZERO;
        let (way, waited, migrated) = match self.swap.data {
            Data::Kept if may_be_open_twice(&old, &chosen.plugin) => {
                self.open_side_by_side(&old, &chosen, true).await?;
                (SwapMode::SideBySide, none, None)
            }
            Data::Kept => (SwapMode::Exclusive, self.open_exclusively(&old, &chosen).await?, None),
            Data::Migrated => {
                let (records, waited) = self.migrate(&old, &chosen).await?;
                (SwapMode::Exclusive, waited, Some(records))
            }
            Data::Discarded => {
                self.open_side_by_side(&old, &chosen, false).await?;
                (SwapMode::SideBySide, none, None)
            }
        };
        let new = self.slot.generation().map_err(SwapError::NotOpen)?;
        self.remember(&old, &new).await;
        let (from, to) = (Some(Side::of(&old)), Side::of(&new));
        let is_changed = is_changed(&old, &new);
        Ok(Swapped { from, to, way, waited, is_changed, migrated, rehearsed: chosen.rehearsed })
    }

    /// Writes down what serves now. It uses a separate thread, because another process may have the file
    /// locked for a while.
    async fn remember(&self, old: &Arc<Generation>, new: &Arc<Generation>) {
        let (loader, backend) = (Arc::clone(&self.loader), self.slot.backend().to_owned());
        let is_back = matches!(self.swap.target, Target::Previous);
        let (old, new) = (Arc::clone(old), Arc::clone(new));
        let remembering = spawn_blocking(move || {
            let (from, to) = (old.plugin(), new.plugin());
            let is_same_plugin = from.descriptor().name == to.descriptor().name;
            let is_older = is_same_plugin && from.descriptor().version > to.descriptor().version;
            let mut aside: Vec<Digest> = Vec::new();
            if is_older || is_back {
                // Also all versions newer than the one that serves now: the operator has not chosen them
                // either.
                aside.extend(from.digest());
                aside.extend(loader.newer_than(to.descriptor()));
            }
            loader.remember(&new);
            loader.history.set_aside(&backend, to.digest(), &aside);
        });
        if timeout(REMEMBER, remembering).await.is_err() {
            tracing::warn!(backend = self.slot.backend(), "what serves now is not written down yet");
        }
        failpoint::reached("remembered");
    }

    /// A task that has broken off may have closed what served.
    fn interrupted(&self, error: &JoinError) -> SwapError {
        let reason = error.to_string();
        if let Ok(closed) = self.slot.generation()
            && closed.is_left()
        {
            let summary = "a swap has broken off".to_owned();
            self.slot.close(Down { summary, reason: reason.clone() });
            self.keep_trying(&closed);
        }
        SwapError::Interrupted { reason }
    }

    /// Opens a backend that is not open.
    async fn open_first(&self, down: Down) -> Result<Swapped, SwapError> {
        let Some(config) = &self.swap.config else { return Err(SwapError::NotOpen(down)) };
        let chosen = self.choose(None, config).await?;
        let new = self.open(&chosen.plugin, &chosen.config).await?;
        if let Err(error) = self.try_out(None, &new, &Scratch::new()?, false).await {
            self.discard(&new).await;
            return Err(error);
        }
        let to = Side::of(&new);
        let _none = self.slot.open(new);
        if let Ok(new) = self.slot.generation() {
            self.remember(&new, &new).await;
        }
        let rehearsed = chosen.rehearsed;
        Ok(Swapped {
            from: None,
            to,
            way: SwapMode::SideBySide,
            waited: Duration::ZERO,
            is_changed: true,
            migrated: None,
            rehearsed,
        })
    }

    /// Opens a store and asks for its health, on a separate thread.
    async fn open(&self, plugin: &Plugin, config: &BackendConfig) -> Result<Generation, SwapError> {
        let deadline = self.swap.deadlines.open;
        let mark = self.loader.mark_opening(plugin, &config.name);
        let (send, opened) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel::<()>();
        // The mark lasts while the backend is being opened. A server that is stopped meanwhile has not
        // crashed, and drops this task.
        tokio::spawn(async move {
            let _mark = mark;
            let _ended = has_ended.await;
        });
        let (plugin, config) = (plugin.clone(), config.clone());
        let close = self.swap.deadlines.close;
        // Lists that are read in pages go on over a swap.
        let cursor_key = self.slot.generation().ok().map(|present| present.cursor_key());
        spawn_blocking(move || {
            let opened = Handle::current().block_on(async {
                match cursor_key {
                    Some(key) => configure_with(&plugin, &config, key).await,
                    None => configure(&plugin, &config).await,
                }
            });
            drop(ended);
            // The swap has given up waiting: a generation that opens too late must not hold the store.
            if let Err(Ok(late)) = send.send(opened)
                && let Err(error) = Handle::current().block_on(late.close(close))
            {
                tracing::error!(backend = config.name, %error, "a generation that opened too late did not close");
            }
        });
        match timeout(deadline, opened).await {
            Ok(Ok(opened)) => Ok(opened?),
            Ok(Err(_)) => Err(SwapError::Interrupted { reason: "opening it has failed".to_owned() }),
            Err(_) => Err(SwapError::Late { what: "opening it", deadline }),
        }
    }

    /// Puts a generation that was tried into service.
    fn serve(&self, old: &Generation, new: Generation) {
        if is_changed(old, &new) {
            self.slot.set_before(old);
        }
        let _former = self.slot.open(new);
        failpoint::reached("serving");
    }

    /// Closes a generation that is not to serve.
    async fn discard(&self, new: &Generation) {
        if let Err(error) = new.close(self.swap.deadlines.close).await {
            tracing::warn!(backend = self.slot.backend(), %error, "a generation that does not serve did not close");
        }
    }

    /// Closes the former generation once nothing runs on it, or once the time for that is over.
    fn retire(&self, old: &Arc<Generation>) {
        let (old, deadlines, counted) = (Arc::clone(old), self.swap.deadlines, self.slot.drain());
        tokio::spawn(async move {
            let (backend, generation) = (old.backend().to_owned(), old.number());
            if timeout(deadlines.drain, old.unused()).await.is_err() {
                tracing::warn!(backend, generation, "what still runs on the former generation is cancelled");
                old.cancel();
                let _released = timeout(RELEASE, old.unused()).await;
            }
            match old.close(deadlines.close).await {
                Ok(()) => tracing::info!(backend, generation, "the former generation is closed"),
                Err(error) => {
                    tracing::error!(backend, generation, %error, "the former generation did not close");
                }
            }
            drop(counted);
        });
    }
}

/// Whether it is more than the same store opened again.
fn is_changed(old: &Generation, new: &Generation) -> bool {
    old.plugin().origin() != new.plugin().origin() || old.config().config != new.config().config
}

fn may_be_open_twice(old: &Generation, plugin: &Plugin) -> bool {
    let least = Sharing::ONE_PROCESS;
    old.capabilities().sharing >= least && plugin.descriptor().capabilities.sharing >= least
}
