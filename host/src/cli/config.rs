//! `keyway config`.

use std::path::PathBuf;

use clap::Subcommand;
use keyway_server::config::Config;
use serde_json::json;

use super::failure::{Failure, of_config};
use keyway_terminal::output::{Format, pairs, print};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read a configuration, and say what it means or which problem it has. Opens nothing.
    Check {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

pub(super) fn run(command: Command, format: Format) -> Result<(), Failure> {
    let Command::Check { config } = command;
    let config = Config::read(&config).map_err(of_config)?;
    let backends: Vec<String> = config
        .backends
        .iter()
        .map(|(name, backend)| format!("{name} (plugin {})", backend.wanted.plugin))
        .collect();
    let mounts: Vec<String> =
        config.mounts.iter().map(|(path, mount)| format!("{path} on {}", mount.backend)).collect();
    let json = json!({
        "file": config.file,
        "listen": config.listen.to_string(),
        "data_dir": config.data_dir,
        "system_backend": config.system_backend,
        "backends": backends,
        "mounts": mounts,
    });
    print(format, &json, || {
        pairs(&[
            ("Configuration", config.file.display().to_string()),
            ("Listen", config.listen.to_string()),
            ("Data directory", config.data_dir.display().to_string()),
            ("System backend", config.system_backend.clone()),
            ("Backends", backends.join(", ")),
            ("Mounts", mounts.join(", ")),
        ]) + "The configuration is good.\n"
    })?;
    Ok(())
}
