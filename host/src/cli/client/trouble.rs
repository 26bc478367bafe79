//! Why there is no answer, and what to do about it.

use std::{io, time::Duration};

use rustls::{AlertDescription, CertificateError, InvalidMessage, pki_types::ServerName};
use ureq::{
    Timeout,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use super::tls::{cause, is_authority};
use crate::cli::failure::Failure;

/// Where requests go, as far as it matters for what goes wrong.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: String,
    /// Where the trusted certificates are from, if any are named.
    pub(super) trusted: Option<String>,
    /// How long an answer is waited for.
    pub(super) timeout: Duration,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Change,
}

/// Says that a name cannot be resolved, which the system reports as an error of no kind.
#[derive(Debug, Default)]
pub(super) struct NamingResolver(DefaultResolver);

impl Resolver for NamingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| match error {
            ureq::Error::Io(_) => ureq::Error::HostNotFound,
            error => error,
        })
    }
}

impl Kind {
    /// What to do if the outcome of a request is unknown.
    fn advice(self) -> &'static str {
        match self {
            Self::Read => "",
            Self::Change => "; a change may have happened: look before you repeat it",
        }
    }
}

impl Target {
    /// What to tell of a request that was not answered.
    pub(super) fn no_answer(&self, kind: Kind, error: &ureq::Error) -> Failure {
        let (address, advice) = (&self.address, kind.advice());
        Failure::Unavailable(match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                format!(
                    "no connection to {address}: it did not answer in time; a firewall may drop what is sent to it"
                )
            }
            ureq::Error::Timeout(_) => format!("no answer from {address} within {}{advice}", self.seconds()),
            error => format!("no answer from {address}: {}", self.reason(kind, error)),
        })
    }

    /// What to tell of an answer that did not come to its end.
    pub(super) fn broken_answer(&self, kind: Kind, error: &ureq::Error) -> Failure {
        let (address, advice) = (&self.address, kind.advice());
        Failure::Unavailable(match error {
            ureq::Error::Timeout(_) => {
                format!("the answer of {address} took longer than {}{advice}", self.seconds())
            }
            ureq::Error::BodyExceedsLimit(bytes) => {
                format!("the answer of {address} is longer than {bytes} bytes, and was not read{advice}")
            }
            error => format!("the answer of {address} broke off: {error}{advice}"),
        })
    }

    fn seconds(&self) -> String {
        format!("{} s", self.timeout.as_secs_f64())
    }

    fn reason(&self, kind: Kind, error: &ureq::Error) -> String {
        match error {
            ureq::Error::HostNotFound => {
                "the name of the host is not known; correct the address, or name another with --address"
                    .to_owned()
            }
            ureq::Error::Rustls(error) => self.tls(error),
            ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(error) => self.tls(error),
                None => self.io(kind, error),
            },
            ureq::Error::Protocol(error) => {
                let hint = if self.is_tls() { "" } else { "; if the server speaks TLS, write https://" };
                format!("what answers is not HTTP: {error}{hint}")
            }
            error => error.to_string(),
        }
    }

    fn io(&self, kind: Kind, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => format!(
                "{error}; is the server running? Start one with `keyway server --config FILE`, or name another with \
                 --address"
            ),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => {
                let hint = if self.is_tls() { "" } else { "; if it speaks TLS, write https://" };
                format!("it closed the connection{hint}{}", kind.advice())
            }
            _ => error.to_string(),
        }
    }

    fn is_tls(&self) -> bool {
        self.address.starts_with("https://")
    }

    fn tls(&self, error: &rustls::Error) -> String {
        match error {
            rustls::Error::InvalidCertificate(error) => self.certificate(error),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "it does not speak TLS; write http://, if it is your server".to_owned()
            }
            rustls::Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied),
            ) => format!(
                "it refuses the client's certificate ({alert:?}); name one that it takes with --client-cert and --client-key"
            ),
            error => format!("TLS: {error}"),
        }
    }

    fn certificate(&self, error: &CertificateError) -> String {
        let name_it = "name the file with the certificate of its authority, or with its own if it is self-signed, with \
                       --ca-cert";
        match error {
            CertificateError::UnknownIssuer => match &self.trusted {
                None => format!("no authority that is known here signed its certificate; {name_it}"),
                Some(trusted) => format!("its certificate is not signed by one in {trusted}; {name_it}"),
            },
            error if is_authority(error) => match &self.trusted {
                None => "its certificate is self-signed; name the file with this certificate with --ca-cert".to_owned(),
                Some(trusted) => format!(
                    "its certificate is self-signed, and not in {trusted}; name the file with this certificate with --ca-cert"
                ),
            },
            CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => {
                let kind = if matches!(expected, ServerName::IpAddress(_)) { "IP" } else { "DNS" };
                let name = expected.to_str();
                format!(
                    "its certificate has no names (no subjectAltName; a common name does not count); make one that has, for \
                     example with `openssl req -x509 … -addext subjectAltName={kind}:{name}`"
                )
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "its certificate is not for {}, but for {}; write an address that it names, or name one with \
                 --tls-server-name",
                expected.to_str(),
                presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate has expired ({error}); it needs another, or this machine's clock is wrong")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("its certificate is not valid yet ({error}); this machine's clock may be wrong")
            }
            error if cause(error) == Some(&webpki::Error::UnsupportedCertVersion) => {
                "its certificate is of X.509 version 1; it needs one of version 3, as `openssl req -x509` makes it"
                    .to_owned()
            }
            error => match cause(error) {
                Some(cause) => format!("its certificate cannot be used: {cause}"),
                None => format!("its certificate cannot be used: {error}"),
            },
        }
    }
}

/// A name as people write it: rustls has `DnsName("localhost")` and `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, name)| name.trim_end_matches(')').trim_matches('"'))
}
