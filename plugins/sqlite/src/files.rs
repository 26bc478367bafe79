//! The files: made private, without links, on a file system that keeps its promises, and still where they
//! were opened.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why the files could not be had.
#[derive(Debug, Error)]
pub(crate) enum FilesError {
    #[error("{} is a symbolic link; name the file itself", path.display())]
    Link { path: PathBuf },
    #[error("{} is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} cannot be made or opened: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{} is writable by every user, who could put another database there: chmod 700 {}",
        path.display(), path.display()
    )]
    OpenDirectory { path: PathBuf },
    #[error(
        "{} is on a network file system ({kind}), whose locks and syncs do not keep a database safe: put it on a \
         local one, or set allow_network_file_system = true if this one is known to be sound",
        path.display()
    )]
    Network { path: PathBuf, kind: &'static str },
}

/// Makes the directory if there is none, and answers the path without links in its directories, which SQLite would
/// refuse anywhere in it.
pub(crate) fn real_path(path: &Path) -> Result<PathBuf, FilesError> {
    let failed = |source| FilesError::File { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| FilesError::NoFile { path: path.to_owned() })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory).map_err(failed)?;
    }
    let directory = directory.canonicalize().map_err(failed)?;
    check_directory(&directory).map_err(failed)??;
    Ok(directory.join(name))
}

#[cfg(unix)]
fn check_directory(directory: &Path) -> io::Result<Result<(), FilesError>> {
    use std::os::unix::fs::PermissionsExt;
    const STICKY: u32 = 0o1000;
    let mode = directory.metadata()?.permissions().mode();
    if mode & 0o002 != 0 && mode & STICKY == 0 {
        return Ok(Err(FilesError::OpenDirectory { path: directory.to_owned() }));
    }
    if mode & 0o077 != 0 {
        tracing::warn!(directory = %directory.display(), mode = format!("{:o}", mode & 0o7777),
            "the database's directory is open to other users; 700 is better");
    }
    Ok(Ok(()))
}

#[cfg(not(unix))]
fn check_directory(_directory: &Path) -> io::Result<Result<(), FilesError>> {
    Ok(Ok(()))
}

/// Opens or makes a file that only its owner may read and write. One that is not a plain file is refused; one that
/// others may read is closed to them.
pub(crate) fn private_file(path: &Path) -> Result<File, FilesError> {
    let failed = |source| FilesError::File { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => return Err(FilesError::Link { path: path.to_owned() }),
        Ok(metadata) if !metadata.is_file() => return Err(FilesError::NoFile { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // The look above gives the better text; this leaves no time in between.
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    let file = options.open(path).map_err(failed)?;
    close_to_others(&file, path).map_err(failed)?;
    Ok(file)
}

#[cfg(unix)]
fn close_to_others(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777),
            "the file was open to other users; now it is 600");
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn close_to_others(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses a network file system, unless the configuration allows it. Warns about one whose storage is
/// unclear, such as a file system in user space.
pub(crate) fn check_file_system(database: &Path, allow_network: bool) -> Result<(), FilesError> {
    let kind =
        file_system(database).map_err(|source| FilesError::File { path: database.to_owned(), source })?;
    match kind {
        FileSystem::Network(kind) if !allow_network => {
            Err(FilesError::Network { path: database.to_owned(), kind })
        }
        FileSystem::Network(kind) | FileSystem::Unclear(kind) => {
            tracing::warn!(path = %database.display(), file_system = kind,
                "the database may be on a network file system: its locks and syncs must be sound");
            Ok(())
        }
        FileSystem::Local => Ok(()),
    }
}

/// The kind of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileSystem {
    Local,
    Network(&'static str),
    Unclear(&'static str),
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system(path: &Path) -> io::Result<FileSystem> {
    let magic = rustix::fs::statfs(path)?.f_type;
    // Magic numbers have 32 bits; the field's width and sign differ between machines.
    Ok(of_magic(magic as u32))
}

/// Magic numbers: statfs(2) and Linux' include/uapi/linux/magic.h.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn of_magic(magic: u32) -> FileSystem {
    use FileSystem::{Local, Network, Unclear};
    match magic {
        0x6969 => Network("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Network("SMB"),
        0x00c3_6400 => Network("Ceph"),
        0x0bd0_0bd0 => Network("Lustre"),
        0x4750_4653 => Network("GPFS"),
        0x0116_1970 => Network("GFS2"),
        0x7461_636f => Network("OCFS2"),
        0x5346_414f | 0x6b41_4653 => Network("AFS"),
        0x7375_7245 => Network("Coda"),
        0x564c => Network("NCP"),
        0x786f_4256 => Network("a VirtualBox shared folder"),
        0x0102_1997 => Unclear("9p"),
        0x6573_5546 => Unclear("FUSE"),
        _ => Local,
    }
}

#[cfg(any(target_os = "macos", target_os = "ios"))]
fn file_system(path: &Path) -> io::Result<FileSystem> {
    let name: Vec<u8> = rustix::fs::statfs(path)?
        .f_fstypename
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.cast_unsigned())
        .collect();
    Ok(match name.as_slice() {
        b"nfs" => FileSystem::Network("NFS"),
        b"smbfs" | b"cifs" => FileSystem::Network("SMB"),
        b"afpfs" => FileSystem::Network("AFP"),
        b"webdav" => FileSystem::Network("WebDAV"),
        name if name.starts_with(b"macfuse") || name.starts_with(b"osxfuse") => FileSystem::Unclear("FUSE"),
        _ => FileSystem::Local,
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "ios")))]
fn file_system(_path: &Path) -> io::Result<FileSystem> {
    Ok(FileSystem::Local)
}

/// Bytes that the file system of `path` has left for this user.
#[cfg(unix)]
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let statistics = rustix::fs::statvfs(path)?;
    Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
}

/// Nothing is known here.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_path: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

/// `path` with `suffix` added to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The open database and its WAL, by what the file system calls them and not by their names.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    database: PathBuf,
    wal: PathBuf,
    opened: [Option<Identity>; 2],
}

type Identity = (u64, u64);

impl OpenedFiles {
    /// Takes note of the files as they are now.
    pub(crate) fn of(database: &Path) -> Self {
        let wal = beside(database, "-wal");
        let opened = [identity(database), identity(&wal)];
        Self { database: database.to_owned(), wal, opened }
    }

    /// Says which file is no longer in its place. The next opening would not find what is written to it.
    pub(crate) fn moved(&self) -> Option<String> {
        [&self.database, &self.wal].into_iter().zip(self.opened).find_map(|(path, opened)| {
            let now = identity(path);
            (opened.is_some() && now != opened).then(|| {
                let what =
                    if now.is_some() { "was replaced by another file" } else { "was moved or removed" };
                format!("{} {what} while it was open", path.display())
            })
        })
    }

    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    /// The size of the WAL's file. SQLite reuses the file from its beginning, so the size says how far the
    /// WAL has grown, and not how much it holds.
    pub(crate) fn wal_bytes(&self) -> u64 {
        size(&self.wal).unwrap_or(0)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn size(path: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags};
    // As with the identity below: nothing but the size.
    Some(rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::SIZE).ok()?.stx_size)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn size(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.len())
}

/// Asks for the inode number alone. If it asked for a file's times too, the file's next write would change
/// them (since Linux 6.13, `Documentation/filesystems/multigrain-ts.rst`). The next sync would then write the
/// times as well: measured, a fifth of a commit.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn identity(path: &Path) -> Option<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags};
    let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO).ok()?;
    Some((u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor), found.stx_ino))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// If open files cannot be moved, there is nothing to notice.
#[cfg(not(unix))]
fn identity(_path: &Path) -> Option<Identity> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_and_directories_are_private_also_where_they_were_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = real_path(&directory.path().join("a/b/k.db")).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        private_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        private_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_and_what_is_no_file_are_refused_and_links_in_the_directory_resolved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        private_file(&path).unwrap();
        let link = directory.path().join("l.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(private_file(&link), Err(FilesError::Link { .. })));
        assert!(matches!(private_file(directory.path()), Err(FilesError::NoFile { .. })));
        let linked = directory.path().join("linked");
        std::os::unix::fs::symlink(directory.path(), &linked).unwrap();
        let real = real_path(&linked.join("m.db")).unwrap();
        assert_eq!(real, directory.path().canonicalize().unwrap().join("m.db"));
    }

    #[test]
    fn directory_that_everybody_may_write_is_refused_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = real_path(&directory.path().join("k.db")).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        real_path(&directory.path().join("k.db")).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(of_magic(0x6969), FileSystem::Network("NFS"));
        assert_eq!(of_magic(0xff53_4d42), FileSystem::Network("SMB"));
        assert_eq!(of_magic(0x6573_5546), FileSystem::Unclear("FUSE"));
        // ext4 and tmpfs.
        assert_eq!((of_magic(0xef53), of_magic(0x0102_1994)), (FileSystem::Local, FileSystem::Local));
        // What statfs(2) itself says about a file system that every Linux has.
        assert_eq!(file_system(Path::new("/proc")).unwrap(), FileSystem::Local);
    }

    #[test]
    fn file_that_was_replaced_or_removed_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        private_file(&path).unwrap();
        let place = OpenedFiles::of(&path);
        assert_eq!(place.moved(), None);
        fs::rename(&path, directory.path().join("elsewhere.db")).unwrap();
        assert!(place.moved().unwrap().contains("moved or removed"));
        private_file(&path).unwrap();
        assert!(place.moved().unwrap().contains("replaced"));
        fs::rename(directory.path().join("elsewhere.db"), &path).unwrap();
        assert_eq!(place.moved(), None);
    }
}
