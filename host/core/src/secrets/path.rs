//! Names of secrets and of the folders that they lie in. Parsed once, at the edge; policy and storage see the
//! same text.

/// The longest path, in bytes: a key of the interface has at least 480, and the engine adds some bytes.
pub const MAX_PATH_BYTES: usize = 460;

/// The path of one secret: segments parted by slashes, none empty, none a dot segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPath(String);

/// The path of a folder: empty, or a path with a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderPath(String);

impl SecretPath {
    /// Parses a decoded path.
    ///
    /// # Errors
    ///
    /// A line that says why the path is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path of a secret is missing".to_owned());
        }
        check(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FolderPath {
    /// Parses a decoded path, with or without a slash at its end; empty is the mount itself.
    ///
    /// # Errors
    ///
    /// A line that says why the path is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self(String::new()));
        }
        check(text)?;
        Ok(Self(format!("{text}/")))
    }

    /// The path, empty or with a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(path: &str) -> Result<(), String> {
    if path.len() > MAX_PATH_BYTES {
        return Err(format!(
            "the path has {} bytes after its mount; the limit is {MAX_PATH_BYTES} bytes",
            path.len()
        ));
    }
    if path.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("a path holds no control characters".to_owned());
    }
    for segment in path.split('/') {
        match segment {
            "" => return Err("a path has no empty segments".to_owned()),
            "." | ".." => return Err("a path has no dot segments".to_owned()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_parse_and_awkward_ones_do_not() {
        for good in ["a", "app/db", "a b/c", "ü/🔑", "a.b/..c", "%2e"] {
            assert_eq!(SecretPath::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "/", "a//b", "/a", "a/", ".", "a/../b", "a/.", "a\0b", "a\nb"] {
            assert!(SecretPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(SecretPath::parse(&"x".repeat(MAX_PATH_BYTES)).is_ok());
        assert!(SecretPath::parse(&"x".repeat(MAX_PATH_BYTES + 1)).is_err());
    }

    #[test]
    fn folder_has_a_slash_at_its_end_or_is_the_mount() {
        assert_eq!(FolderPath::parse("").unwrap().as_str(), "");
        assert_eq!(FolderPath::parse("app").unwrap().as_str(), "app/");
        assert_eq!(FolderPath::parse("app/").unwrap().as_str(), "app/");
        assert!(FolderPath::parse("app//").is_err());
    }
}
