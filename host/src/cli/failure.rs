//! Failures of commands that come from the server.

use keyway_core::CoreError;
use keyway_loader::{Chain, Fix};
use keyway_server::{ServerError, config::ConfigError};
pub(super) use keyway_terminal::Failure;

/// A configuration that cannot be used.
pub(super) fn of_config(error: ConfigError) -> Failure {
    Failure::Usage(Chain(&error).to_string())
}

/// A server that does not start.
pub(super) fn of_server(error: ServerError) -> Failure {
    let message = match &error {
        // Its text has the source's many lines in it.
        ServerError::Listen { .. } => error.to_string(),
        ServerError::Staging(source) => format!("{}; {}", Chain(source), source.fix()),
        _ => Chain(&error).to_string(),
    };
    match error {
        ServerError::Unchecked => Failure::Refused(message),
        ServerError::Core(CoreError::NotForgotten { .. }) => Failure::Refused(message),
        ServerError::Listen { .. } => Failure::Unavailable(message),
        _ => Failure::Other(message),
    }
}
