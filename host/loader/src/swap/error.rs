//! Why a backend was not swapped.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::TryAcquireError;

use crate::{
    Chain, ConfigureError, Down, Error as StoreError, LoadError, archive::ArchiveError, loader::StageFailure,
    readback::ReadbackError, report::Fix,
};

/// Why a new generation does not serve.
#[derive(Debug, Error)]
pub enum Unready {
    /// Its store could not be opened, or is not healthy.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// It answers wrongly, or is another store.
    #[error(transparent)]
    Readback(#[from] ReadbackError),
}

/// Why a backend was not swapped or upgraded. The generation that served before serves on, but for
/// [`Self::is_loss`].
#[derive(Debug, Error)]
pub enum SwapError {
    /// Another task swaps or opens it now.
    #[error("the backend is being opened or swapped already")]
    Busy,
    /// The server stops, and closes its backends.
    #[error("the backend is being closed: the server stops")]
    Stopping,
    /// There is nothing to be swapped.
    #[error("the backend is not open: {}", .0.reason)]
    NotOpen(Down),
    /// No plugin can be used.
    #[error(transparent)]
    Load(Box<LoadError>),
    /// A newer version than the one that serves is there, and cannot be used.
    #[error("nothing newer than what serves can be used: {0}")]
    NothingNewer(Box<LoadError>),
    /// Nothing served before.
    #[error("the backend was never opened with another plugin, so there is none to go back to")]
    NoPrevious,
    /// What served before cannot be used any more.
    #[error("{plugin}, which served before, cannot be used: {failure}")]
    Previous {
        /// Its name and version.
        plugin: String,
        /// Why.
        failure: Box<StageFailure>,
    },
    /// Its records would be lost.
    #[error("plugin {plugin} keeps its records in memory: a swap loses them")]
    Volatile {
        /// Its name and version.
        plugin: String,
    },
    /// Its records are in its store, and stay there.
    #[error("plugin {plugin} keeps its records in its store, where the next generation finds them")]
    NotVolatile {
        /// Its name and version.
        plugin: String,
    },
    /// It promises less than what serves, which the server has relied on.
    #[error("it promises less of {what} than what serves now")]
    Promises {
        /// Which level, feature or limit.
        what: &'static str,
    },
    /// It could not be opened or tried.
    #[error(transparent)]
    Unready(Unready),
    /// What serves cannot be written to.
    #[error("what serves now cannot be tried")]
    Mark(#[source] ReadbackError),
    /// A step took too long.
    #[error("{what} took longer than {} ms", deadline.as_millis())]
    Late {
        /// Which step.
        what: &'static str,
        /// How long it may take.
        deadline: Duration,
    },
    /// What serves does not close.
    #[error("what serves now does not close")]
    Close {
        /// The backend's words.
        source: StoreError,
    },
    /// The records could not be copied.
    #[error("the records could not be copied")]
    Copy {
        /// A backend's words.
        source: StoreError,
    },
    /// There is nothing to upgrade.
    #[error("its data format, {format}, is its plugin's newest already")]
    NewestFormat {
        /// Which.
        format: u32,
    },
    /// There is no backup to go back to.
    #[error("the backup before the upgrade could not be made")]
    Backup {
        /// Why.
        source: Box<ArchiveError>,
    },
    /// The upgrade has failed.
    #[error("the upgrade has failed, and the store has data format {format}")]
    Upgrade {
        /// The backend's words.
        source: StoreError,
        /// Which it has.
        format: u32,
    },
    /// The backend says that it has upgraded, and has not.
    #[error("the backend says that it has upgraded its store, which has data format {format} as before")]
    NotUpgraded {
        /// Which.
        format: u32,
    },
    /// It is upgraded, or not, and down.
    #[error("the store does not open again after its upgrade: {}", Chain(reopening.as_ref()))]
    NotReopened {
        /// Why not.
        reopening: Box<SwapError>,
    },
    /// Another swap was quicker.
    #[error("another swap was made meanwhile")]
    Overtaken,
    /// Its task has ended.
    #[error("the swap has broken off: {reason}")]
    Interrupted {
        /// How.
        reason: String,
    },
    /// It failed, and what served before does not open again either.
    #[error("{swap}; and what served before does not open again: {}", Chain(reopening.as_ref()))]
    Lost {
        /// Why the swap failed.
        swap: Box<SwapError>,
        /// Why the former plugin does not open its store.
        reopening: Box<SwapError>,
    },
}

impl From<TryAcquireError> for SwapError {
    fn from(error: TryAcquireError) -> Self {
        match error {
            TryAcquireError::NoPermits => Self::Busy,
            TryAcquireError::Closed => Self::Stopping,
        }
    }
}

impl From<ConfigureError> for SwapError {
    fn from(error: ConfigureError) -> Self {
        Self::Unready(error.into())
    }
}

impl From<ReadbackError> for SwapError {
    fn from(error: ReadbackError) -> Self {
        Self::Unready(error.into())
    }
}

impl SwapError {
    /// Whether nothing serves now.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::NotReopened { .. })
    }

    /// Whether it lies in what was asked for, and nothing was tried.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Load(_)
                | Self::NothingNewer(_)
                | Self::NoPrevious
                | Self::Previous { .. }
                | Self::Volatile { .. }
                | Self::NotVolatile { .. }
                | Self::Promises { .. }
                | Self::NewestFormat { .. }
                | Self::Overtaken
                | Self::Unready(Unready::Configure(ConfigureError::Invalid { .. }))
        )
    }
}

impl Fix for SwapError {
    fn fix(&self) -> String {
        match self {
            Self::Busy => "wait until that has ended".to_owned(),
            Self::Stopping => "swap it after the next start".to_owned(),
            Self::NotOpen(_) => "mend what keeps it from opening, and open it: keyway backend swap".to_owned(),
            Self::Load(_) | Self::NothingNewer(_) => "see the fixes above".to_owned(),
            Self::NoPrevious => "name the version: swap NAME --plugin NAME@=VERSION".to_owned(),
            Self::Previous { failure, .. } => match &**failure {
                StageFailure::Format { .. } => {
                    "stop the server and put back the copy of the store from before its upgrade (operations manual, \"Back \
                     over an upgrade of the data format\"); what was written since is not in it"
                        .to_owned()
                }
                failure => failure.fix(),
            },
            Self::Volatile { .. } => {
                "say --migrate to have them copied, or --discard to lose them".to_owned()
            }
            Self::NotVolatile { .. } => "leave out --migrate and --discard".to_owned(),
            Self::Promises { .. } => {
                "if that is meant, stop the server, and start it with the other plugin".to_owned()
            }
            Self::Unready(Unready::Readback(ReadbackError::Elsewhere)) => {
                "give it the settings of the store that serves".to_owned()
            }
            Self::Unready(Unready::Readback(_)) => "do not use this plugin; tell its author".to_owned(),
            Self::NewestFormat { .. } => "swap to a later version first, if there is one".to_owned(),
            Self::Backup { .. } | Self::Upgrade { .. } => {
                "mend that, and try again; the store is as it was".to_owned()
            }
            Self::NotUpgraded { .. } => "tell the plugin's author".to_owned(),
            Self::Overtaken => "look at what serves now: keyway backend list".to_owned(),
            Self::Unready(_) | Self::Copy { .. } | Self::Interrupted { .. } => {
                "mend it, and swap again; the former generation serves on".to_owned()
            }
            Self::Mark(_) | Self::Close { .. } => "see how the backend is doing: `keyway backend health`".to_owned(),
            Self::Late { .. } => "try again when less is going on; the former generation serves on".to_owned(),
            Self::Lost { .. } | Self::NotReopened { .. } => "mend the store; it is tried again by itself".to_owned(),
        }
    }
}
