//! The child's side of a probe.

use std::{ffi::OsString, fs::File, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use super::{
    LOADING, MARK, Passed, Refused,
    rehearsal::{self, Failed},
    sandbox,
};
use crate::{
    Origin, Plugin, SearchPath,
    describe::describe,
    open::open,
    report::{Chain, Fix},
    stage::{Digest, Provenance, Staged},
    trust::Grant,
};

/// The processor time that it may use, whatever its parent's deadline is.
const PROCESSOR_TIME: Duration = Duration::from_secs(30);
/// The longest file that a library may write that is only loaded.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The longest file of a store that is opened for a try: some begin with a large one that is mostly empty.
const STORE_BYTES: u64 = 1024 * 1024 * 1024;

/// Loads a library, and tells the parent on standard output how that went. [`Prober`](super::Prober) puts the
/// arguments after its own: the staged library, the file that it was copied from, and for a rehearsal a
/// directory to open a store in.
///
/// To be called by a program that an embedder names in [`Prober`](super::Prober), before it has done anything
/// else: in particular while it has one thread.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let (staged, source, scratch) = match arguments {
        [staged, source] => (staged, source, None),
        [staged, source, scratch] => (staged, source, Some(scratch)),
        _ => return ExitCode::from(2),
    };
    let file_bytes = if scratch.is_some() { STORE_BYTES } else { FILE_BYTES };
    let skipped = sandbox::enter(PROCESSOR_TIME, file_bytes);
    let Ok(mut parent) = answers() else { return ExitCode::from(2) };
    if writeln!(parent, "{MARK}{LOADING}").is_err() {
        return ExitCode::from(2);
    }
    let loaded = load(staged.into(), source.into()).map_err(Failed::Refused);
    let passed = loaded.and_then(|plugin| match scratch {
        None => Ok(()),
        Some(scratch) => rehearsal::perform(&plugin, scratch.into()),
    });
    let told = match passed {
        Ok(()) => serde_json::to_string(&Passed { skipped }).map(|text| format!("passed {text}")),
        Err(Failed::Refused(refused)) => {
            serde_json::to_string(&refused).map(|text| format!("refused {text}"))
        }
        Err(Failed::Wrong(reason)) => serde_json::to_string(&reason).map(|text| format!("wrong {text}")),
    };
    match told {
        Ok(told) if writeln!(parent, "{MARK}{told}").is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

/// Standard output, put where the library does not find it: what it prints goes to standard error.
#[cfg(unix)]
fn answers() -> std::io::Result<File> {
    let answers = rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3)?;
    rustix::stdio::dup2_stdout(std::io::stderr())?;
    Ok(answers.into())
}

#[cfg(windows)]
fn answers() -> std::io::Result<File> {
    use std::os::windows::io::AsHandle;
    std::io::stdout().as_handle().try_clone_to_owned().map(File::from)
}

/// Loads a staged library into this process, without the trust policy: for processes that try a library out,
/// such as a probe or a conformance suite. `source` is the file that it was copied from, for messages.
///
/// # Errors
///
/// Why it cannot be loaded, and what to do.
pub fn load(path: PathBuf, source: PathBuf) -> Result<Plugin, Refused> {
    // By its name, which its parent has computed; a file of another name is read once more.
    let named = path.file_stem().and_then(|name| Digest::parse(name.to_str()?));
    let digest = match named {
        Some(digest) => digest,
        None => Digest::of(&std::fs::read(&path).map_err(|error| Refused {
            reason: format!("read {}: {error}", path.display()),
            fix: "see that the file is there and can be read".to_owned(),
            detail: None,
            lasting: false,
        })?),
    };
    let staged = Staged { source, path, digest, provenance: Provenance::default() };
    let refused = |error: &dyn Fix, shown: String| Refused {
        reason: shown,
        fix: error.fix(),
        detail: None,
        lasting: false,
    };
    let described = describe(staged).map_err(|error| refused(&error, Chain(&error).to_string()))?;
    let nowhere = SearchPath { directory: PathBuf::new(), origin: Origin::CommandLine };
    open(&described, Grant::Unchecked, nowhere, usize::MAX).map_err(|error| {
        let detail = error.detail().map(str::to_owned);
        let lasting = error.is_lasting();
        Refused { detail, lasting, ..refused(&error, Chain(&error).to_string()) }
    })
}
