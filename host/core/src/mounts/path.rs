//! Paths of mounts.

use crate::secrets::FolderPath;

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
    /// A line that says why the path is refused.
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

    /// The first of other paths that is this one, lies inside it, or has it inside: the secrets of the outer
    /// mount would be hidden.
    pub fn overlapped_by<'a>(&self, mut others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let is_inside = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        others.find(|other| is_inside(self.as_str(), other) || is_inside(other, self.as_str()))
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
