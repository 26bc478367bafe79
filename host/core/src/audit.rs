//! The audit log: who asked for what, and the answers. Each line goes to every device. If no device accepts a
//! request's line, the request is refused; if none accepts its response's line, the response is withheld.
//!
//! [`spec`] has the settings of devices; [`device`] is a device with its own thread, and [`file`] and
//! [`socket`] are its targets. [`entry`] has the contents of a line, [`redact`] puts hashes in the place of
//! values, [`chain`] links each line to the one before, and [`verify`] follows the links.

pub mod chain;
mod device;
pub mod entry;
mod file;
pub mod redact;
pub mod refusal;
mod sink;
mod socket;
pub mod spec;
pub mod verify;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::sync::mpsc;

pub use self::device::{Device, Figures};
use self::spec::Spec;

/// How long a request waits for the first device that accepts its line.
const ACCEPT: Duration = Duration::from_secs(2);
/// How long the devices may take for queued lines when the server ends.
const DRAIN: Duration = Duration::from_secs(2);

/// What the configuration says about the audit log.
#[derive(Debug, Clone, Default)]
pub struct AuditSettings {
    /// The devices of the configuration.
    pub devices: Vec<Spec>,
    /// Whether the API may add devices.
    pub api: bool,
    /// Directories in which no device may write.
    pub forbidden: Vec<PathBuf>,
}

/// Why a line is not in the audit log.
#[derive(Debug, Error)]
pub enum AuditError {
    /// No device has accepted it.
    #[error("no audit device accepts a line: {reasons}")]
    NotAccepted {
        /// What each device says.
        reasons: String,
    },
    /// A device cannot be opened.
    #[error("the audit device {name:?} cannot be used: {reason}")]
    Unusable {
        /// Which device.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The devices of a server.
pub struct Audit {
    settings: AuditSettings,
    configured: Vec<Arc<Device>>,
    /// Devices that the API has added; known while the server is unsealed.
    added: RwLock<Vec<Arc<Device>>>,
}

impl Audit {
    /// Starts the devices of the configuration. One that cannot write yet is tried again with each line.
    pub fn start(settings: AuditSettings) -> Self {
        let configured: Vec<_> =
            settings.devices.iter().map(|spec| Arc::new(Device::start(spec, &settings.forbidden))).collect();
        for device in &configured {
            device.open();
            let Spec { name, target, .. } = device.spec();
            tracing::info!(name, target = %target, "audit device");
        }
        Self { settings, configured, added: RwLock::default() }
    }

    /// Whether the API may add devices.
    pub(crate) fn has_api(&self) -> bool {
        self.settings.api
    }

    /// Whether a device of this name stands in the configuration.
    pub fn is_configured(&self, name: &str) -> bool {
        self.configured.iter().any(|device| device.spec().name == name)
    }

    /// The devices as they are now, those of the configuration first.
    pub fn devices(&self) -> Devices {
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        Devices(self.configured.iter().chain(&*added).cloned().collect())
    }

    /// Whether a device like this could write.
    ///
    /// # Errors
    ///
    /// `Unusable`.
    pub async fn check(&self, spec: &Spec) -> Result<(), AuditError> {
        let device = Device::start(spec, &self.settings.forbidden);
        let (told, mut answers) = mpsc::channel(1);
        device.probe(told);
        let unusable = |reason| AuditError::Unusable { name: spec.name.clone(), reason };
        match tokio::time::timeout(ACCEPT, answers.recv()).await {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(reason))) => Err(unusable(reason)),
            Ok(None) | Err(_) => Err(unusable(format!("it does not answer within {} s", ACCEPT.as_secs()))),
        }
    }

    /// Makes these the only devices besides the configured ones. Devices that exist already go on.
    pub fn have(&self, specs: &[Spec]) {
        let mut added = self.added.write().unwrap_or_else(PoisonError::into_inner);
        let wanted = specs.iter().filter(|spec| !self.is_configured(&spec.name));
        *added = wanted
            .map(|spec| {
                let present = added.iter().find(|device| device.spec() == spec);
                present.map_or_else(|| self.open(spec), Arc::clone)
            })
            .collect();
    }

    fn open(&self, spec: &Spec) -> Arc<Device> {
        let device = Device::start(spec, &self.settings.forbidden);
        device.open();
        Arc::new(device)
    }

    /// Whether a line would be accepted, as far as is known: there is no device, or one accepts.
    pub fn accepts(&self) -> bool {
        let devices = self.devices();
        devices.are_none() || devices.iter().any(Device::is_up)
    }

    /// Waits until the devices have written what they were given, or for two seconds.
    pub async fn drain(&self) {
        let begun = Instant::now();
        while self.devices().0.iter().any(|device| device.is_behind()) && begun.elapsed() < DRAIN {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The devices at one moment; a request keeps the ones that it began with.
#[derive(Clone, Default)]
pub struct Devices(Vec<Arc<Device>>);

impl Devices {
    /// Whether there is none, so that nothing is written.
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.0.iter().map(|device| &**device)
    }

    /// Gives an entry to all devices, and waits until one has accepted it.
    ///
    /// # Errors
    ///
    /// `NotAccepted` if no device accepts it within two seconds, or each of them says that it cannot.
    pub async fn accept(&self, entry: String) -> Result<(), AuditError> {
        if self.are_none() {
            return Ok(());
        }
        let (told, mut answers) = mpsc::channel(self.0.len());
        let entry: Arc<str> = entry.into();
        for device in &self.0 {
            device.take(Arc::clone(&entry), told.clone());
        }
        drop(told);
        let first = async {
            let mut reasons = Vec::new();
            while let Some(answer) = answers.recv().await {
                match answer {
                    Ok(()) => return Ok(()),
                    Err(reason) => reasons.push(reason),
                }
            }
            Err(AuditError::NotAccepted { reasons: reasons.join("; ") })
        };
        let waited = || {
            let reasons = format!("none has answered within {} s", ACCEPT.as_secs());
            Err(AuditError::NotAccepted { reasons })
        };
        tokio::time::timeout(ACCEPT, first).await.unwrap_or_else(|_| waited())
    }
}
