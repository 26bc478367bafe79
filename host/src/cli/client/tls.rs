//! TLS of the client: whose certificates it takes, and which it shows.

use std::{
    fmt, fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};
use zeroize::Zeroizing;

use crate::cli::{
    connection::Server,
    environment::{Environment, Variable},
    failure::Failure,
};

/// TLS, ready for connections.
#[derive(Debug)]
pub(super) struct TlsConnector {
    config: Arc<ClientConfig>,
    /// The name that the server's certificate must have; without it, the address's.
    name: Option<ServerName<'static>>,
}

/// PEM and where it is from, for people.
struct Pem {
    from: String,
    bytes: Zeroizing<Vec<u8>>,
}

/// TLS as the arguments and the environment say; also where the trusted certificates are from, if any are named.
pub(super) fn connector(
    server: &Server,
    environment: Environment<'_>,
) -> Result<(TlsConnector, Option<String>), Failure> {
    let trusted = trusted(server, environment)?;
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    match &trusted {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some((from, certificates)) => {
            for certificate in certificates {
                roots.add(certificate.clone()).map_err(|error| {
                    Failure::Usage(format!("{from}: a certificate in it cannot be used: {error}"))
                })?;
            }
        }
    }
    let (from, named) = trusted.unzip();
    let unusable = |error: &dyn fmt::Display| {
        Failure::Usage(format!("{}: {error}", from.as_deref().unwrap_or("the trusted certificates")))
    };
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(&error))?;
    let verifier = Arc::new(Verifier { authorities, named: named.unwrap_or_default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match own(server, environment)? {
        None => config.with_no_client_auth(),
        Some((from, certificates, key)) => config
            .with_client_auth_cert(certificates, key)
            .map_err(|error| Failure::Usage(format!("{from} cannot be shown with this key: {error}")))?,
    };
    let name = named_server(server, environment)?;
    Ok((TlsConnector { config: Arc::new(config), name }, from))
}

fn named_server(
    server: &Server,
    environment: Environment<'_>,
) -> Result<Option<ServerName<'static>>, Failure> {
    let name = match &server.tls_server_name {
        Some(name) => Some(("--tls-server-name".to_owned(), name.clone())),
        None => environment.text("TLS_SERVER_NAME")?.map(|Variable { name, value }| (name, value)),
    };
    name.map(|(from, name)| {
        ServerName::try_from(name.clone())
            .map_err(|_| Failure::Usage(format!("{from}: {name:?} is no name of a server")))
    })
    .transpose()
}

/// Where the certificates to trust are from, and the certificates; none if none are named.
fn trusted(
    server: &Server,
    environment: Environment<'_>,
) -> Result<Option<(String, Vec<CertificateDer<'static>>)>, Failure> {
    if let Some(pem) = pem(server.ca_cert.as_deref(), environment, "CACERT")? {
        return pem.certificates().map(|certificates| Some((pem.from, certificates)));
    }
    let Some(Variable { name, value }) = environment.text("CAPATH")? else { return Ok(None) };
    let failed = |reason: &dyn fmt::Display| Failure::Usage(format!("{name}, {value}: {reason}"));
    let mut certificates = Vec::new();
    for entry in fs::read_dir(&value).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path.is_file() {
            let bytes = fs::read(&path).map_err(|error| failed(&error))?;
            // The file may hold other objects next to certificates.
            certificates.extend(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok));
        }
    }
    if certificates.is_empty() {
        return Err(failed(&"there is no certificate in any of its files"));
    }
    Ok(Some((format!("{name}, {value}"), certificates)))
}

/// The certificate to show, with its private key, and where it is from.
fn own(
    server: &Server,
    environment: Environment<'_>,
) -> Result<Option<(String, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Failure> {
    let shown = pem(server.client_cert.as_deref(), environment, "CLIENT_CERT")?;
    let key = pem(server.client_key.as_deref(), environment, "CLIENT_KEY")?;
    match (shown, key) {
        (None, None) => Ok(None),
        (Some(shown), Some(key)) => {
            let certificates = shown.certificates()?;
            let Pem { from, bytes } = key;
            let key = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|error| Failure::Usage(format!("{from}: there is no private key in it: {error}")))?;
            Ok(Some((shown.from, certificates, key)))
        }
        _ => {
            let message = "a certificate to show needs both --client-cert and --client-key";
            Err(Failure::Usage(message.to_owned()))
        }
    }
}

/// The PEM of a file that is given or that the environment names, or that stands in the environment itself.
fn pem(given: Option<&Path>, environment: Environment<'_>, setting: &str) -> Result<Option<Pem>, Failure> {
    let file = match given {
        Some(path) => Some(path.to_owned()),
        None => environment.text(setting)?.map(|variable| PathBuf::from(variable.value)),
    };
    if let Some(path) = file {
        let bytes = fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
        return Ok(Some(Pem { from: path.display().to_string(), bytes: Zeroizing::new(bytes) }));
    }
    let text = environment.text(&format!("{setting}_BYTES"))?;
    Ok(text.map(|Variable { name, value }| Pem { from: name, bytes: Zeroizing::new(value.into_bytes()) }))
}

impl Pem {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(Failure::Usage(format!("{}: there is no certificate in it", self.from))),
            Err(error) => {
                Err(Failure::Usage(format!("{}: there is no certificate in it: {error}", self.from)))
            }
        }
    }
}

/// Takes what the authorities signed, and the named certificates themselves. `openssl req -x509` makes a
/// self-signed certificate that is an authority's, and rustls takes an authority's certificate for no
/// server's: OpenSSL, curl and Go do.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // Both are found after the certificate's own times were checked.
            Err(rustls::Error::InvalidCertificate(error))
                if (error == CertificateError::UnknownIssuer || is_authority(&error))
                    && self.named.iter().any(|named| named == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a certificate is refused for a server because it is an authority's.
pub(super) fn is_authority(error: &CertificateError) -> bool {
    cause(error) == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// What webpki says, if rustls has no word for it.
pub(super) fn cause(error: &CertificateError) -> Option<&webpki::Error> {
    let CertificateError::Other(other) = error else { return None };
    other.0.downcast_ref()
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                ServerName::try_from(host)
                    .map_err(|_| ureq::Error::Tls("the address has no name of a server"))?
            }
        };
        let mut connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(ureq::Error::Rustls)?;
        let mut socket = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

/// A connection under TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
