//! Reads the configuration again at SIGHUP, and swaps the backends to what it says then.

use std::{path::PathBuf, sync::Arc};

use keyway_core::{Core, PluginSource};

#[cfg(unix)]
use super::signals;
use crate::{ServerError, StartOptions, config::Config, plugins::loader};

/// Waits for the signal. From its beginning on, the signal does not end the process.
pub(super) struct Reloader {
    #[cfg(unix)]
    hangups: tokio::signal::unix::Signal,
    /// Whether the signal came before.
    #[cfg(unix)]
    is_due: bool,
    file: PathBuf,
    options: StartOptions,
    data_dir: PathBuf,
    /// What a running server cannot change, by its name.
    fixed: Vec<(&'static str, String)>,
}

impl Reloader {
    pub(super) fn begin(config: &Config, options: &StartOptions) -> Result<Self, ServerError> {
        Ok(Self {
            #[cfg(unix)]
            hangups: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                .map_err(ServerError::Signal)?,
            #[cfg(unix)]
            is_due: signals::take_hangup(),
            file: config.file.clone(),
            options: options.clone(),
            data_dir: config.data_dir.clone(),
            fixed: fixed(config),
        })
    }

    /// Follows the signal for as long as the server is there.
    #[cfg(unix)]
    pub(super) fn follow(mut self, core: &Arc<Core>) {
        let core = Arc::downgrade(core);
        tokio::spawn(async move {
            while std::mem::take(&mut self.is_due) || self.hangups.recv().await.is_some() {
                let Some(core) = core.upgrade() else { return };
                self.reload(&core).await;
            }
        });
    }

    #[cfg(not(unix))]
    pub(super) fn follow(self, _core: &Arc<Core>) {}

    /// A configuration that cannot be used changes nothing.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no such signal"))]
    async fn reload(&self, core: &Arc<Core>) {
        tracing::info!(file = %self.file.display(), "reloading the configuration");
        let plugins = match self.read() {
            Ok(plugins) => plugins,
            Err(error) => {
                tracing::error!(error, "the configuration is not reloaded; everything stays as it is");
                return;
            }
        };
        core.swapping().set_plugin_source(plugins);
        core.swapping().swap_to_configuration().await;
        tracing::info!("reloaded");
    }

    fn read(&self) -> Result<PluginSource, String> {
        let mut config = Config::read(&self.file)
            .map_err(|error| without_excerpt(&keyway_loader::Chain(&error).to_string()))?;
        if config.trust.has_unchecked() && !self.options.dev {
            return Err(ServerError::Unchecked.to_string());
        }
        for ((setting, was), (_, is)) in self.fixed.iter().zip(fixed(&config)) {
            if *was != is {
                tracing::warn!(setting, "a change of this setting takes a restart");
            }
        }
        config.data_dir.clone_from(&self.data_dir);
        let loader = loader(&config, &self.options.plugin_dirs).map_err(|error| error.to_string())?;
        let Config { data_dir, backends, swaps, .. } = config;
        Ok(PluginSource { loader: Arc::new(loader), data_dir, backends, swaps })
    }
}

/// Without the lines of the file that a parser shows: a password may stand there.
fn without_excerpt(text: &str) -> String {
    let is_excerpt = |line: &&str| {
        line.trim_start_matches([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).starts_with('|')
    };
    text.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join(" ")
}

fn fixed(config: &Config) -> Vec<(&'static str, String)> {
    let backends: Vec<_> = config.backends.keys().collect();
    vec![
        ("listen", config.listen.to_string()),
        ("tls", format!("{:?}", config.tls)),
        ("limits", format!("{:?}", config.limits)),
        ("data_dir", config.data_dir.display().to_string()),
        ("system_backend", config.system_backend.clone()),
        ("the names in backends", format!("{backends:?}")),
        ("mounts", format!("{:?}", config.mounts)),
        ("keys", format!("{:?} {:?}", config.key_uses, config.key_age)),
        ("seal", format!("{:?}", (config.passwords, config.open_ceremonies))),
        ("metrics", format!("{:?}", config.open_metrics)),
        ("audit", format!("{:?}", config.audit)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_in_a_line_that_cannot_be_understood_is_not_told() {
        let error = toml::from_str::<toml::Table>("a = 1\nconfig = { password = \"hunter2\" pool = 4 }");
        let text = error.unwrap_err().to_string();
        assert!(text.contains("hunter2"), "the parser shows it: {text}");
        let told = without_excerpt(&text);
        assert!(!told.contains("hunter2") && told.contains("line 2"), "{told}");
    }
}
