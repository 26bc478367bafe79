//! Servers over stores that outlive them.

use std::{path::Path, sync::Arc};

use keyway_common::metrics::Metrics;
use keyway_core::{
    Core, CoreError, CoreSettings, Unsealed,
    seal::{Initialised, ShareCounts},
    token::Token,
};
use keyway_loader::Backends;
use keyway_storage::prefetch::Prefetched;
use tempfile::TempDir;

use crate::chaos::{Disk, REQUEST};

/// A server over two stores and a data directory, which outlive it.
pub(crate) struct Site {
    pub(crate) main: Disk,
    pub(crate) other: Disk,
    pub(crate) data_dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let data_dir = TempDir::new().unwrap();
        Self { main: Disk::durable(), other: Disk::durable(), data_dir }
    }

    pub(crate) async fn start(&self) -> Arc<Core> {
        start(&self.main, &self.other, self.data_dir.path()).await
    }

    /// A new cluster, unsealed.
    pub(crate) async fn begin(&self) -> (Arc<Core>, Initialised) {
        let core = self.start().await;
        let made = core.seal_control().init(&REQUEST, ShareCounts::new(1, 1).unwrap(), false).await.unwrap();
        (unsealed(core, &made).await, made)
    }
}

pub(crate) async fn start(main: &Disk, other: &Disk, data_dir: &Path) -> Arc<Core> {
    Arc::new(try_start(main, other, data_dir).await.unwrap())
}

pub(crate) async fn try_start(main: &Disk, other: &Disk, data_dir: &Path) -> Result<Core, CoreError> {
    let mut backends = Backends::default();
    backends.register(main.generation("main").await);
    backends.register(other.generation("other").await);
    let settings = CoreSettings {
        audit: keyway_core::audit::AuditSettings::default(),
        passwords: false,
        system_backend: "main".to_owned(),
        mounts: Default::default(),
        key_uses: Default::default(),
        key_age: None,
        data_dir: data_dir.to_owned(),
        calls: Default::default(),
    };
    Core::new(&backends, settings, &Metrics::new())
}

pub(crate) async fn unsealed(core: Arc<Core>, made: &Initialised) -> Arc<Core> {
    let share = keyway_crypto::shares::Share::from_bytes(made.shares[0].expose()).unwrap();
    assert!(!core.seal_control().unseal(&REQUEST, share).await.unwrap().sealed);
    core
}

pub(crate) async fn authorised(core: &Core, made: &Initialised) -> Arc<Unsealed> {
    let unsealed = core.unsealed().unwrap();
    let token = Token::presented(made.root_token.expose());
    let caller = core.caller(&unsealed, &REQUEST, Some(&token), None, &Prefetched::default()).await.unwrap();
    assert!(caller.acl.is_root());
    unsealed
}
