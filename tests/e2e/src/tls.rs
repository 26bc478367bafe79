//! Certificates for tests: an authority, and servers that it vouches for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key pair");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority has no names");
        params.distinguished_name.push(DnType::CommonName, "an authority for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes its certificate, and answers where.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join("ca.pem");
        fs::write(&path, &self.pem).expect("write the authority's certificate");
        path
    }

    /// Writes `server.pem` and `server.key` for this machine's loopback.
    pub fn write_server(&self, directory: &Path) {
        let key = KeyPair::generate().expect("a key pair");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names of a server");
        params.distinguished_name.push(DnType::CommonName, "a server for tests");
        self.sign(&key, params, directory, "server");
    }

    /// Writes `client.pem` and `client.key` for a workload of this SPIFFE ID.
    pub fn write_client(&self, directory: &Path, spiffe_id: &str) {
        let key = KeyPair::generate().expect("a key pair");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().expect("ASCII"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&key, params, directory, "client");
    }

    fn sign(&self, key: &KeyPair, params: CertificateParams, directory: &Path, name: &str) {
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).expect("write the key");
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).expect("write the certificate");
    }
}

/// Writes `server.pem` and `server.key` of a server with a self-signed certificate. `change` alters its
/// parameters.
pub fn write_self_signed(directory: &Path, names: &[&str], change: impl FnOnce(&mut CertificateParams)) {
    let key = KeyPair::generate().expect("a key pair");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of a server");
    params.distinguished_name.push(DnType::CommonName, "a server for itself");
    change(&mut params);
    let certificate = params.self_signed(&key).expect("a certificate");
    fs::write(directory.join("server.key"), key.serialize_pem()).expect("write the key");
    fs::write(directory.join("server.pem"), certificate.pem()).expect("write the certificate");
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
