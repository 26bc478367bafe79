//! Where the server is and how to be sure that it is that one: the URL, TLS, the bounds of a connection.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keyway_sdk::{OpenContext, Result};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{config::Config, error};

/// The options of a URL besides the server's address, as libpq names them. The first four are for TLS, and
/// are read here.
const OPTIONS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "user",
    "password",
    "dbname",
    "host",
    "port",
    "application_name",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];
const TLS_OPTIONS: usize = 4;

/// How soon a dead peer is noticed on an idle connection: the first probe, the distance of the others, and
/// their number.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent may stay without the peer's acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// Where the settings say that the URL is. It is read again if the server refuses the login that was in it.
pub(crate) struct Source {
    config: Config,
    data_dir: PathBuf,
    backend: String,
}

impl Source {
    pub(crate) fn new(config: Config, context: &OpenContext) -> Self {
        Self { config, data_dir: context.data_dir().to_owned(), backend: context.backend_name().to_owned() }
    }
}

/// A server, or several of which one takes writes.
pub(crate) struct Target {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: MakeRustlsConnect,
    options: Options,
}

impl Target {
    /// Reads the URL, and the files that it names.
    pub(crate) fn read(source: &Source) -> Result<Self> {
        let Source { config, data_dir, backend } = source;
        let options = Options::of(&url(config, data_dir)?)?;
        let mut target: tokio_postgres::Config =
            options.rest.parse().map_err(|_| error::settings(UNREADABLE))?;
        if target.get_hosts().is_empty() {
            return Err(error::settings("the URL names no host"));
        }
        let is_local = target.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = options.tls(is_local, data_dir)?;
        target.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if target.get_application_name().is_none() {
            target.application_name(format!("keyway {backend}"));
        }
        if target.get_hosts().len() > 1 {
            target.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        target
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        let tls = match tls {
            Some(tls) => tls,
            // Never asked: the mode is "disable".
            None => client(RootCertStore::empty(), None)?,
        };
        Ok(Self { config: target, tls: MakeRustlsConnect::new(tls), options })
    }

    /// Whether both name the same servers and the same database. The users may differ.
    pub(crate) fn is_at_the_place_of(&self, other: &Self) -> bool {
        let (own, other) = (&self.config, &other.config);
        let is_same_database = match (own.get_dbname(), other.get_dbname()) {
            // The user's name stands for the database's.
            (None, None) => own.get_user() == other.get_user(),
            (own, other) => own == other,
        };
        is_same_database && own.get_hosts() == other.get_hosts() && own.get_ports() == other.get_ports()
    }

    /// Whether a server that refused `other` may take this one. A certificate's file may have changed under
    /// the same name.
    pub(crate) fn may_differ_from(&self, other: &Self) -> bool {
        self.options != other.options || self.options.sslcert.is_some()
    }
}

/// No part of a URL goes into a message: if it is mistyped, any of it may be the password.
const UNREADABLE: &str = "the URL cannot be read; it is written postgres://USER@HOST:PORT/DATABASE?OPTION=VALUE, and special \
                          characters in a password are percent-encoded";

fn url(config: &Config, data_dir: &Path) -> Result<String> {
    match (&config.url, &config.url_file, &config.url_env) {
        (Some(url), None, None) => Ok(url.clone()),
        (None, Some(file), None) => from_file(&data_dir.join(file)),
        (None, None, Some(name)) => env::var(name).map_err(|_| {
            error::settings(format!("the environment has no variable {name} with a URL (url_env)"))
        }),
        _ => Err(error::settings("exactly one of url, url_file and url_env says where the database is")),
    }
}

fn from_file(path: &Path) -> Result<String> {
    let failed = |source: io::Error| error::settings(format!("read {}: {source}", path.display()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let message = format!(
                "{} may be read by others (mode {:o}), and is for a password: chmod 600 it",
                path.display(),
                mode & 0o777
            );
            return Err(error::settings(message));
        }
    }
    Ok(fs::read_to_string(path).map_err(failed)?.trim().to_owned())
}

/// A URL without its TLS options.
#[derive(Default, PartialEq, Eq)]
struct Options {
    rest: String,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    sslcert: Option<String>,
    sslkey: Option<String>,
}

impl Options {
    fn of(url: &str) -> Result<Self> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(error::settings(UNREADABLE));
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut options = Self::default();
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = OPTIONS.iter().position(|option| *option == name) else {
                // If a password holds a question mark, its other half and the host come after it; an error
                // must not show them.
                let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                let named = if is_name && !query.contains('@') {
                    format!("the URL has an unknown option, {name}")
                } else {
                    UNREADABLE.into()
                };
                return Err(error::settings(named));
            };
            if known < TLS_OPTIONS {
                let place = match known {
                    0 => &mut options.sslmode,
                    1 => &mut options.sslrootcert,
                    2 => &mut options.sslcert,
                    _ => &mut options.sslkey,
                };
                *place = Some(value.into_owned());
            } else {
                // What reads the rest takes no plus for a space.
                rest.append_pair(&name, &value);
            }
        }
        let rest = rest.finish().replace('+', "%20");
        options.rest = if rest.is_empty() { place.to_owned() } else { format!("{place}?{rest}") };
        Ok(options)
    }

    /// None if the connection is to go without TLS: by a Unix socket, or because the URL says so.
    fn tls(&self, is_local: bool, data_dir: &Path) -> Result<Option<ClientConfig>> {
        match self.sslmode.as_deref() {
            Some("disable") => return Ok(None),
            None if is_local => return Ok(None),
            Some("verify-full") if is_local => {
                return Err(error::settings("sslmode=verify-full, and a Unix socket has no TLS"));
            }
            None | Some("verify-full") => {}
            Some(_) => {
                let message = "sslmode is verify-full or disable: the others leave it open who the server is, or whether TLS \
                               is used at all";
                return Err(error::settings(message));
            }
        }
        let mut roots = RootCertStore::empty();
        match self.sslrootcert.as_deref() {
            None | Some("system") => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let message = "this system has no certificates to verify the server with; name a CA's with \
                                   sslrootcert=FILE in the URL";
                    return Err(error::settings(message));
                }
            }
            Some(file) => {
                let certificates = certificates(&data_dir.join(file), "sslrootcert")?;
                let (added, _) = roots.add_parsable_certificates(certificates);
                if added == 0 {
                    return Err(error::settings(format!("sslrootcert: {file} holds no certificate")));
                }
            }
        }
        let own = match (&self.sslcert, &self.sslkey) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let path = data_dir.join(key);
                let key = PrivateKeyDer::from_pem_file(&path)
                    .map_err(|source| error::settings(format!("sslkey: {}: {source}", path.display())))?;
                Some((certificates(&data_dir.join(certificate), "sslcert")?, key))
            }
            _ => return Err(error::settings("sslcert and sslkey are given together")),
        };
        client(roots, own).map(Some)
    }
}

fn certificates(path: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| error::settings(format!("{option}: {}: {source}", path.display())))
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client(roots: RootCertStore, own: Option<Own>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| error::settings(format!("TLS: {source}")))?
        .with_root_certificates(roots);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((certificates, key)) => builder
            .with_client_auth_cert(certificates, key)
            .map_err(|source| error::settings(format!("sslcert and sslkey: {source}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let options = Options::of(url).and_then(|options| options.tls(false, Path::new("/")).map(|_| ()));
        options.unwrap_err().message().to_owned()
    }

    #[test]
    fn options_for_tls_are_taken_out_and_the_others_left() {
        let url = "postgres://u:p%3Fw@h/d?sslmode=verify-full&application_name=a%20b&sslrootcert=%2Fca.pem";
        let options = Options::of(url).unwrap();
        assert_eq!(options.rest, "postgres://u:p%3Fw@h/d?application_name=a%20b");
        assert_eq!(
            (options.sslmode.as_deref(), options.sslrootcert.as_deref()),
            (Some("verify-full"), Some("/ca.pem"))
        );
        let config: tokio_postgres::Config = options.rest.parse().unwrap();
        assert_eq!((config.get_application_name(), config.get_password()), (Some("a b"), Some(&b"p?w"[..])));
    }

    #[test]
    fn whatever_leaves_the_server_unknown_is_refused() {
        for mode in ["prefer", "allow", "require", "verify-ca", ""] {
            let text = refused(&format!("postgres://h/d?sslmode={mode}"));
            assert!(text.contains("verify-full or disable"), "{mode}: {text}");
        }
        assert!(
            Options::of("postgres://h/d?sslmode=disable")
                .unwrap()
                .tls(false, Path::new("/"))
                .unwrap()
                .is_none()
        );
        assert!(Options::of("postgres:///d").unwrap().tls(true, Path::new("/")).unwrap().is_none());
    }

    #[test]
    fn unreadable_url_is_refused_without_a_word_of_it() {
        for url in
            ["sesame", "http://u:sesame@h/d", "postgres://u:p?sesame@h/d", "postgres://u:p?sesame=@h/d"]
        {
            let text = Options::of(url).map(|options| options.rest).unwrap_err();
            assert!(!text.message().contains("sesame"), "{url}: {text}");
        }
        assert!(refused("postgres://h/d?sslmod=disable").contains("sslmod"));
        // The driver would use an address next to a socket's directory instead of the directory, without TLS.
        assert!(refused("postgres:///d?host=%2Frun&hostaddr=10.0.0.5").contains("hostaddr"));
    }
}
