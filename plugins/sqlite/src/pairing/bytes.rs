//! Reading files and numbers.

use std::{fs::File, io, path::Path};

/// Opens a file to read it; none if there is none. One that is no plain file could make the opening wait.
pub(super) fn existing(path: &Path) -> io::Result<Option<File>> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => File::open(path).map(Some),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A big-endian number of up to eight bytes.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
