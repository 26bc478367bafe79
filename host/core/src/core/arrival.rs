//! What is read when a request arrives: who shows the token, the secret that is asked for, and whether other hosts have changed
//! what this one keeps in memory; all of it in one call of the system's store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use keyway_loader::Key;
use keyway_storage::{
    SYSTEM_KEYSPACE, Work,
    ahead::{Ahead, Place},
    epoch::{self, Epoch, Others},
};

use super::{Core, CoreError, Unsealed};
use crate::{
    barrier::BarrierError,
    mounts::Mount,
    secrets::{self, SecretPath},
    system::SystemError,
    token::{Live, Token, TokenName},
};

/// The most ancestors of a token that are read together with it.
const MOST_ANCESTORS: usize = 5;
/// The most tokens whose ancestors are known.
const MOST_LINEAGES: usize = 4_096;

/// Which changes of other hosts this one knows.
#[derive(Default)]
pub(super) struct Seen {
    known: Mutex<Seeing>,
    /// Held by whoever takes over what others have changed.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Seeing {
    /// None before the first request.
    epoch: Option<Epoch>,
    /// When the last taking over began that came to its end.
    begun: Option<Instant>,
}

impl Seen {
    fn known(&self) -> MutexGuard<'_, Seeing> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, epoch: &Epoch) -> bool {
        self.known().epoch.as_ref() == Some(epoch)
    }

    /// Whether everything was read again by somebody who began after this.
    fn is_newer_than(&self, read: Instant) -> bool {
        self.known().begun.is_some_and(|begun| begun >= read)
    }

    fn set(&self, epoch: Epoch, begun: Instant) {
        *self.known() = Seeing { epoch: Some(epoch), begun: Some(begun) };
    }
}

/// Tokens that were found alive, and where their ancestors lie: these never change. Whether all of them live is read each time.
#[derive(Default)]
pub(super) struct Lineages(Mutex<HashMap<TokenName, Arc<[Place]>>>);

impl Lineages {
    fn known(&self) -> MutexGuard<'_, HashMap<TokenName, Arc<[Place]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, name: &TokenName) -> Option<Arc<[Place]>> {
        self.known().get(name).cloned()
    }

    fn learn(&self, live: &Live) {
        let ancestors = &live.entry.ancestors;
        let mut known = self.known();
        if ancestors.len() > MOST_ANCESTORS || known.contains_key(&live.name) {
            return;
        }
        if known.len() >= MOST_LINEAGES {
            known.clear();
        }
        known.insert(live.name.clone(), ancestors.iter().map(|ancestor| place_of(&ancestor.name)).collect());
    }

    fn forget(&self, name: &TokenName) {
        self.known().remove(name);
    }
}

fn place_of(token: &TokenName) -> Place {
    Place::of(Key::new(SYSTEM_KEYSPACE, &token.key()))
}

impl Core {
    /// Reads what a request with this token, for this secret, needs first; and takes over what other hosts have changed, so that
    /// it binds every request that begins after it. A secret is read ahead only for a token that was alive before: strangers give
    /// nobody work.
    ///
    /// # Errors
    ///
    /// The store's; `Sealed` where the keys were changed on another host, so that this one had to seal itself.
    pub async fn arrive(
        &self,
        unsealed: &Arc<Unsealed>,
        work: &Work,
        token: Option<&Token>,
        secret: Option<Place>,
    ) -> Result<Ahead, CoreError> {
        let others = epoch::others(&self.system, work).map_err(SystemError::from)?;
        let mut places = Vec::new();
        if others == Others::Tell {
            places.push(Place::of(epoch::place()));
        }
        let name = token.filter(|token| token.is_plausible()).map(|token| unsealed.tokens(work).name(token));
        let mut secret = secret;
        if let Some(name) = &name {
            places.push(place_of(name));
            match unsealed.lineages.of(name) {
                Some(ancestors) => places.extend_from_slice(&ancestors),
                None => secret = None,
            }
        }
        let policies = unsealed.policies.clock();
        let ahead = self.read_ahead(work, places, secret).await?;
        let read = Instant::now();
        match others {
            Others::Absent => {}
            Others::Tell => {
                let epoch = Epoch::of(ahead.get(epoch::place()).flatten());
                self.take_over(unsealed, work, epoch, read).await?;
            }
            Others::Silent => {
                if let Some(token) = token {
                    self.catch_up_for(unsealed, work, token, &ahead).await?;
                }
            }
        }
        Ok(ahead.at(policies))
    }

    /// A secret that cannot be read is no reason not to look at the token.
    async fn read_ahead(
        &self,
        work: &Work,
        places: Vec<Place>,
        secret: Option<Place>,
    ) -> Result<Ahead, SystemError> {
        if let Some(secret) = secret {
            let all = [places.as_slice(), &[secret]].concat();
            match self.system.read_ahead(work, all).await {
                Err(error) if !error.is_temporary() => {}
                read => return Ok(read?),
            }
        }
        Ok(self.system.read_ahead(work, places).await?)
    }

    /// Reads everything again for whoever shows a token that is alive.
    async fn catch_up_for(
        &self,
        unsealed: &Arc<Unsealed>,
        work: &Work,
        token: &Token,
        ahead: &Ahead,
    ) -> Result<(), CoreError> {
        match unsealed.tokens(work).having_read(ahead).lookup(token).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => self.catch_up(unsealed, work).await,
            Err(error) => {
                // The keys may be others by now.
                self.read_keys_again(unsealed, work).await?;
                Err(error.into())
            }
        }
    }

    /// As [`arrive`](Self::arrive), for work that no request asked for.
    pub(super) async fn keep_up(&self, work: &Work, unsealed: &Arc<Unsealed>) -> Result<(), CoreError> {
        match epoch::others(&self.system, work).map_err(SystemError::from)? {
            Others::Absent => Ok(()),
            Others::Tell => self.arrive(unsealed, work, None, None).await.map(|_| ()),
            Others::Silent => self.catch_up(unsealed, work).await,
        }
    }

    /// The place of a secret's first record, where it is in the system's store, too.
    pub fn place_in_system(&self, mount: &Mount, path: &SecretPath) -> Option<Place> {
        (mount.backend == self.system.name()).then(|| secrets::place_of(mount, path))
    }

    /// Takes over what others have changed, where the mark that was read at `read` is not the one that is known.
    async fn take_over(
        &self,
        unsealed: &Arc<Unsealed>,
        work: &Work,
        epoch: Epoch,
        read: Instant,
    ) -> Result<(), CoreError> {
        if unsealed.seen.is(&epoch) {
            return Ok(());
        }
        let _turn = unsealed.seen.turn.lock().await;
        if unsealed.seen.is(&epoch) || unsealed.seen.is_newer_than(read) {
            return Ok(());
        }
        let begun = Instant::now();
        self.catch_up(unsealed, work).await?;
        // What was read is of this epoch or a later one, which the next request finds then.
        unsealed.seen.set(epoch, begun);
        Ok(())
    }

    /// Reads again what this host keeps in memory. Broken off, it begins anew with the next request.
    async fn catch_up(&self, unsealed: &Arc<Unsealed>, work: &Work) -> Result<(), CoreError> {
        // The keys first: with others nothing else can be opened.
        self.read_keys_again(unsealed, work).await?;
        unsealed.policies.forget();
        unsealed.mounts.refresh(work).await?;
        unsealed.keep_admitted();
        self.read_audit_devices_again(unsealed, work).await
    }

    /// Reads the keyring again. A host whose root key is another's by now seals itself: it could not write much longer, and
    /// whoever has changed the keys wants that the former ones serve nobody. Unless they are of a rekeying of its own.
    ///
    /// # Errors
    ///
    /// `Sealed`, then; and the store's.
    pub async fn read_keys_again(&self, unsealed: &Arc<Unsealed>, work: &Work) -> Result<(), CoreError> {
        match unsealed.barrier.read_again(work).await {
            Err(BarrierError::Rekeyed) if self.finds_its_own_keys(work, unsealed).await? => Ok(()),
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
    /// Remembers a token that is alive, and what the next request with it reads first.
    pub(super) fn learn(&self, live: &Live) {
        self.lineages.learn(live);
    }

    /// A token that is not alive.
    pub(super) fn unlearn(&self, token: &TokenName) {
        self.lineages.forget(token);
    }
}
