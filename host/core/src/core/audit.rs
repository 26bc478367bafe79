//! Audit devices that were added while the server runs: one record of the system's, of which all hosts read.

use std::sync::Arc;

use keyway_common::offload;
use keyway_crypto::envelope::RecordKind;
use keyway_storage::Work;

use super::{AuditDevices, CoreError, Unsealed};
use crate::{
    audit::{
        refusal::{DeviceRefusal, MAX_ADDED},
        spec::{DeviceRecord, Spec},
    },
    barrier::Barrier,
    system::{Next, Records},
};

const KEY: &[u8] = b"audit/devices";

impl AuditDevices<'_> {
    /// Adds an audit device.
    ///
    /// # Errors
    ///
    /// `AuditDevice` if the configuration does not allow it, there is one of that name, or it cannot be used;
    /// and the store's.
    pub async fn add(self, work: &Work, device: DeviceRecord) -> Result<(), CoreError> {
        if !self.0.audit.has_api() {
            return Err(DeviceRefusal::NoApi.into());
        }
        let spec = device.parse().map_err(|reason| DeviceRefusal::Invalid { reason })?;
        let name = spec.name.clone();
        let exists = move || CoreError::from(DeviceRefusal::Exists { name: name.clone() });
        if self.0.audit.devices().iter().any(|known| known.spec().name == spec.name) {
            return Err(exists());
        }
        self.0.audit.check(&spec).await.map_err(DeviceRefusal::from)?;
        self.edit_devices(work, move |devices: &mut Vec<DeviceRecord>| {
            if devices.iter().any(|known| known.name == device.name) {
                return Err(exists());
            }
            if devices.len() >= MAX_ADDED {
                return Err(DeviceRefusal::TooMany.into());
            }
            devices.push(device.clone());
            Ok(())
        })
        .await?;
        tracing::info!(name = spec.name, target = %spec.target, "an audit device was added");
        Ok(())
    }

    /// Removes an audit device that was added; one that is not there is gone.
    ///
    /// # Errors
    ///
    /// `AuditDevice` if it stands in the configuration; and the store's.
    pub async fn remove(self, work: &Work, name: &str) -> Result<(), CoreError> {
        if self.0.audit.is_configured(name) {
            return Err(DeviceRefusal::Configured { name: name.to_owned() }.into());
        }
        let gone = name.to_owned();
        self.edit_devices(work, move |devices: &mut Vec<DeviceRecord>| {
            devices.retain(|known| known.name != gone);
            Ok(())
        })
        .await?;
        tracing::info!(name, "an audit device was removed");
        Ok(())
    }

    /// The devices that were added so far.
    pub(super) async fn stored(self, barrier: &Barrier, work: &Work) -> Result<Vec<Spec>, CoreError> {
        let held =
            Records::new(barrier, work).get::<Vec<DeviceRecord>>(RecordKind::AuditDevices, KEY).await?;
        Ok(specs(&held.map(|held| held.value).unwrap_or_default()))
    }

    /// Adds the devices that other hosts have added, and drops those that they have removed.
    pub(super) async fn read_audit_devices_again(
        self,
        unsealed: &Unsealed,
        work: &Work,
    ) -> Result<(), CoreError> {
        let _turn = self.0.devices_turn.lock().await;
        let devices = self.stored(&unsealed.barrier, work).await?;
        self.have_devices(&devices);
        Ok(())
    }

    /// Changes the devices in the store, and then the running ones. Goes on to its end even if the caller
    /// stops waiting.
    async fn edit_devices(
        self,
        work: &Work,
        edit: impl Fn(&mut Vec<DeviceRecord>) -> Result<(), CoreError> + Send + Sync + 'static,
    ) -> Result<(), CoreError> {
        let core = Arc::clone(self.0);
        let work = work.clone();
        let edited =
            offload::spawn(async move { core.audit_devices().edit_devices_in_turn(&work, edit).await });
        edited.await.unwrap_or_else(|_| Err(DeviceRefusal::Stopping.into()))
    }

    async fn edit_devices_in_turn(
        self,
        work: &Work,
        edit: impl Fn(&mut Vec<DeviceRecord>) -> Result<(), CoreError> + Sync,
    ) -> Result<(), CoreError> {
        let _turn = self.0.devices_turn.lock().await;
        let unsealed = self.0.unsealed()?;
        let devices: Vec<DeviceRecord> = unsealed
            .records(work)
            .kept_by_hosts()
            .change(RecordKind::AuditDevices, KEY, |devices: Option<Vec<DeviceRecord>>| {
                let mut devices = devices.unwrap_or_default();
                edit(&mut devices)?;
                let next = if devices.is_empty() { Next::Remove } else { Next::Put(devices.clone()) };
                Ok::<_, CoreError>((next, devices))
            })
            .await?;
        self.have_devices(&specs(&devices));
        Ok(())
    }

    /// Does nothing after a seal, which has removed the devices.
    fn have_devices(self, devices: &[Spec]) {
        let _progress = self.0.sealing.progress();
        if self.0.unsealed().is_ok() {
            self.0.audit.have(devices);
        }
    }
}

/// What a later version has written is left out, and said.
fn specs(devices: &[DeviceRecord]) -> Vec<Spec> {
    let spec = |device: &DeviceRecord| match device.parse() {
        Ok(spec) => Some(spec),
        Err(error) => {
            tracing::error!(error, name = device.name, "an audit device that was added cannot be used");
            None
        }
    };
    devices.iter().filter_map(spec).collect()
}
