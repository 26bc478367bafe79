//! What is read when a request arrives: who shows the token, the secret that is asked for, and whether other hosts have changed
//! what this one keeps in memory; all of it in one call of the system's store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use keyway_loader::Key;

use super::{Core, CoreError, Unsealed};
use crate::{
    barrier::BarrierError,
    epoch::{self, Epoch, Others},
    mounts::Mount,
    seal::SYSTEM_KEYSPACE,
    secrets::{self, SecretPath},
    storage::{
        RequestId,
        ahead::{Ahead, Place},
    },
    system::SystemError,
    token::{Live, Token, TokenName},
};

/// The most ancestors of a token that are read together with it.
const MOST_ANCESTORS: usize = 5;
/// The most tokens whose ancestors are known.
const MOST_LINEAGES: usize = 4_096;

/// What was found.
pub struct Arrival {
    /// What was read.
    pub ahead: Ahead,
    /// Whether others have changed something, mounts perhaps, since this host looked last.
    pub has_caught_up: bool,
}

/// Which changes of other hosts this one knows.
#[derive(Default)]
pub(super) struct Seen {
    /// None before the first request.
    epoch: Mutex<Option<Epoch>>,
    /// Held by whoever takes over what others have changed.
    turn: tokio::sync::Mutex<()>,
}

impl Seen {
    fn is(&self, epoch: &Epoch) -> bool {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(epoch)
    }

    fn set(&self, epoch: Epoch) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some(epoch);
    }
}

/// Where the ancestors of tokens lie that were shown before. They never change; whether they live is read each time.
#[derive(Default)]
pub(super) struct Lineages(Mutex<HashMap<TokenName, Arc<[Place]>>>);

impl Lineages {
    fn of(&self, name: &TokenName) -> Arc<[Place]> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned().unwrap_or_default()
    }

    fn learn(&self, live: &Live) {
        let ancestors = &live.entry.ancestors;
        if ancestors.is_empty() || ancestors.len() > MOST_ANCESTORS {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(&live.name) {
            return;
        }
        if known.len() >= MOST_LINEAGES {
            known.clear();
        }
        known.insert(live.name.clone(), ancestors.iter().map(|ancestor| place_of(&ancestor.name)).collect());
    }
}

fn place_of(token: &TokenName) -> Place {
    Place::of(Key::new(SYSTEM_KEYSPACE, &token.key()))
}

impl Core {
    /// Reads what a request with this token, for this secret, needs first; and takes over what other hosts have changed, so that
    /// it binds every request that begins after it.
    ///
    /// # Errors
    ///
    /// The store's; `Sealed` where the keys were changed on another host, so that this one had to seal itself.
    pub async fn arrive(
        &self,
        unsealed: &Arc<Unsealed>,
        request: RequestId,
        token: Option<&Token>,
        secret: Option<Place>,
    ) -> Result<Arrival, CoreError> {
        let others = epoch::others(&self.system);
        let mut places = Vec::new();
        if let Some(token) = token.filter(|token| token.is_plausible()) {
            let name = unsealed.tokens(request).name(token);
            places.push(place_of(&name));
            places.extend_from_slice(&unsealed.lineages.of(&name));
            places.extend(secret);
        }
        if others == Others::Tell {
            places.push(Place::of(epoch::place()));
        }
        let ahead = self.system.read_ahead(request, places).await.map_err(SystemError::from)?;
        let has_caught_up = match others {
            Others::Absent => false,
            Others::Tell => {
                let epoch = Epoch::of(ahead.get(epoch::place()).flatten());
                self.take_over(unsealed, request, epoch).await?
            }
            Others::Silent => match token {
                // For whoever shows a token that is alive: strangers give nobody work.
                Some(token)
                    if unsealed.tokens(request).having_read(&ahead).lookup(token).await?.is_some() =>
                {
                    self.catch_up(unsealed, request).await?;
                    true
                }
                _ => false,
            },
        };
        Ok(Arrival { ahead, has_caught_up })
    }

    /// As [`arrive`](Self::arrive), for work that no request asked for.
    pub(super) async fn keep_up(&self, unsealed: &Arc<Unsealed>) -> Result<(), CoreError> {
        let request = RequestId::BACKGROUND;
        match epoch::others(&self.system) {
            Others::Absent => Ok(()),
            Others::Tell => self.arrive(unsealed, request, None, None).await.map(|_| ()),
            Others::Silent => self.catch_up(unsealed, request).await,
        }
    }

    /// The place of a secret's first record, where it is in the system's store, too.
    pub fn place_in_system(&self, mount: &Mount, path: &SecretPath) -> Option<Place> {
        (mount.backend == self.system.name()).then(|| secrets::place_of(mount, path))
    }

    /// Whether this host had to take over what others have changed.
    async fn take_over(
        &self,
        unsealed: &Arc<Unsealed>,
        request: RequestId,
        epoch: Epoch,
    ) -> Result<bool, CoreError> {
        if unsealed.seen.is(&epoch) {
            return Ok(false);
        }
        let _turn = unsealed.seen.turn.lock().await;
        if !unsealed.seen.is(&epoch) {
            self.catch_up(unsealed, request).await?;
            // What was read is of this epoch or a later one, which the next request finds then.
            unsealed.seen.set(epoch);
        }
        Ok(true)
    }

    /// Reads again what this host keeps in memory. Broken off, it begins anew with the next request.
    async fn catch_up(&self, unsealed: &Arc<Unsealed>, request: RequestId) -> Result<(), CoreError> {
        unsealed.policies.forget();
        unsealed.mounts.refresh(request).await?;
        self.read_keys_again(unsealed, request).await?;
        self.read_audit_devices_again(unsealed, request).await
    }

    /// Reads the keyring again. A host whose root key is another's by now seals itself: it could not write much longer, and
    /// whoever has changed the keys wants that the former ones serve nobody.
    ///
    /// # Errors
    ///
    /// `Sealed`, then; and the store's.
    pub async fn read_keys_again(
        &self,
        unsealed: &Arc<Unsealed>,
        request: RequestId,
    ) -> Result<(), CoreError> {
        match unsealed.barrier.read_again(request).await {
            Err(error @ BarrierError::Rekeyed) => {
                if self.seal_this(unsealed) {
                    tracing::error!(%error, "sealed");
                }
                Err(CoreError::Sealed)
            }
            read => Ok(read?),
        }
    }
}

impl Unsealed {
    /// Remembers what the next request with this token reads first.
    pub(super) fn learn(&self, live: &Live) {
        self.lineages.learn(live);
    }
}
