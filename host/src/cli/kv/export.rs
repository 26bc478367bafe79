//! `keyway kv export`: the current versions of all secrets in a folder. Not one point in time: each secret is
//! read when its turn comes.

use std::{fs, io::Write, path::Path};

use keyway_terminal::output::{Format, print, progress, say, warn};

use super::{
    get::{Version, read},
    list::names,
    path::{Located, locate},
};
use crate::cli::{client::Client, failure::Failure};

pub(super) fn run(client: &Client, path: &str, output: Option<&Path>, format: Format) -> Result<(), Failure> {
    let folder = locate(client, path)?;
    let secrets = find(client, &folder)?;
    if secrets.is_empty() {
        return Err(Failure::NotFound(format!("export {path}: there is no secret in it")));
    }
    let bar = progress("exported", secrets.len());
    let (mut text, mut exported, mut skipped) = (String::from("{"), 0, Vec::new());
    for secret in &secrets {
        let located = folder.child(secret);
        match read(client, &located, &located.path(), None) {
            Ok(Version { fields, .. }) => {
                let name = serde_json::to_string(secret).expect("a name is plain data");
                let fields = serde_json::to_string(&fields).expect("fields are plain data");
                let comma = if exported == 0 { "" } else { "," };
                text.push_str(&format!("{comma}\n  {name}: {fields}"));
                exported += 1;
            }
            // Deleted, or removed since it was listed.
            Err(Failure::NotFound(_)) => skipped.push(located.path()),
            Err(failure) => return Err(failure),
        }
        bar.inc(1);
    }
    text.push_str("\n}\n");
    bar.finish_and_clear();
    let Some(file) = output else {
        for path in &skipped {
            warn(&format!("{path} has no current version, and is left out"));
        }
        return say(&text);
    };
    write_private(file, &text)?;
    let json = serde_json::json!({ "file": file, "exported": exported, "skipped": skipped });
    print(format, &json, || {
        let skipped: String = skipped
            .iter()
            .map(|path| format!("  {path} has no current version, and is left out\n"))
            .collect();
        format!("{exported} secrets are in {}, unencrypted.\n{skipped}", file.display())
    })?;
    Ok(())
}

/// The names of all secrets in a folder and its folders, relative to it.
fn find(client: &Client, folder: &Located) -> Result<Vec<String>, Failure> {
    let (mut secrets, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(prefix) = folders.pop() {
        let here =
            if prefix.is_empty() { folder.clone() } else { folder.child(prefix.trim_end_matches('/')) };
        for name in names(client, &here, &here.path())? {
            let name = format!("{prefix}{name}");
            if name.ends_with('/') { folders.push(name) } else { secrets.push(name) }
        }
    }
    secrets.sort_unstable();
    Ok(secrets)
}

/// Readable by its owner alone, and never half written.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("write", path, &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Made with mode 0600.
    let mut beside =
        tempfile::Builder::new().prefix(".keyway-export-").tempfile_in(directory).map_err(failed)?;
    beside.write_all(text.as_bytes()).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(Failure::Usage(format!("{} is there, and no file", path.display())));
    }
    beside.persist(path).map(|_| ()).map_err(|error| failed(error.error))
}
