//! Has one generation of a backend follow another while it serves.
//!
//! Where the store may be open twice, the new generation is opened beside the old one, tried, and put into its place by one
//! pointer; what runs on the old one ends there ([`beside`]). Where it may not, calls wait while the old one is closed and
//! the new one opened, and the old one comes back if that fails ([`held`]). What is in a volatile store is copied or, if
//! somebody says so, lost ([`copy`]). The data format stays as it is until somebody says otherwise ([`upgrade`]). Whatever goes wrong before the new one serves leaves the old one serving.

mod beside;
mod copy;
mod error;
mod held;
mod upgrade;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot, task::spawn_blocking, time::timeout};

pub use self::{
    error::{SwapError, Unready},
    upgrade::Upgraded,
};
use crate::{
    BackendConfig, Capabilities, Digest, Down, Durability, Generation, Loader, Plugin, Requirement, Sharing,
    Slot,
    configure::configure,
    failpoint,
    loader::{Admitted, StageFailure},
    probe::Rehearsed,
    readback,
};

/// How long a generation that nobody uses any more may take for whatever was cancelled on it.
const RELEASE: Duration = Duration::from_secs(1);

/// What is to be swapped for what.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The plugin.
    pub target: Target,
    /// The backend's settings; none are those that it has, or had where it goes back.
    pub config: Option<BackendConfig>,
    /// What becomes of the data of a volatile store.
    pub data: Data,
    /// Whether a library that the backend was rolled back from may be taken again.
    pub takes_set_aside: bool,
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
    /// What runs on the old generation.
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
pub enum Way {
    /// Opened beside the old one.
    Beside,
    /// Opened behind the old one, while calls waited.
    Held,
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
    /// The library's digest; none where it is linked.
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
    /// What served before; none where the backend was not open.
    pub from: Option<Side>,
    /// What serves now.
    pub to: Side,
    /// How.
    pub way: Way,
    /// How long calls waited.
    pub waited: Duration,
    /// The records that were copied.
    pub migrated: Option<u64>,
    /// Whether the library was tried on an empty store in a child process; none where it had worked before.
    pub rehearsed: Option<Rehearsed>,
}

impl Swapped {
    /// Whether the library is the same, with its image and its statics, so that only the store was opened anew.
    pub fn is_reopening(&self) -> bool {
        let is_same = |from: &Side| from.digest == self.to.digest && from.plugin == self.to.plugin;
        self.from.as_ref().is_some_and(is_same)
    }
}

impl Loader {
    /// Swaps the generation of a backend for a new one. Goes on to its end, whether or not the caller waits for it.
    ///
    /// # Errors
    ///
    /// See [`SwapError`]: the old generation serves, but for [`SwapError::Lost`].
    pub async fn swap(self: &Arc<Self>, slot: &Arc<Slot>, swap: Swap) -> Result<Swapped, SwapError> {
        let swapping = Swapping { loader: Arc::clone(self), slot: Arc::clone(slot), swap };
        let task = tokio::spawn(async move { swapping.run().await });
        task.await.unwrap_or_else(|error| Err(SwapError::Interrupted { reason: error.to_string() }))
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
        let _turn = self.slot.try_turn().ok_or(SwapError::Busy)?;
        let old = match self.slot.generation() {
            Ok(old) => old,
            Err(down) => return self.open_first(down).await,
        };
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
        let begun = Instant::now();
        let (way, migrated) = match self.swap.data {
            Data::Kept if may_be_open_twice(&old, &chosen.plugin) => {
                self.open_beside(&old, &chosen, true).await?;
                (Way::Beside, None)
            }
            Data::Kept => {
                self.open_behind(&old, &chosen).await?;
                (Way::Held, None)
            }
            Data::Migrated => (Way::Held, Some(self.migrate(&old, &chosen).await?)),
            Data::Discarded => {
                self.open_beside(&old, &chosen, false).await?;
                (Way::Beside, None)
            }
        };
        let waited = if way == Way::Held { begun.elapsed() } else { Duration::ZERO };
        let new = self.slot.generation().map_err(SwapError::NotOpen)?;
        Ok(Swapped {
            from: Some(Side::of(&old)),
            to: Side::of(&new),
            way,
            waited,
            migrated,
            rehearsed: chosen.rehearsed,
        })
    }

    /// Opens a backend that is not open.
    async fn open_first(&self, down: Down) -> Result<Swapped, SwapError> {
        let Some(config) = &self.swap.config else { return Err(SwapError::NotOpen(down)) };
        let chosen = self.choose(None, config).await?;
        let new = self.open(&chosen.plugin, &chosen.config).await?;
        if let Err(error) = self.try_out(None, &new, None).await {
            self.discard(&new).await;
            return Err(error);
        }
        self.loader.remember(&new);
        self.loader.history.swapped(self.slot.backend(), None, new.plugin().digest(), false);
        let to = Side::of(&new);
        let _none = self.slot.open(new);
        let rehearsed = chosen.rehearsed;
        Ok(Swapped { from: None, to, way: Way::Beside, waited: Duration::ZERO, migrated: None, rehearsed })
    }

    /// On a thread of its own: a stranger's code may keep it for as long as it likes.
    async fn choose(
        &self,
        old: Option<&Arc<Generation>>,
        config: &BackendConfig,
    ) -> Result<Chosen, SwapError> {
        let (loader, slot, swap) = (Arc::clone(&self.loader), Arc::clone(&self.slot), self.swap.clone());
        let (old, config) = (old.cloned(), config.clone());
        let chosen = spawn_blocking(move || choose(&loader, &slot, &swap, old.as_deref(), config));
        chosen.await.unwrap_or_else(|error| Err(SwapError::Interrupted { reason: error.to_string() }))
    }

    /// Opens a store and asks for its health, on a thread of its own.
    async fn open(&self, plugin: &Plugin, config: &BackendConfig) -> Result<Generation, SwapError> {
        let deadline = self.swap.deadlines.open;
        let mark = self.loader.mark_opening(plugin, &config.name);
        let (send, opened) = oneshot::channel();
        let (plugin, config) = (plugin.clone(), config.clone());
        let close = self.swap.deadlines.close;
        spawn_blocking(move || {
            let opened = Handle::current().block_on(configure(&plugin, &config));
            drop(mark);
            // Nobody waits any more: what has come too late must not hold the store.
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

    /// Whether a new generation may serve: it promises no less, it is the store that it should be, and it answers rightly.
    async fn try_out(
        &self,
        old: Option<&Generation>,
        new: &Generation,
        mark: Option<&[u8]>,
    ) -> Result<(), SwapError> {
        if let Some(what) = old.and_then(|old| less(old, new, self.swap.data)) {
            return Err(SwapError::Promises { what });
        }
        let deadline = self.swap.deadlines.open;
        let tried = async {
            if let Some(mark) = mark {
                readback::find(&**new, mark).await?;
            }
            readback::check(&**new).await
        };
        let tried = timeout(deadline, tried).await;
        Ok(tried.map_err(|_| SwapError::Late { what: "reading back", deadline })??)
    }

    /// Leaves a mark in the store that serves.
    async fn leave_mark(&self, old: &Generation) -> Result<Vec<u8>, SwapError> {
        let deadline = self.swap.deadlines.open;
        let mark = readback::mark().map_err(SwapError::Mark)?;
        let left = timeout(deadline, readback::leave(&**old, &mark)).await;
        left.map_err(|_| SwapError::Late { what: "writing to the store that serves", deadline })?
            .map_err(SwapError::Mark)?;
        Ok(mark)
    }

    /// Removes what is left on the scratch keyspace; if it stays, it harms nobody.
    async fn clean(&self, generation: &Generation) {
        let cleaned = timeout(self.swap.deadlines.open, readback::remove(&**generation)).await;
        if !matches!(cleaned, Ok(Ok(()))) {
            tracing::warn!(backend = self.slot.backend(), "the scratch keyspace is left behind");
        }
    }

    /// Puts a generation that was tried into service, and remembers with what it was opened.
    fn serve(&self, old: &Generation, new: Generation) {
        let from = old.plugin();
        let is_older = from.descriptor().version > new.plugin().descriptor().version;
        let set_aside = is_older || matches!(self.swap.target, Target::Previous);
        let (from, to) = (from.digest(), new.plugin().digest());
        self.loader.remember(&new);
        self.loader.history.swapped(self.slot.backend(), from, to, set_aside);
        failpoint::reached("remembered");
        self.slot.set_before(old);
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

fn choose(
    loader: &Loader,
    slot: &Slot,
    swap: &Swap,
    old: Option<&Generation>,
    mut config: BackendConfig,
) -> Result<Chosen, SwapError> {
    let known = || loader.history.openings(slot.backend()).current.map(|opening| opening.data_format);
    let format = match (old, swap.data) {
        (_, Data::Migrated | Data::Discarded) => None,
        (Some(old), Data::Kept) => Some(old.capabilities().data_format),
        (None, Data::Kept) => known(),
    };
    if let Some(settings) = &swap.config {
        config = settings.clone();
    }
    match &swap.target {
        Target::Plugin(plugin) => Ok(Chosen { plugin: (**plugin).clone(), config, rehearsed: None }),
        Target::Newest(requirement) => {
            let is_new = |admitted: &Admitted| {
                !loader.has_worked(&admitted.described)
                    || old.is_some_and(|old| config.config != old.config().config)
            };
            let openings = loader.history.openings(slot.backend());
            let take = |admitted: &Admitted| {
                let digest = admitted.described.staged.digest.to_string();
                if !swap.takes_set_aside && openings.set_aside.contains(&digest) {
                    return Err(StageFailure::SetAside);
                }
                let mut rehearsed = None;
                if is_new(admitted) {
                    loader.prove(&admitted.described)?;
                    rehearsed = Some(loader.rehearse(admitted, &config)?);
                }
                Ok((loader.map(admitted)?, rehearsed))
            };
            let (plugin, rehearsed) =
                loader.first_usable(requirement, format, take).map_err(SwapError::Load)?;
            Ok(Chosen { plugin, config, rehearsed })
        }
        Target::Previous => {
            let (plugin, former) = previous(loader, slot, format)?;
            if let (Some(former), None) = (former, &swap.config) {
                config = former;
            }
            Ok(Chosen { plugin, config, rehearsed: None })
        }
    }
}

/// With what the generation before was opened: as this process knows it, or as it is written down.
fn previous(
    loader: &Loader,
    slot: &Slot,
    format: Option<u32>,
) -> Result<(Plugin, Option<BackendConfig>), SwapError> {
    if let Some((plugin, config)) = slot.before() {
        let knows = plugin.descriptor().data_format;
        return match format {
            Some(store) if knows < store => Err(SwapError::Previous {
                plugin: plugin.descriptor().label(),
                failure: Box::new(StageFailure::Format { plugin: knows, store }),
            }),
            _ => Ok((plugin, Some(config))),
        };
    }
    let opening = loader.history.openings(slot.backend()).previous.ok_or(SwapError::NoPrevious)?;
    let refused = |failure| SwapError::Previous {
        plugin: format!("{} {}", opening.plugin, opening.version),
        failure: Box::new(failure),
    };
    let admitted = loader.reopen(&opening, format).map_err(refused)?;
    Ok((loader.map(&admitted).map_err(refused)?, None))
}

fn may_be_open_twice(old: &Generation, plugin: &Plugin) -> bool {
    let least = Sharing::ONE_PROCESS;
    old.capabilities().sharing >= least && plugin.descriptor().capabilities.sharing >= least
}

/// What a new generation promises less of than the old one.
fn less(old: &Generation, new: &Generation, data: Data) -> Option<&'static str> {
    let old = old.capabilities();
    let least = match data {
        Data::Kept => old,
        // Another store: what does not fit into it fails when it is copied.
        Data::Migrated | Data::Discarded => Capabilities {
            read_consistency: old.read_consistency,
            durability: old.durability,
            ..Capabilities::LEAST
        },
    };
    least.beyond(&new.capabilities())
}
