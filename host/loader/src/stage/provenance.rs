//! Who could have written a library: its owner and mode, those of the directories above it, and whether the
//! name leads out of its directory. The answers come from open files, so that they hold for the file that was
//! copied.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Most links from name to name within one directory.
#[cfg(unix)]
const MAX_LINKS: usize = 8;

/// Who may write a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The number of the user that owns it.
    pub user: u32,
    /// The permission bits, those of set-user-id, set-group-id and "sticky" included.
    pub mode: u32,
}

impl Ownership {
    /// Whether it belongs to root or to this program's user.
    pub fn is_trusted(self) -> bool {
        self.user == 0 || self.user == own_user()
    }

    /// Whether only the owner may write it.
    pub fn is_exclusive(self) -> bool {
        self.mode & 0o022 == 0
    }

    /// Whether only the owner may replace his files in it. In a "sticky" directory, as `/tmp` is, others may
    /// not, although they may add files.
    #[cfg(unix)]
    fn keeps_what_is_there(self) -> bool {
        self.is_exclusive() || self.mode & 0o1000 != 0
    }
}

/// A directory that others than root and this program's user may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The directory.
    pub path: PathBuf,
    /// Who may write it.
    pub ownership: Ownership,
}

/// Who could have written a library, as seen when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The file's; none if the system does not tell.
    pub file: Option<Ownership>,
    /// The directory that it was opened in, without links in its path; none if the system does not tell.
    pub directory: Option<PathBuf>,
    /// The first of the directories above that others may write, from the nearest.
    pub exposed: Option<Exposed>,
    /// Why the directories above cannot be judged; none if they can.
    pub unjudged: Option<String>,
    /// Where a link leads to that leaves the directory.
    pub leads_to: Option<PathBuf>,
}

/// The number of the user that this program runs as; zero if there are none.
pub(super) fn own_user() -> u32 {
    #[cfg(unix)]
    return rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    return 0;
}

/// Opens a file to read. If the file is a pipe, this does not wait for its writer.
#[cfg(unix)]
pub(super) fn open(path: &Path) -> io::Result<(File, Provenance)> {
    use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};

    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let inside = openat(CWD, directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut name = PathBuf::from(name);
    let mut leads_to = None;
    let mut links = 0;
    let file = loop {
        let follow = if leads_to.is_some() { OFlags::empty() } else { OFlags::NOFOLLOW };
        match openat(&inside, &name, flags | OFlags::NONBLOCK | follow, Mode::empty()) {
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::MLINK) if links < MAX_LINKS => {
                links += 1;
                let target = readlinkat(&inside, &name, Vec::new())?;
                let target = PathBuf::from(std::ffi::OsString::from(target.to_string_lossy().into_owned()));
                // A name in the same directory is no way out.
                if target.file_name().is_some_and(|file| Path::new(file) == target) {
                    name = target;
                } else {
                    leads_to = Some(target);
                }
            }
            opened => break File::from(opened?),
        }
    };
    let inside = File::from(inside);
    let whole = directory.canonicalize()?;
    if identity(&inside.metadata()?) != identity(&whole.metadata()?) {
        return Err(io::Error::other("its directory was replaced while it was opened"));
    }
    let (exposed, unjudged) = match first_exposed(&inside, &whole) {
        Ok(exposed) => (exposed, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let file_ownership = Some(ownership(&file.metadata()?));
    Ok((file, Provenance { file: file_ownership, directory: Some(whole), exposed, unjudged, leads_to }))
}

#[cfg(not(unix))]
pub(super) fn open(path: &Path) -> io::Result<(File, Provenance)> {
    Ok((File::open(path)?, Provenance::default()))
}

#[cfg(unix)]
fn ownership(metadata: &std::fs::Metadata) -> Ownership {
    use std::os::unix::fs::MetadataExt;
    Ownership { user: metadata.uid(), mode: metadata.mode() & 0o7777 }
}

#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Checks the directory itself by its open descriptor, and those above it by name: only their owners can
/// change these.
#[cfg(unix)]
fn first_exposed(directory: &File, path: &Path) -> io::Result<Option<Exposed>> {
    let own = ownership(&directory.metadata()?);
    if !own.is_trusted() || !own.is_exclusive() {
        return Ok(Some(Exposed { path: path.to_owned(), ownership: own }));
    }
    for above in path.ancestors().skip(1) {
        let ownership = ownership(&above.symlink_metadata()?);
        if !ownership.is_trusted() || !ownership.keeps_what_is_there() {
            return Ok(Some(Exposed { path: above.to_owned(), ownership }));
        }
    }
    Ok(None)
}
