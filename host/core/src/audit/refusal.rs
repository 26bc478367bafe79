//! The refusals of changes of audit devices.

use thiserror::Error;

use super::AuditError;

/// The most devices that the API adds.
pub(crate) const MAX_ADDED: usize = 16;

/// Why an audit device is not added or removed.
#[derive(Debug, Error)]
pub enum DeviceRefusal {
    /// The configuration lets the API add no devices.
    #[error("audit devices come from the configuration; [audit] api = true lets the API add others")]
    NoApi,
    /// The description is wrong.
    #[error("{reason}")]
    Invalid {
        /// Which option, and why.
        reason: String,
    },
    /// A device has this name.
    #[error("there is an audit device {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// The device does not write.
    #[error(transparent)]
    Unusable(#[from] AuditError),
    /// There are enough.
    #[error("there are {MAX_ADDED} audit devices already")]
    TooMany,
    /// The configuration names the device.
    #[error("the audit device {name:?} stands in the configuration; remove it there")]
    Configured {
        /// The name.
        name: String,
    },
    /// The server ends.
    #[error("the server is stopping")]
    Stopping,
}
