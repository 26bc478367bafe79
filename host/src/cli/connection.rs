//! The server that a command speaks to, and the token that it shows.

use std::path::PathBuf;

use clap::Args;

/// The server, and the token to show.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server's address; also KEYWAY_ADDR, BAO_ADDR or VAULT_ADDR. Default: http://127.0.0.1:8200.
    #[arg(long, global = true)]
    pub(super) address: Option<String>,
    /// A PEM file with the certificate of the authority that signed the server's, or with the server's own; also
    /// KEYWAY_CACERT, BAO_CACERT or VAULT_CACERT.
    #[arg(long, global = true)]
    pub(super) ca_cert: Option<PathBuf>,
    /// The name that the server's certificate must have, if it is not the address's; also KEYWAY_TLS_SERVER_NAME,
    /// BAO_TLS_SERVER_NAME or VAULT_TLS_SERVER_NAME.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) tls_server_name: Option<String>,
    /// A PEM file with the certificate to show a server that asks for one; also KEYWAY_CLIENT_CERT,
    /// BAO_CLIENT_CERT or VAULT_CLIENT_CERT.
    #[arg(long, global = true)]
    pub(super) client_cert: Option<PathBuf>,
    /// A PEM file with its private key; also KEYWAY_CLIENT_KEY, BAO_CLIENT_KEY or VAULT_CLIENT_KEY.
    #[arg(long, global = true)]
    pub(super) client_key: Option<PathBuf>,
}
