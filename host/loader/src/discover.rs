//! Stage 1: which library files are there. Nothing is opened, only directories are listed.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Most library files that are considered in one directory.
const MAX_FILES: usize = 1_000;

/// Where a directory to search was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The option `--plugin-dir`.
    CommandLine,
    /// The variable `KEYWAY_PLUGIN_PATH`.
    Environment,
    /// `plugin_dirs` in the configuration.
    Configuration,
    /// The user's data directory.
    User,
    /// The system's directory.
    System,
    /// Next to the binary.
    Bundled,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "from --plugin-dir",
            Self::Environment => "from KEYWAY_PLUGIN_PATH",
            Self::Configuration => "from plugin_dirs in the configuration",
            Self::User => "the user's plugins",
            Self::System => "the system's plugins",
            Self::Bundled => "next to the program",
        })
    }
}

/// A directory to search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPath {
    /// The directory.
    pub directory: PathBuf,
    /// Where it was named.
    pub origin: Origin,
}

/// A library file whose name is that of a plugin. Who it really is, its descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// The plugin's name by the file's name, with dashes.
    pub name: String,
    /// The directory that it was found in.
    pub place: SearchPath,
}

/// What became of one directory.
#[derive(Debug)]
pub struct SearchedDirectory {
    /// The directory.
    pub search: SearchPath,
    /// How many plugins' files it holds, or why it could not be listed.
    pub found: Result<usize, io::Error>,
}

impl fmt::Display for SearchedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.search.directory.display(), self.search.origin)?;
        match &self.found {
            Ok(0) => f.write_str("no plugin files"),
            Ok(1) => f.write_str("1 plugin file"),
            Ok(count) => write!(f, "{count} plugin files"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => f.write_str("does not exist"),
            Err(error) => write!(f, "cannot be listed: {error}"),
        }
    }
}

/// All candidates in the order of the search, and what became of each directory.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Candidates of all names; of those with one name and version the first counts, the others are shadowed.
    pub candidates: Vec<Candidate>,
    /// The directories in the order in which they were searched.
    pub places: Vec<SearchedDirectory>,
}

/// Lists the plugins' files in the directories.
pub fn discover(search: &[SearchPath]) -> Discovered {
    let mut discovered = Discovered::default();
    for search in search {
        let found = list(search).map(|candidates| {
            let count = candidates.len();
            discovered.candidates.extend(candidates);
            count
        });
        discovered.places.push(SearchedDirectory { search: search.clone(), found });
    }
    discovered
}

fn list(search: &SearchPath) -> io::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for entry in fs::read_dir(&search.directory)?.take(MAX_FILES * 10) {
        let path = entry?.path();
        if let Some(name) = plugin_name(&path)
            && candidates.len() < MAX_FILES
        {
            candidates.push(Candidate { path, name, place: search.clone() });
        }
    }
    candidates.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(candidates)
}

/// The plugin's name by its file's name: `libkeyway_<name>.so` or `libkeyway_<name>-<version>.so`.
pub fn plugin_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_prefix(DLL_PREFIX)?.strip_prefix("keyway_")?.strip_suffix(DLL_SUFFIX)?;
    let name = stem.split_once('-').map_or(stem, |(name, _version)| name);
    (!name.is_empty()).then(|| name.replace('_', "-"))
}

/// Whether a text can be a plugin's name: lower-case letters, digits and dashes. It becomes part of files' names.
pub fn is_plugin_name(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(valid)
}

/// The file's name that a plugin's library has on this platform.
pub fn file_name(plugin: &str) -> String {
    format!("{DLL_PREFIX}keyway_{}{DLL_SUFFIX}", plugin.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_comes_from_file_name_with_or_without_version() {
        let named = |file: &str| plugin_name(Path::new(&format!("/p/{DLL_PREFIX}{file}{DLL_SUFFIX}")));
        assert_eq!(named("keyway_sqlite").as_deref(), Some("sqlite"));
        assert_eq!(named("keyway_sqlite-1.2.0").as_deref(), Some("sqlite"));
        assert_eq!(named("keyway_time_series").as_deref(), Some("time-series"));
        assert_eq!(named("keyway_"), None);
        assert_eq!(named("other"), None);
        assert_eq!(plugin_name(Path::new(&file_name("a-b"))).as_deref(), Some("a-b"));
    }

    #[test]
    fn missing_directory_is_reported_and_not_fatal() {
        let search = SearchPath { directory: "/nonexistent/plugins".into(), origin: Origin::System };
        let discovered = discover(&[search]);
        assert!(discovered.candidates.is_empty());
        assert!(discovered.places[0].to_string().ends_with("(the system's plugins): does not exist"));
    }
}
