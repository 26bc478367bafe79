//! With which library the new generation is opened.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use super::{Chosen, Data, Swap, SwapError, Swapping, Target};
use crate::{
    BackendConfig, Generation, Loader, Plugin, Slot,
    configure::check_settings,
    history::Opening,
    loader::{Admitted, StageFailure},
};

impl Swapping {
    /// On a separate thread, because a plugin's code may keep it for any time.
    pub(super) async fn choose(
        &self,
        old: Option<&Arc<Generation>>,
        config: &BackendConfig,
    ) -> Result<Chosen, SwapError> {
        let (loader, slot, swap) = (Arc::clone(&self.loader), Arc::clone(&self.slot), self.swap.clone());
        let (old, config) = (old.cloned(), config.clone());
        let before = old.clone();
        let chosen = spawn_blocking(move || choose(&loader, &slot, &swap, before.as_deref(), config));
        let interrupted = |error: JoinError| SwapError::Interrupted { reason: error.to_string() };
        let chosen = chosen.await.unwrap_or_else(|error| Err(interrupted(error)))?;
        // A store promises no more than its plugin.
        let most = &chosen.plugin.descriptor().capabilities;
        match old.and_then(|old| self.less(&old, most)) {
            Some(what) => Err(SwapError::Promises { what }),
            None => Ok(chosen),
        }
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
    let chosen = match &swap.target {
        Target::Plugin(plugin) => Chosen { plugin: (**plugin).clone(), config, rehearsed: None },
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
            let ((plugin, rehearsed), load) =
                loader.first_usable_with(requirement, format, take).map_err(SwapError::Load)?;
            let is_same = |old: &Generation| {
                old.plugin().digest() == plugin.digest() && old.config().config == config.config
            };
            // The operator may have installed a new version, and learns why it was not chosen.
            if old.is_some_and(is_same) && load.passed_over.iter().any(|passed| passed.reason.is_defect()) {
                return Err(SwapError::NothingNewer(load));
            }
            Chosen { plugin, config, rehearsed }
        }
        Target::Previous => {
            let (plugin, former) = previous(loader, slot, format)?;
            if let (Some(former), None) = (former, &swap.config) {
                config = former;
            }
            Chosen { plugin, config, rehearsed: None }
        }
    };
    // The settings are checked before anything is closed.
    check_settings(chosen.plugin.descriptor(), slot.backend(), &chosen.config.config)?;
    Ok(chosen)
}

/// What the generation before was opened with, as this process knows it or as it is written down. It must
/// still be allowed to run. A roll back never returns to the generation that it came from.
fn previous(
    loader: &Loader,
    slot: &Slot,
    format: Option<u32>,
) -> Result<(Plugin, Option<BackendConfig>), SwapError> {
    let openings = loader.history.openings(slot.backend());
    let (opening, config) = match slot.before() {
        Some((plugin, config)) => match (plugin.digest(), plugin.place()) {
            (Some(digest), Some(place)) => {
                let descriptor = plugin.descriptor();
                let opening = Opening {
                    plugin: descriptor.name.clone(),
                    version: descriptor.version.clone(),
                    sha256: digest.to_string(),
                    data_format: descriptor.data_format,
                    place: place.clone(),
                };
                (opening, Some(config))
            }
            // Linked into the host.
            _ => return Ok((plugin, Some(config))),
        },
        None => (openings.previous.ok_or(SwapError::NoPrevious)?, None),
    };
    let refused = |failure| SwapError::Previous {
        plugin: format!("{} {}", opening.plugin, opening.version),
        failure: Box::new(failure),
    };
    if openings.set_aside.contains(&opening.sha256) {
        return Err(refused(StageFailure::SetAside));
    }
    let admitted = loader.reopen(&opening, format).map_err(refused)?;
    Ok((loader.map(&admitted).map_err(refused)?, config))
}
