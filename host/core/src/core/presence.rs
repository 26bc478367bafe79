//! Presence: which hosts serve from a store that several hosts share. Each unsealed host writes a record of
//! itself, which expires when the host falls silent. Operators see these records (`sys/ha-status`). Nothing
//! else depends on them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use keyway_common::clock;
use keyway_loader::{Delete, Key, Put, Scan};
use keyway_storage::{
    BACKGROUND, SYSTEM_KEYSPACE, StorageError, Work,
    epoch::{self, PeerSync},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Core, HostSync};

const PREFIX: &str = "host/";
/// How often a host writes its record.
const ECHO: Duration = Duration::from_secs(10);
/// How long a silent host is still shown.
const SHOWN: Duration = Duration::from_secs(30);
/// The most hosts that are shown.
const MOST: u32 = 1_000;

/// What a host says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    /// The machine's name.
    pub hostname: String,
    /// Keyway's version.
    pub version: String,
    /// When the host wrote this, by its own clock, in RFC 3339. Empty if it has no other host to tell.
    pub last_echo: String,
}

/// Writes this host's record, from unsealing to sealing.
pub(super) async fn run(core: Weak<Core>, stop: Arc<Notify>) {
    loop {
        let Some(serving) = core.upgrade().filter(|core| core.unsealed().is_ok()) else { break };
        if let Err(error) = serving.host_sync().echo().await {
            tracing::debug!(%error, "this host could not write that it serves");
        }
        drop(serving);
        tokio::select! {
            () = tokio::time::sleep(ECHO) => {}
            () = stop.notified() => break,
        }
    }
    // Unsealed again, another task writes the record.
    if let Some(sealed) = core.upgrade().filter(|core| core.unsealed().is_err())
        && let Err(error) = sealed.host_sync().withdraw().await
    {
        tracing::debug!(%error, "this host is shown as serving until its record expires");
    }
}

impl HostSync<'_> {
    /// The hosts that serve from the system's store, this one first.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn hosts(self, work: &Work) -> Result<Vec<Host>, StorageError> {
        let mut hosts = vec![this_host()];
        if !self.tells_others(work)? {
            return Ok(hosts);
        }
        let own = key(self.0.presence.id);
        let mut cursor = Vec::new();
        loop {
            let scan = Scan::prefix(SYSTEM_KEYSPACE, PREFIX.as_bytes()).with_max_items(MOST);
            let page = self.0.backends.system.scan(work, scan.resuming_at(&cursor)).await?;
            for entry in page.entries() {
                // A record that this version does not understand is another version's.
                let Ok(host) = serde_json::from_slice::<Host>(entry.record().value()) else { continue };
                match hosts.first_mut().filter(|_| entry.key() == own) {
                    Some(this) => *this = host,
                    None => hosts.push(host),
                }
            }
            match page.cursor() {
                Some(next) if hosts.len() < MOST as usize => cursor = next.to_vec(),
                _ => return Ok(hosts),
            }
        }
    }

    /// Whether other hosts may read records that expire.
    fn tells_others(self, work: &Work) -> Result<bool, StorageError> {
        Ok(epoch::peer_sync(&self.0.backends.system, work)? != PeerSync::None
            && self.0.backends.system.has_expiry(work))
    }

    async fn echo(self) -> Result<(), StorageError> {
        if !self.tells_others(&BACKGROUND)? {
            return Ok(());
        }
        let host = Host { last_echo: clock::now(), ..this_host() };
        let text = serde_json::to_vec(&host).expect("a host is plain data");
        let key = key(self.0.presence.id);
        let expires = clock::unix_seconds().saturating_add(SHOWN.as_secs()).saturating_mul(1_000);
        let put = Put::new(Key::new(SYSTEM_KEYSPACE, &key), &text).expiring_at_ms(expires);
        self.0.backends.system.put(&BACKGROUND, put).await.map(|_| ())
    }

    async fn withdraw(self) -> Result<(), StorageError> {
        if self.tells_others(&BACKGROUND)? {
            let key = key(self.0.presence.id);
            self.0.backends.system.delete(&BACKGROUND, Delete::new(Key::new(SYSTEM_KEYSPACE, &key))).await?;
        }
        Ok(())
    }
}

fn key(host: Uuid) -> Vec<u8> {
    format!("{PREFIX}{host}").into_bytes()
}

fn this_host() -> Host {
    Host {
        hostname: sysinfo::System::host_name().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        last_echo: String::new(),
    }
}
