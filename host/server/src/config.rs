//! The configuration: one TOML file, in which an unknown key is an error. [`file`] is how it is written,
//! [`check`] makes of it what the server needs.

mod check;
mod file;
mod settings;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub(crate) use self::settings::STAGING;
pub use self::settings::{ClientAuthority, Config, Limits, TlsFiles};

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
        /// The problem, and what to write instead.
        message: String,
    },
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    ///
    /// `Read` if the file cannot be read; `Malformed` if it is not TOML or names an unknown setting;
    /// `Invalid` for a value out of its bounds.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(read)?;
        let absolute = std::path::absolute(path).map_err(read)?;
        Self::parse(&text, absolute)
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self, ConfigError> {
        let file: file::File = toml::from_str(text).map_err(|error| ConfigError::Malformed {
            path: path.clone(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let checked = check::check(file, &path);
        checked.map_err(|(setting, message)| ConfigError::Invalid { path, setting, message })
    }
}

#[cfg(test)]
mod tests {
    use keyway_loader::{Policy, TrustedKey};

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
            (GOOD.replace("\"lock\"", "\"any\""), "trust.policy"),
            (GOOD.replace("system_backend", "plugin_dirs = [\"plugins\"]\nsystem_backend"), "plugin_dirs"),
            (GOOD.replace("\"lock\"", "\"signed\""), "trust.keys"),
            (format!("{GOOD}\n[trust.directories]\n\"/opt\" = \"locked\"\n"), "trust.directories./opt"),
            (format!("{GOOD}\n[trust.keys.us]\npublic_key = \"x\"\nplugins = [\"a\"]\n"), "trust.keys.us"),
            (
                GOOD.replace("policy = \"lock\"", "policy = \"lock\"\nlibraries = [\"./x.so\"]"),
                "trust.libraries",
            ),
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
            (format!("tls = \"on\"\n{GOOD}"), "tls"),
            (format!("{GOOD}\n[tls]\ncert_file = \"c\"\n"), "key_file"),
            (format!("{GOOD}\n[limits]\nrequests = 0\n"), "limits.requests"),
            (format!("{GOOD}\n[limits]\nbackend_deadline_ms = 1\n"), "limits.backend_deadline_ms"),
            (format!("{GOOD}\n[limits]\nrequest = 5\n"), "request"),
            (format!("{GOOD}\n[keys]\nmax_uses = 12\n"), "keys.max_uses"),
            (format!("{GOOD}\n[swap]\nopen_s = 0\n"), "swap.open_s"),
            (format!("{GOOD}\n[swap]\nmax_error_percent = 101\n"), "swap.max_error_percent"),
            (format!("{GOOD}\n[swap]\nwatch = 1\n"), "watch"),
            (format!("{GOOD}\n[keys]\nmax_age_days = 0\n"), "keys.max_age_days"),
            (format!("{GOOD}\n[audit]\ndevices = [{{ type = \"file\" }}]\n"), "audit.devices[0]: file_path"),
            (
                format!("{GOOD}\n[audit]\ndevices = [{{ type = \"file\", path = \"data/a.log\" }}]\n"),
                "data_dir",
            ),
            (
                format!(
                    "{GOOD}\n[audit]\ndevices = [{{ type = \"file\", path = \"/a\" }}, {{ type = \"file\", path = \"/b\" }}]\n"
                ),
                "the same name",
            ),
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
    fn trust_of_the_operations_manual_is_understood() {
        let manual = include_str!("../../../docs/operations/plugins.md");
        let begin = manual.find("[trust]\npolicy = \"lock\"\nlibraries").unwrap();
        let (section, _) = manual.split_at(begin).1.split_once("```").unwrap();
        let config = parse(&GOOD.replace("[trust]\n        policy = \"lock\"", section)).unwrap();
        assert_eq!(config.libraries, ["libpq.so.5"]);
        assert_eq!(config.trust.directories, [(PathBuf::from("/opt/acme/keyway"), Policy::Signed)]);
        assert_eq!(config.trust.keys.first().map(TrustedKey::name), Some("acme"));
        assert!(!config.trust.has_unchecked());
    }

    #[test]
    fn open_listener_needs_the_word() {
        let open = format!("listen = \"0.0.0.0:8200\"\ntls = \"off\"\n{GOOD}");
        assert!(parse(&open).unwrap().tls.is_none());
        let tls =
            open.replace("tls = \"off\"\n", "") + "[tls]\ncert_file = \"a.pem\"\nkey_file = \"/b.pem\"\n";
        let files = parse(&tls).unwrap().tls.unwrap();
        assert_eq!((files.cert_file, files.key_file), ("/etc/keyway/a.pem".into(), "/b.pem".into()));
    }
}
