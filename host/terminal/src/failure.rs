//! Failures of commands, and their stable exit codes.

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Any failure without its own code: 1.
    Other(String),
    /// The command or the configuration is wrong: 2.
    Usage(String),
    /// The server is sealed: 3.
    Sealed(String),
    /// There is no such thing: 4.
    NotFound(String),
    /// Not allowed: 5.
    Refused(String),
    /// The server does not answer: 6.
    Unavailable(String),
    /// The command has said it already.
    Told {
        /// The code of what it was.
        exit_code: u8,
    },
}

impl Failure {
    /// For people; empty if the command has said it already.
    pub fn message(&self) -> &str {
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

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
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
    pub fn file(doing: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let message = format!("{doing} {}: {source}", path.display());
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::NotFound(message)
        } else {
            Self::Other(message)
        }
    }
}
