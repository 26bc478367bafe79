//! `keyway plugin sign` and `new-key`: signatures and keys in minisign's format, so that its own tools read
//! them too.

use std::{
    fs::{self, File},
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use clap::Args;
use keyway_loader::trust::signed::{signature_path, trusted_comment};
use keyway_terminal::files::{read, write_whole};
use minisign::{KeyPair, PublicKey, SecretKeyBox};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{failure::Failure, prompt};
use keyway_terminal::output::{Format, print};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The library file.
    file: PathBuf,
    /// The secret key, as `keyway plugin new-key` or `minisign -G` makes it. Its password is asked for, or
    /// read from standard input.
    #[arg(long)]
    key: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewKeyArguments {
    /// The file of the secret key; the public key goes to the same name with .pub added.
    file: PathBuf,
    /// Leave the secret key without a password, for a machine that signs unattended.
    #[arg(long)]
    no_password: bool,
}

fn other(doing: &str) -> impl Fn(minisign::PError) -> Failure + '_ {
    move |error| Failure::Other(format!("{doing}: {error}"))
}

pub(super) fn sign(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let Arguments { file, key } = arguments;
    let (described, _staging) = read(file)?;
    let text = Zeroizing::new(fs::read_to_string(key).map_err(|error| Failure::file("read", key, &error))?);
    if text.contains("minisign public key") {
        let message = format!("{} is a public key; sign with the secret one", key.display());
        return Err(Failure::Usage(message));
    }
    let secret = unlock(&text, key)?;
    let public = PublicKey::from_secret_key(&secret).map_err(other("make the public key"))?;
    // Signs the private copy that was described, even if the file has changed since.
    let staged = &described.staged.path;
    let library = File::open(staged).map_err(|error| Failure::file("read", staged, &error))?;
    let comment = trusted_comment(&described.descriptor);
    let untrusted = format!("signature of {}", described.descriptor);
    let signature = minisign::sign(Some(&public), &secret, library, Some(&comment), Some(&untrusted))
        .map_err(other("sign the library"))?;
    let path = signature_path(file);
    write_whole(&path, signature.into_string().as_bytes())?;
    let json = json!({ "file": file, "signature": path, "trusted_comment": comment, "public_key": public.to_base64() });
    print(format, &json, || {
        format!(
            "{} is signed: {}\nTrusted comment: {comment}\nPublic key: {}\n",
            described.descriptor,
            path.display(),
            public.to_base64()
        )
    })
}

fn unlock(text: &str, path: &Path) -> Result<minisign::SecretKey, Failure> {
    let refused = |error: minisign::PError| Failure::Refused(format!("{}: {error}", path.display()));
    let boxed = || {
        SecretKeyBox::from_string(text).map_err(|error| {
            Failure::Usage(format!("{} is no secret key of minisign's: {error}", path.display()))
        })
    };
    // A key without a password can be recognised without asking for one.
    if let Ok(secret) = boxed()?.into_unencrypted_secret_key() {
        return Ok(secret);
    }
    let password = prompt::secret(&format!("Password of {}: ", path.display()))?;
    boxed()?.into_secret_key(Some(password.trim_end_matches(['\r', '\n']).to_owned())).map_err(refused)
}

pub(super) fn new_key(arguments: &NewKeyArguments, format: Format) -> Result<(), Failure> {
    let NewKeyArguments { file, no_password } = arguments;
    let mut public_file = file.clone().into_os_string();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    // A key that is overwritten is gone.
    for path in [file, &public_file] {
        if path.exists() {
            return Err(Failure::Usage(format!("{} is there already; name another file", path.display())));
        }
    }
    let pair = if *no_password {
        KeyPair::generate_unencrypted_keypair()
    } else {
        let password = new_password()?;
        KeyPair::generate_encrypted_keypair(Some(password.to_string()))
    };
    let pair = pair.map_err(other("make a key pair"))?;
    let secret =
        pair.sk.to_box(Some("Keyway's plugins: secret key")).map_err(other("write the secret key"))?;
    write_private(file, Zeroizing::new(secret.into_string()).as_bytes())
        .map_err(|error| Failure::file("write", file, &error))?;
    let public = pair.pk.to_box().map_err(other("write the public key"))?;
    write_whole(&public_file, public.into_string().as_bytes())?;
    let base64 = pair.pk.to_base64();
    print(
        format,
        &json!({ "secret_key": file, "public_key_file": public_file, "public_key": base64 }),
        || {
            format!(
                "The secret key is {}: keep it where plugins are built, and nowhere else.\nWrite this into the configuration of \
             each server that may use its plugins:\n\n[trust.keys.NAME]\npublic_key = \"{base64}\"\nplugins = [\"PLUGIN\"]\n",
                file.display()
            )
        },
    )
}

/// Asks twice on a terminal: a key with a mistyped password is lost.
fn new_password() -> Result<Zeroizing<String>, Failure> {
    let ask = |prompt: &str| {
        let text = prompt::secret(prompt)?;
        Ok::<_, Failure>(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let password = ask("Password for the new key: ")?;
    if password.is_empty() {
        return Err(Failure::Usage(
            "an empty password protects nothing; say --no-password if you want none".to_owned(),
        ));
    }
    if io::stdin().is_terminal() && ask("The same again: ")? != password {
        return Err(Failure::Usage("the two passwords differ; nothing was written".to_owned()));
    }
    Ok(password)
}

fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    use io::Write;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
