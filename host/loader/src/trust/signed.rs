//! The policy `signed`: a signature in minisign's format next to the library, by a key of the configuration.
//! The signature covers the trusted comment, which binds the plugin's name, version and platform. So neither
//! an old library nor another plugin's can be passed off as this one.
//!
//! Format: <https://jedisct1.github.io/minisign/>.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use minisign_verify::{PublicKey, Signature};

use super::TrustError;
use crate::{
    describe::{Described, Descriptor},
    discover::is_plugin_name,
};

/// The longest signature file.
const MAX_SIGNATURE_BYTES: u64 = 16 * 1024;

/// A key whose signatures are believed, and for which plugins.
#[derive(Clone)]
pub struct TrustedKey {
    name: String,
    key: PublicKey,
    plugins: Vec<String>,
}

impl TrustedKey {
    /// A key by its base64 text, for plugins whose names match one of the patterns. A pattern is a name, or
    /// the beginning of names and a `*`.
    ///
    /// # Errors
    ///
    /// The problem of the key or a pattern.
    pub fn new(name: &str, public_key: &str, plugins: Vec<String>) -> Result<Self, String> {
        let key = PublicKey::from_base64(public_key.trim())
            .map_err(|error| format!("it is no public key of minisign's ({error})"))?;
        if plugins.is_empty() {
            return Err("it signs for no plugin; write plugins = [\"NAME\"] or [\"PREFIX-*\"]".to_owned());
        }
        for pattern in &plugins {
            let plain = pattern.strip_suffix('*').unwrap_or(pattern);
            if pattern != "*" && !is_plugin_name(plain) {
                return Err(format!(
                    "{pattern:?} is neither a plugin's name nor the beginning of one with * after it"
                ));
            }
        }
        Ok(Self { name: name.to_owned(), key, plugins })
    }

    /// The name that the configuration gives it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn signs_for(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => plugin.starts_with(beginning),
            None => plugin == pattern,
        })
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedKey")
            .field("name", &self.name)
            .field("plugins", &self.plugins)
            .finish_non_exhaustive()
    }
}

/// The trusted comment that a plugin's signature must carry.
pub fn trusted_comment(descriptor: &Descriptor) -> String {
    format!("name:{}\tversion:{}\ttarget:{}", descriptor.name, descriptor.version, descriptor.target())
}

/// Where a library's signature lies.
pub fn signature_path(library: &Path) -> PathBuf {
    let mut path = OsString::from(library);
    path.push(".minisig");
    path.into()
}

/// The name of the key that signed.
pub(super) fn verify(keys: &[TrustedKey], described: &Described) -> Result<String, TrustError> {
    let path = signature_path(&described.staged.source);
    let text = read(&path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            TrustError::NoSignature { path: path.clone() }
        } else {
            TrustError::ReadSignature { path: path.clone(), source }
        }
    })?;
    let refused = |reason: String| TrustError::BadSignature { path: path.clone(), reason };
    let signature = Signature::decode(&text)
        .map_err(|error| refused(format!("it is no signature of minisign's ({error})")))?;
    let plugin = &described.descriptor.name;
    let candidates: Vec<&TrustedKey> = keys.iter().filter(|key| key.signs_for(plugin)).collect();
    if candidates.is_empty() {
        return Err(TrustError::NoKey { plugin: plugin.clone() });
    }
    let library = fs::read(&described.staged.path)
        .map_err(|source| TrustError::ReadSignature { path: described.staged.path.clone(), source })?;
    // Signatures of the old form, over the file and not over its hash, are refused.
    let Some(signer) = candidates.iter().find(|key| key.key.verify(&library, &signature, false).is_ok())
    else {
        let names: Vec<&str> = candidates.iter().map(|key| key.name.as_str()).collect();
        return Err(refused(format!(
            "it is not by a key that may sign for {plugin} (these may: {}), or not over this file, whose SHA-256 is {}",
            names.join(", "),
            described.staged.digest
        )));
    };
    bound(signature.trusted_comment(), &described.descriptor).map_err(refused)?;
    Ok(signer.name.clone())
}

fn read(path: &Path) -> io::Result<String> {
    let mut options = fs::File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let mut text = String::new();
    options.open(path)?.take(MAX_SIGNATURE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The comment's `name:`, `version:` and `target:` must be this plugin's, once each; other fields do not matter.
fn bound(comment: &str, descriptor: &Descriptor) -> Result<(), String> {
    let mut fields = BTreeMap::new();
    for (name, value) in comment.split_whitespace().filter_map(|field| field.split_once(':')) {
        if fields.insert(name, value).is_some() {
            return Err(format!("its trusted comment names {name} twice"));
        }
    }
    let wanted = [
        ("name", descriptor.name.clone()),
        ("version", descriptor.version.to_string()),
        ("target", descriptor.target()),
    ];
    for (name, wanted) in wanted {
        match fields.get(name) {
            Some(found) if *found == wanted => {}
            Some(found) => {
                return Err(format!("its trusted comment is for {name} {found}, and this is {wanted}"));
            }
            None => return Err(format!("its trusted comment {comment:?} does not say {name}:{wanted}")),
        }
    }
    Ok(())
}
