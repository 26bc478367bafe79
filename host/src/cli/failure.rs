//! Failures of commands, and their stable exit codes.

use keyway_core::CoreError;
use keyway_loader::{Chain, Fix};
use keyway_server::{ServerError, config::ConfigError};

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Anything that has no code of its own: 1.
    Other(String),
    /// The command or the configuration is wrong: 2.
    Usage(String),
    /// The server is sealed: 3.
    Sealed(String),
    /// There is no such thing: 4.
    NotFound(String),
    /// Not allowed: 5.
    Refused(String),
    /// Nobody answers: 6.
    Unavailable(String),
    /// The command has said it already.
    Told {
        /// The code of what it was.
        exit_code: u8,
    },
}

impl Failure {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Other(message)
            | Self::Usage(message)
            | Self::Sealed(message)
            | Self::NotFound(message)
            | Self::Refused(message)
            | Self::Unavailable(message) => message,
            Self::Told { .. } => "",
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Sealed(_) => 3,
            Self::NotFound(_) => 4,
            Self::Refused(_) => 5,
            Self::Unavailable(_) => 6,
            Self::Told { exit_code } => *exit_code,
        }
    }

    /// A file that cannot be read or written.
    pub(super) fn file(doing: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let message = format!("{doing} {}: {source}", path.display());
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::NotFound(message)
        } else {
            Self::Other(message)
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(Chain(&error).to_string())
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let message = match &error {
            // Its text has the source's many lines in it.
            ServerError::Listen { .. } => error.to_string(),
            ServerError::Staging(source) => format!("{}; {}", Chain(source), source.fix()),
            _ => Chain(&error).to_string(),
        };
        match error {
            ServerError::Unchecked => Self::Refused(message),
            ServerError::Core(CoreError::NotForgotten { .. }) => Self::Refused(message),
            ServerError::Listen { .. } => Self::Unavailable(message),
            _ => Self::Other(message),
        }
    }
}
