//! The configuration: one TOML file, in which an unknown key is an error.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use keyway_loader::{Requirement, TrustPolicy};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    barrier::UseBound,
    mounts::{MountPath, table::SECRETS},
};

/// The name of the lock file beside the configuration.
pub const LOCK_FILE: &str = "keyway.lock";

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the server keeps its own files; absolute.
    pub data_dir: PathBuf,
    /// Where plugins are looked for; absolute.
    pub plugin_dirs: Vec<PathBuf>,
    /// The backend that holds keys, tokens and mounts.
    pub system_backend: String,
    /// Which plugins may run.
    pub trust: TrustPolicy,
    /// How often a key is used before it is rotated.
    pub key_uses: UseBound,
    /// The backends by name.
    pub backends: BTreeMap<String, BackendSettings>,
    /// The mounts by path, without slashes at the ends.
    pub mounts: BTreeMap<String, MountConfig>,
}

/// A backend's section.
#[derive(Debug)]
pub struct BackendSettings {
    /// Which plugin, perhaps with a version.
    pub plugin: Requirement,
    /// The plugin's own settings, as JSON.
    pub config: serde_json::Value,
}

/// A mount's section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountConfig {
    /// What kind of secrets: `secrets`.
    #[serde(default = "secrets_engine")]
    pub engine: String,
    /// On which backend.
    pub backend: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has keys that are not known.
    #[error("the configuration {} cannot be understood: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A setting that cannot be.
    #[error("the configuration {}: {setting}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which setting.
        setting: String,
        /// What is wrong with it and what to write instead.
        message: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_listen")]
    listen: String,
    data_dir: PathBuf,
    #[serde(default)]
    plugin_dirs: Vec<PathBuf>,
    system_backend: String,
    tls: Option<String>,
    trust: Option<TrustSection>,
    #[serde(default)]
    keys: KeysSection,
    backends: BTreeMap<String, BackendSection>,
    #[serde(default)]
    mounts: BTreeMap<String, MountConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustSection {
    policy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysSection {
    /// How often a key is used before another takes its place.
    max_uses: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendSection {
    plugin: String,
    #[serde(default)]
    config: toml::Table,
}

fn default_listen() -> String {
    "127.0.0.1:8200".to_owned()
}

fn secrets_engine() -> String {
    SECRETS.to_owned()
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(read)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        Self::parse(&text, absolute)
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Malformed {
            path: path.clone(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let checked = check(file, &path);
        checked.map_err(|(setting, message)| ConfigError::Invalid { path, setting, message })
    }
}

/// A setting and what is wrong with it.
type Problem = (String, String);

fn check(file: File, path: &Path) -> Result<Config, Problem> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let data_dir = directory.join(&file.data_dir);
    let plugin_dirs = file.plugin_dirs.iter().map(|plugins| data_dir.join(plugins)).collect();
    let mut backends = BTreeMap::new();
    for (name, section) in file.backends {
        let setting = |key: &str| format!("backends.{name}.{key}");
        let plugin = Requirement::parse(&section.plugin).map_err(|message| (setting("plugin"), message))?;
        let config =
            serde_json::to_value(section.config).map_err(|error| (setting("config"), error.to_string()))?;
        backends.insert(name, BackendSettings { plugin, config });
    }
    let known = |setting: String, backend: &str| {
        if backends.contains_key(backend) {
            return Ok(());
        }
        let names: Vec<_> = backends.keys().map(String::as_str).collect();
        Err((setting, format!("there is no backend {backend:?}; there are: {}", names.join(", "))))
    };
    known("system_backend".to_owned(), &file.system_backend)?;
    let mut mounts = BTreeMap::new();
    for (mount, section) in file.mounts {
        known(format!("mounts.{mount}.backend"), &section.backend)?;
        let (path, section) = check_mount(&mount, section)?;
        if mounts.insert(path, section).is_some() {
            return Err((format!("mounts.{mount}"), "the same path is there twice".to_owned()));
        }
    }
    check_nesting(&mounts)?;
    Ok(Config {
        file: path.to_owned(),
        listen: check_listen(&file.listen, file.tls.as_deref())?,
        data_dir,
        plugin_dirs,
        system_backend: file.system_backend,
        key_uses: check_key_uses(&file.keys)?,
        trust: check_trust(file.trust.as_ref(), directory)?,
        backends,
        mounts,
    })
}

fn check_mount(mount: &str, section: MountConfig) -> Result<(String, MountConfig), Problem> {
    let setting = format!("mounts.{mount}");
    let path = MountPath::parse(mount).map_err(|message| (setting.clone(), message))?;
    if section.engine != SECRETS {
        return Err((setting, format!("engine {:?} does not exist; write {SECRETS:?}", section.engine)));
    }
    Ok((path.as_str().to_owned(), section))
}

/// A mount inside another must not hide the other's own paths.
fn check_nesting(mounts: &BTreeMap<String, MountConfig>) -> Result<(), Problem> {
    for mount in mounts.keys() {
        let path = MountPath::parse(mount).map_err(|message| (format!("mounts.{mount}"), message))?;
        let others = mounts.keys().map(String::as_str).filter(|other| other.len() < mount.len());
        path.check_beside(others).map_err(|message| (format!("mounts.{mount}"), message))?;
    }
    Ok(())
}

fn check_listen(listen: &str, tls: Option<&str>) -> Result<SocketAddr, Problem> {
    let invalid = |message: String| ("listen".to_owned(), message);
    let address = listen
        .to_socket_addrs()
        .map_err(|error| invalid(format!("{listen:?} is no address and port: {error}")))?
        .next()
        .ok_or_else(|| invalid(format!("{listen:?} has no address")))?;
    if tls.is_some_and(|tls| tls != "off") {
        return Err(("tls".to_owned(), "only \"off\" is possible: this version has no TLS yet".to_owned()));
    }
    if !address.ip().is_loopback() && tls.is_none() {
        return Err(invalid(format!(
            "{address} is not loopback, and secrets would travel in the clear; listen on 127.0.0.1, or write \
             tls = \"off\" if something else encrypts"
        )));
    }
    Ok(address)
}

fn check_key_uses(keys: &KeysSection) -> Result<UseBound, Problem> {
    let bound = keys.max_uses.map_or(Ok(UseBound::default()), UseBound::new);
    bound.map_err(|error| ("keys.max_uses".to_owned(), error.to_string()))
}

fn check_trust(trust: Option<&TrustSection>, directory: &Path) -> Result<TrustPolicy, Problem> {
    let setting = "trust.policy".to_owned();
    match trust.map(|trust| trust.policy.as_str()) {
        Some("lock") => Ok(TrustPolicy::Lock(directory.join(LOCK_FILE))),
        Some(other) => Err((setting, format!("{other:?} is not a policy of this version; write \"lock\""))),
        None => Err((
            setting,
            "no policy says which plugins may run; write [trust] policy = \"lock\" and run \
             `keyway plugin lock --config FILE`"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        data_dir = "data"
        system_backend = "main"
        [trust]
        policy = "lock"
        [backends.main]
        plugin = "sqlite@^1"
        config = { path = "k.db" }
        [mounts.secret]
        backend = "main"
    "#;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, "/etc/keyway/keyway.toml".into())
    }

    #[test]
    fn paths_are_relative_to_file_and_data_dir() {
        let config =
            parse(&GOOD.replace("system_backend", "plugin_dirs = [\"p\", \"/q\"]\nsystem_backend")).unwrap();
        assert_eq!(config.data_dir, Path::new("/etc/keyway/data"));
        assert_eq!(config.plugin_dirs, [Path::new("/etc/keyway/data/p"), Path::new("/q")]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:8200");
        assert_eq!(config.backends["main"].config, serde_json::json!({"path": "k.db"}));
        assert_eq!(config.mounts["secret"].engine, "secrets");
    }

    #[test]
    fn each_problem_names_its_setting() {
        let problems = [
            (GOOD.replace("[trust]\n        policy = \"lock\"", ""), "trust.policy"),
            (GOOD.replace("\"lock\"", "\"none\""), "trust.policy"),
            (GOOD.replace("system_backend = \"main\"", "system_backend = \"other\""), "system_backend"),
            (GOOD.replace("sqlite@^1", "SQLite"), "backends.main.plugin"),
            (GOOD.replace("sqlite@^1", "sqlite@one"), "backends.main.plugin"),
            (GOOD.replace("[mounts.secret]", "[mounts.sys]"), "mounts.sys"),
            (
                GOOD.replace(
                    "[mounts.secret]\n        backend = \"main\"",
                    "[mounts.secret]\nbackend = \"gone\"",
                ),
                "mounts.secret.backend",
            ),
            (format!("{GOOD}\n[mounts.\"secret/\"]\nbackend = \"main\"\n"), "twice"),
            (format!("{GOOD}\n[mounts.\"secret/data\"]\nbackend = \"main\"\n"), "mounts.secret/data"),
            (format!("{GOOD}\n[keys]\nmax_uses = 12\n"), "keys.max_uses"),
            (format!("listen = \"0.0.0.0:1\"\n{GOOD}"), "listen"),
            (format!("listen = \"nowhere\"\n{GOOD}"), "listen"),
            (format!("listne = \"127.0.0.1:1\"\n{GOOD}"), "listne"),
        ];
        for (text, setting) in problems {
            let error = parse(&text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(setting), "{setting}: {error}");
        }
    }

    #[test]
    fn open_listener_needs_the_word() {
        let open = format!("listen = \"0.0.0.0:8200\"\ntls = \"off\"\n{GOOD}");
        assert!(parse(&open).is_ok());
    }
}
