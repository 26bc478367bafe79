//! TLS: at least 1.2, HTTP/2 and HTTP/1.1, and a certificate that is read again when its file changes.
//! Clients are asked for certificates if the configuration names their authorities.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config::{ClientAuthority, TlsFiles};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The certificates of the clients' authorities cannot be used.
    #[error("the clients' authorities {}: {reason}", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("the certificate {} with the key {}: {source}", files.cert_file.display(), files.key_file.display())]
    Unusable {
        /// The files.
        files: Box<TlsFiles>,
        /// Why.
        source: rustls::Error,
    },
}

/// TLS with the present certificate.
#[derive(Clone)]
pub struct Tls {
    config: Arc<RwLock<Arc<ServerConfig>>>,
    /// The state of the files that it was read from.
    marks: Marks,
}

/// When each file was changed, and how long it is; none if that could not be seen.
type Marks = [Option<(SystemTime, u64)>; 3];

impl Tls {
    /// Reads the certificate.
    ///
    /// # Errors
    ///
    /// `File` if a file cannot be read; `Authorities` or `Unusable` if rustls does not take what is in them.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        // Taken first: what changes while it is read is read again.
        let marks = marks(files);
        Ok(Self { config: Arc::new(RwLock::new(load(files)?)), marks })
    }

    /// Accepts connections with the present certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the certificate again whenever one of its files changes, as long as the configuration is in use.
    /// A pair that cannot be used is reported, and the former one stays.
    pub(super) fn follow(&self, files: TlsFiles) {
        tokio::spawn(follow(Arc::downgrade(&self.config), self.marks, files));
    }
}

async fn follow(config: Weak<RwLock<Arc<ServerConfig>>>, mut used: Marks, files: TlsFiles) {
    let mut reported = used;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(config) = config.upgrade() else { return };
        let now = marks(&files);
        if now == used {
            continue;
        }
        match load(&files) {
            Ok(loaded) => {
                *config.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!(cert_file = %files.cert_file.display(), "the certificate was read again");
                used = now;
            }
            // Perhaps only half of the pair is written, or its owner is still to be changed. So it is tried
            // again, and reported once.
            Err(error) if now != reported => {
                tracing::error!(%error, "the changed certificate cannot be used; the former one stays");
                reported = now;
            }
            Err(_) => {}
        }
    }
}

fn marks(files: &TlsFiles) -> Marks {
    let mark = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let clients = files.clients.as_ref().and_then(|clients| mark(&clients.file));
    [mark(&files.cert_file), mark(&files.key_file), clients]
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = read(&files.cert_file, "the certificate")?;
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(&certificates).collect();
    let chain = chain.map_err(|error| unreadable(&files.cert_file, "the certificate", &error))?;
    if chain.is_empty() {
        return Err(unreadable(&files.cert_file, "the certificate", &"there is no certificate in it"));
    }
    let key = zeroize::Zeroizing::new(read(&files.key_file, "the private key")?);
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| unreadable(&files.key_file, "the private key", &error))?;
    let unusable = |source| TlsError::Unusable { files: Box::new(files.clone()), source };
    let provider = Arc::new(ring::default_provider());
    let clients = match &files.clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => verifier(clients, Arc::clone(&provider))?,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Checks the certificates that clients show.
fn verifier(
    clients: &ClientAuthority,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let what = "the certificates of the clients' authorities";
    let pem = read(&clients.file, what)?;
    let unusable = |reason: String| TlsError::Authorities { path: clients.file.clone(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unreadable(&clients.file, what, &error))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unusable(error.to_string()))
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error: io::Error| unreadable(path, what, &error))
}

fn unreadable(path: &Path, what: &'static str, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), reason: reason.to_string() }
}
