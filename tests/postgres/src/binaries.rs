//! Where the distribution keeps PostgreSQL's programs.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Names the directory with PostgreSQL's programs, if they are not in the usual places.
const VARIABLE: &str = "KEYWAY_TEST_POSTGRES";
/// The oldest major version that the backend is tested with.
const OLDEST: u32 = 14;

/// The directory with `initdb`, `postgres`, `pgbench` and their like.
#[derive(Debug, Clone)]
pub struct Binaries(PathBuf);

/// There is no PostgreSQL on this machine.
#[derive(Debug)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no PostgreSQL server of version {OLDEST} or later (install the package postgresql, or set {VARIABLE} to the \
             directory with initdb and postgres)"
        )
    }
}

impl std::error::Error for Missing {}

impl Binaries {
    /// The newest that are there: by the variable, in the places of Debian and its descendants and of Fedora,
    /// or in the path.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn find() -> Result<Self, Missing> {
        let named = env::var_os(VARIABLE).map(PathBuf::from);
        let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut debian: Vec<PathBuf> =
            debian.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
        debian.sort_by_key(|path| {
            path.parent().and_then(|path| path.file_name()?.to_str()?.parse::<u32>().ok())
        });
        let in_path =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
        let places = named.into_iter().chain(debian.into_iter().rev()).chain(in_path);
        places.map(Self).find(|binaries| binaries.is_usable()).ok_or(Missing)
    }

    /// One of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn is_usable(&self) -> bool {
        self.program("initdb").exists()
            && major(&self.program("postgres")).is_some_and(|major| major >= OLDEST)
    }
}

/// The major version that a program says.
fn major(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}
