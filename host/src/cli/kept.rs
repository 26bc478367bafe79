//! Tokens that are kept between commands, each for the address that it is for: it is shown to no other. The
//! file can be read by its owner alone, and a file that others can read is refused.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::failure::Failure;

/// By the XDG Base Directory Specification.
fn file() -> Result<PathBuf, Failure> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("keyway/tokens.json")).ok_or_else(|| {
        Failure::Usage(
            "there is no place to keep a token: neither XDG_CONFIG_HOME nor HOME is set".to_owned(),
        )
    })
}

/// The token that is kept for this address.
pub(super) fn token(address: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    let Ok(file) = file() else { return Ok(None) };
    // A user may have written the file by hand.
    Ok(read(&file)?.remove(address).map(Zeroizing::new).map(|token| Zeroizing::new(token.trim().to_owned())))
}

/// Keeps a token for this address, and answers where.
pub(super) fn keep(address: &str, token: &str) -> Result<PathBuf, Failure> {
    let file = file()?;
    let mut tokens = read(&file)?;
    tokens.insert(address.to_owned(), token.to_owned());
    write(&file, &tokens)?;
    Ok(file)
}

/// Forgets the token of this address; whether there was one.
pub(super) fn forget(address: &str) -> Result<bool, Failure> {
    let file = file()?;
    let mut tokens = read(&file)?;
    let was_there = tokens.remove(address).is_some();
    if was_there {
        write(&file, &tokens)?;
    }
    Ok(was_there)
}

fn read(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Failure::file("read", file, &error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            let message = format!("{}: others can read it; run chmod 600 on it", file.display());
            return Err(Failure::Refused(message));
        }
    }
    #[cfg(not(unix))]
    let _ = metadata;
    let text = fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    let text = Zeroizing::new(text);
    serde_json::from_str(&text)
        .map_err(|_| Failure::Other(format!("{}: these are no tokens; remove the file", file.display())))
}

/// In the place of the former one, all at once.
fn write(file: &Path, tokens: &BTreeMap<String, String>) -> Result<(), Failure> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let failed = |error: io::Error| Failure::file("write", file, &error);
    fs::create_dir_all(directory).map_err(failed)?;
    // Its owner's alone from the beginning.
    let mut next = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    let text = Zeroizing::new(serde_json::to_string_pretty(tokens).expect("tokens are plain data"));
    next.write_all(text.as_bytes()).and_then(|()| next.as_file().sync_all()).map_err(failed)?;
    next.persist(file).map(|_| ()).map_err(|error| failed(error.error))
}
