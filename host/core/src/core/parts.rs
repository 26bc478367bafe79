//! The core's operations in parts, each with one job.

use std::sync::Arc;

use super::Core;

/// Seals and unseals the server, by shares and by password, and knows its cluster.
#[derive(Clone, Copy)]
pub struct SealControl<'a>(pub(in crate::core) &'a Arc<Core>);

/// Rekeys, and generates root tokens from shares.
#[derive(Clone, Copy)]
pub struct Ceremonies<'a>(pub(in crate::core) &'a Arc<Core>);

/// Mounts, moves, unmounts and upgrades secrets engines, moves auth methods, and seals old records again with the
/// newest key.
#[derive(Clone, Copy)]
pub struct MountControl<'a>(pub(in crate::core) &'a Arc<Core>);

/// Adds and removes audit devices.
#[derive(Clone, Copy)]
pub struct AuditDevices<'a>(pub(in crate::core) &'a Arc<Core>);

/// Swaps backends, and upgrades their data formats.
#[derive(Clone, Copy)]
pub struct Swapping<'a>(pub(in crate::core) &'a Arc<Core>);

/// Prefetches what a request needs, and follows what other hosts have changed.
#[derive(Clone, Copy)]
pub struct HostSync<'a>(pub(in crate::core) &'a Arc<Core>);

/// Removes what has expired, and finishes what was interrupted.
#[derive(Clone, Copy)]
pub struct Housekeeping<'a>(pub(in crate::core) &'a Arc<Core>);

impl Core {
    /// The seal.
    pub fn seal_control(self: &Arc<Self>) -> SealControl<'_> {
        SealControl(self)
    }

    /// What the holders of the shares do together.
    pub fn ceremonies(self: &Arc<Self>) -> Ceremonies<'_> {
        Ceremonies(self)
    }

    /// The mounts.
    pub fn mount_control(self: &Arc<Self>) -> MountControl<'_> {
        MountControl(self)
    }

    /// The audit devices that the API adds.
    pub fn audit_devices(self: &Arc<Self>) -> AuditDevices<'_> {
        AuditDevices(self)
    }

    /// Swaps of backends.
    pub fn swapping(self: &Arc<Self>) -> Swapping<'_> {
        Swapping(self)
    }

    /// What this host knows of the others.
    pub fn host_sync(self: &Arc<Self>) -> HostSync<'_> {
        HostSync(self)
    }

    /// Background work on records.
    pub fn housekeeping(self: &Arc<Self>) -> Housekeeping<'_> {
        Housekeeping(self)
    }
}
