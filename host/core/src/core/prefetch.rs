//! The prefetch of a request: its token, its secret, and whether other hosts have changed records that this
//! one caches. All of it takes one call of the system's store.

use std::{sync::Arc, time::Instant};

use keyway_storage::{
    Work,
    epoch::{self, Epoch, PeerSync},
    prefetch::{Prefetched, RecordKey},
};

use super::{CoreError, HostSync, Unsealed, unsealed::token_record};
use crate::{
    barrier::BarrierError,
    mounts::Mount,
    secrets::{self, SecretPath},
    system::SystemError,
    token::Token,
};

impl HostSync<'_> {
    /// Prefetches what a request with this token, for this secret, needs first. It also takes over what other
    /// hosts have changed, which then binds every request that begins later. A secret is prefetched only if
    /// the token was valid before, so that strangers cause no such work.
    ///
    /// # Errors
    ///
    /// The store's; `Sealed` if another host has changed the keys, so that this one had to seal itself.
    pub async fn prefetch(
        self,
        unsealed: &Arc<Unsealed>,
        work: &Work,
        token: Option<&Token>,
        secret: Option<RecordKey>,
    ) -> Result<Prefetched, CoreError> {
        let others = epoch::peer_sync(&self.0.backends.system, work).map_err(SystemError::from)?;
        let mut records = Vec::new();
        if others == PeerSync::Epoch {
            records.push(RecordKey::of(epoch::place()));
        }
        let name = token.filter(|token| token.is_plausible()).map(|token| unsealed.tokens(work).name(token));
        let mut secret = secret;
        if let Some(name) = &name {
            records.push(token_record(name));
            match unsealed.lineages.of(name) {
                Some(ancestors) => records.extend_from_slice(&ancestors),
                None => secret = None,
            }
        }
        let policies = unsealed.policies.clock();
        let prefetched = self.prefetch_all(work, records, secret).await?;
        let read = Instant::now();
        match others {
            PeerSync::None => {}
            PeerSync::Epoch => {
                let epoch = Epoch::of(prefetched.get(epoch::place()).flatten());
                self.take_over(unsealed, work, epoch, read).await?;
            }
            PeerSync::RereadAll => {
                if let Some(token) = token {
                    self.catch_up_for(unsealed, work, token, &prefetched).await?;
                }
            }
        }
        Ok(prefetched.at(policies))
    }

    /// A secret that cannot be read is no reason not to look at the token.
    async fn prefetch_all(
        self,
        work: &Work,
        records: Vec<RecordKey>,
        secret: Option<RecordKey>,
    ) -> Result<Prefetched, SystemError> {
        if let Some(secret) = secret {
            let all = [records.as_slice(), &[secret]].concat();
            match self.0.backends.system.prefetch(work, all).await {
                Err(error) if !error.is_transient() => {}
                read => return Ok(read?),
            }
        }
        Ok(self.0.backends.system.prefetch(work, records).await?)
    }

    /// Reads everything again if the token is valid.
    async fn catch_up_for(
        self,
        unsealed: &Arc<Unsealed>,
        work: &Work,
        token: &Token,
        prefetched: &Prefetched,
    ) -> Result<(), CoreError> {
        match unsealed.tokens(work).with_prefetched(prefetched).lookup(token).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => self.catch_up(unsealed, work).await,
            Err(error) => {
                // The keys may be others by now.
                self.read_keys_again(unsealed, work).await?;
                Err(error.into())
            }
        }
    }

    /// As [`prefetch`](Self::prefetch), for work that no request asked for.
    pub(super) async fn keep_up(self, work: &Work, unsealed: &Arc<Unsealed>) -> Result<(), CoreError> {
        match epoch::peer_sync(&self.0.backends.system, work).map_err(SystemError::from)? {
            PeerSync::None => Ok(()),
            PeerSync::Epoch => self.prefetch(unsealed, work, None, None).await.map(|_| ()),
            PeerSync::RereadAll => self.catch_up(unsealed, work).await,
        }
    }

    /// The place of a secret's first record, if it is in the system's store, too.
    pub fn key_in_system(self, mount: &Mount, path: &SecretPath) -> Option<RecordKey> {
        (mount.backend == self.0.backends.system.name()).then(|| secrets::first_record(mount, path))
    }

    /// Takes over changes of other hosts, if the mark that was read at `read` is not the known one.
    async fn take_over(
        self,
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

    /// Reads again what this host keeps in memory. Broken off, it begins again with the next request.
    async fn catch_up(self, unsealed: &Arc<Unsealed>, work: &Work) -> Result<(), CoreError> {
        // The keys first: with others nothing else can be opened.
        self.read_keys_again(unsealed, work).await?;
        unsealed.policies.forget();
        unsealed.mounts.refresh(work).await?;
        unsealed.keep_admitted();
        self.0.audit_devices().read_audit_devices_again(unsealed, work).await
    }

    /// Reads the keyring again. If another host has replaced the root key, this host seals itself: it could
    /// not write much longer, and the former keys must serve no one. It stays unsealed if the new keys come
    /// from its own rekey.
    ///
    /// # Errors
    ///
    /// `Sealed`, then; and the store's.
    pub async fn read_keys_again(self, unsealed: &Arc<Unsealed>, work: &Work) -> Result<(), CoreError> {
        match unsealed.barrier.read_again(work).await {
            Err(BarrierError::Rekeyed) if self.0.ceremonies().finds_its_own_keys(work, unsealed).await? => {
                Ok(())
            }
            Err(error @ BarrierError::Rekeyed) => {
                if self.0.seal_control().seal_this(unsealed) {
                    tracing::error!(%error, "sealed");
                }
                Err(CoreError::Sealed)
            }
            read => Ok(read?),
        }
    }
}
