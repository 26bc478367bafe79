//! Paths of mounts.

use crate::secrets::FolderPath;

/// What of a mount's own paths comes first behind it.
const PARTS: [&str; 7] = ["config", "data", "delete", "destroy", "metadata", "subkeys", "undelete"];
/// What cannot be mounted.
const RESERVED: [&str; 5] = ["sys", "auth", "cubbyhole", "identity", "audit"];

/// The path of a mount: segments parted by slashes, without slashes at the ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPath(String);

impl MountPath {
    /// Parses a decoded path, with or without a slash at its end.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let folder = FolderPath::parse(text)?;
        let path = folder.as_str().trim_end_matches('/').to_owned();
        let first = path.split('/').next().unwrap_or_default();
        if first.is_empty() {
            return Err("the path of a mount is missing".to_owned());
        }
        if RESERVED.contains(&first) {
            return Err(format!("{path:?} is reserved; choose another path"));
        }
        Ok(Self(path))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this mount can be beside the others: a mount inside another must not hide the other's own paths.
    ///
    /// # Errors
    ///
    /// A line that says what would be hidden.
    pub fn check_beside<'a>(&self, others: impl Iterator<Item = &'a str>) -> Result<(), String> {
        for other in others {
            for (inner, outer) in [(self.as_str(), other), (other, self.as_str())] {
                let behind = inner.strip_prefix(outer).and_then(|rest| rest.strip_prefix('/'));
                let part = behind.and_then(|behind| behind.split('/').next());
                if let Some(part) = part.filter(|part| PARTS.contains(part)) {
                    return Err(format!(
                        "a mount at {inner} would hide {outer}/{part}, where the secrets of {outer} are; choose another path"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_paths_have_slashes_and_blanks_within_and_no_reserved_beginning() {
        for (text, path) in [("secret", "secret"), ("team a/kv/", "team a/kv"), ("system", "system")] {
            assert_eq!(MountPath::parse(text).unwrap().as_str(), path);
        }
        for wrong in ["", "/", "sys", "sys/x", "auth/token", "a//b", "a/../b", "/a"] {
            assert!(MountPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
