//! Stage 3: what the library says about itself, read from its bytes without running any of them.

mod claims;
pub mod links;

use std::{fmt, fs, io, path::PathBuf};

use keyway_abi::Capabilities;
use object::{Object, ObjectSection, ObjectSegment};
use serde::Deserialize;
use thiserror::Error;

pub use self::links::Links;
use crate::{discover::is_plugin_name, report::Fix, stage::Staged};

/// The longest descriptor that is read.
const MAX_DESCRIPTOR_BYTES: u64 = 1024 * 1024;

/// A library's description of itself, embedded as JSON in its `.keyway` section (`__DATA,__keyway` in Mach-O).
/// Fields that this version does not know are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct Descriptor {
    /// The version of this form; 1.
    pub format: u32,
    /// The name that a configuration asks for.
    pub name: String,
    /// The plugin's own version.
    pub version: semver::Version,
    /// The interface that it was built with.
    pub interface: semver::Version,
    /// Architecture, as Rust names it.
    pub target_arch: String,
    /// Operating system, as Rust names it.
    pub target_os: String,
    /// C library or ABI, as Rust names it; may be empty.
    pub target_env: String,
    /// What a panic does: `unwind` or `abort`.
    pub panic: String,
    /// `debug` or `release`.
    pub profile: String,
    /// One line for people.
    pub description: String,
    /// An SPDX expression.
    pub licence: String,
    /// Where to find out more; may be empty.
    pub homepage: String,
    /// Who may open the same store at the same time.
    pub sharing: String,
    /// The data format that it writes.
    pub data_format: u32,
    /// The most that a store opened by it promises.
    #[serde(deserialize_with = "claims::read")]
    pub capabilities: Capabilities,
    /// The names of the operations that it adds.
    pub extensions: Vec<String>,
    /// The JSON Schema of its configuration.
    pub config_schema: serde_json::Value,
}

impl Descriptor {
    /// Name and version.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Whether a terminal would obey a part of its texts. (The schema is shown as JSON, which spells such
    /// letters out.)
    fn has_controls(&self) -> bool {
        let texts = [
            &self.name,
            &self.target_arch,
            &self.target_os,
            &self.target_env,
            &self.panic,
            &self.profile,
            &self.description,
            &self.licence,
            &self.homepage,
            &self.sharing,
        ];
        texts.into_iter().chain(&self.extensions).any(|text| text.chars().any(char::is_control))
    }

    /// The platform as one word, as it stands in a lock file: `x86_64-linux-gnu`.
    pub fn target(&self) -> String {
        target_name(&self.target_arch, &self.target_os, &self.target_env)
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (interface {}, {})", self.name, self.version, self.interface, self.target())
    }
}

/// The platform of this program as one word.
pub fn host_target() -> String {
    let environment = if cfg!(target_env = "gnu") {
        "gnu"
    } else if cfg!(target_env = "musl") {
        "musl"
    } else if cfg!(target_env = "msvc") {
        "msvc"
    } else {
        ""
    };
    target_name(std::env::consts::ARCH, std::env::consts::OS, environment)
}

fn target_name(arch: &str, os: &str, environment: &str) -> String {
    if environment.is_empty() { format!("{arch}-{os}") } else { format!("{arch}-{os}-{environment}") }
}

/// A staged library with its description.
#[derive(Debug, Clone)]
pub struct Described {
    /// The private copy.
    pub staged: Staged,
    /// What it says about itself.
    pub descriptor: Descriptor,
    /// The same, exactly: the loaded library must say so too.
    pub descriptor_json: String,
    /// The libraries that it makes the dynamic linker load too.
    pub links: Links,
}

/// Why a library's description could not be read.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// The private copy cannot be read.
    #[error("read the staged copy of {}", path.display())]
    Read {
        /// The file that was staged.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No known kind of library.
    #[error("{} is not a shared library: {reason}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What its bytes look like.
        reason: String,
    },
    /// The file is shorter than its own headers say.
    #[error("{} is truncated or damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part is missing.
        reason: String,
    },
    /// A library, but nothing of Keyway's.
    #[error("{} is a shared library but no Keyway plugin: it has no descriptor (section .keyway)", path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
    },
    /// A descriptor that says what none may say.
    #[error("the descriptor in {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// A descriptor that cannot be understood.
    #[error("the descriptor in {} cannot be understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Fix for DescribeError {
    fn fix(&self) -> String {
        match self {
            Self::Read { path, .. } => format!("make room for a copy of {}, and try again", path.display()),
            Self::NotALibrary { .. } | Self::NotAPlugin { .. } => {
                "name a plugin's library; `keyway plugin info FILE` says what a file is. If you build it, it needs crate-type = [\"cdylib\"] under [lib] in its \
                 Cargo.toml, and keyway_sdk::export_backend! in its code"
                    .to_owned()
            }
            Self::Damaged { .. } => "copy it again from where it came".to_owned(),
            Self::Unusable { .. } | Self::Malformed { .. } => {
                "rebuild it with the current keyway-sdk".to_owned()
            }
        }
    }
}

/// Reads the description of a staged library.
///
/// # Errors
///
/// `Read`; `NotALibrary` or `Damaged` for a file that is not a library; `NotAPlugin` for a library without a
/// descriptor; `Unusable` or `Malformed` for a descriptor that cannot be used.
pub fn describe(staged: Staged) -> Result<Described, DescribeError> {
    let path = staged.source.clone();
    let bytes =
        fs::read(&staged.path).map_err(|source| DescribeError::Read { path: path.clone(), source })?;
    let (section, links) = read_section(&bytes, path.clone())?;
    // A linker may pad the section.
    let text = section.trim_ascii_end();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let malformed = |source| DescribeError::Malformed { path: path.clone(), source };
    let descriptor: Descriptor = serde_json::from_slice(text).map_err(malformed)?;
    if !is_plugin_name(&descriptor.name) {
        let reason = format!("{:?} is no plugin's name", descriptor.name);
        return Err(DescribeError::Unusable { path, reason });
    }
    if descriptor.has_controls() {
        let reason = "it holds control characters".to_owned();
        return Err(DescribeError::Unusable { path, reason });
    }
    let descriptor_json = String::from_utf8_lossy(text).into_owned();
    Ok(Described { staged, descriptor, descriptor_json, links })
}

fn read_section(bytes: &[u8], path: PathBuf) -> Result<(&[u8], Links), DescribeError> {
    if !looks_like_a_library(bytes) {
        return Err(DescribeError::NotALibrary { path, reason: first_bytes(bytes) });
    }
    let file = match object::File::parse(bytes) {
        Ok(file) => file,
        Err(_) if is_foreign_container(bytes) => {
            let reason = "it is a universal Mach-O, a Java class or a DOS program";
            return Err(DescribeError::NotALibrary { path, reason: reason.to_owned() });
        }
        Err(error) => return Err(DescribeError::Damaged { path, reason: error.to_string() }),
    };
    let size = bytes.len() as u64;
    for segment in file.segments() {
        let (offset, length) = segment.file_range();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            let reason =
                format!("a segment of {length} bytes at {offset} lies beyond the file's {size} bytes");
            return Err(DescribeError::Damaged { path, reason });
        }
    }
    let section = file.sections().find(|section| matches!(section.name(), Ok(".keyway" | "__keyway")));
    let Some(section) = section else { return Err(DescribeError::NotAPlugin { path }) };
    let damaged =
        |error: object::Error| DescribeError::Damaged { path: path.clone(), reason: error.to_string() };
    let data = section.data().map_err(damaged)?;
    if data.len() as u64 > MAX_DESCRIPTOR_BYTES {
        let reason = format!("its descriptor of {} bytes is too long to be one", data.len());
        return Err(DescribeError::Damaged { path, reason });
    }
    let links = Links::of(&file)
        .map_err(|links::Unreadable(reason)| DescribeError::Damaged { path: path.clone(), reason })?;
    Ok((data, links))
}

/// The first bytes of ELF, Mach-O (both widths and orders, and universal) and PE.
fn looks_like_a_library(bytes: &[u8]) -> bool {
    const MAGICS: [&[u8]; 7] = [
        b"\x7fELF",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"MZ",
    ];
    MAGICS.iter().any(|magic| bytes.starts_with(magic))
}

/// Kinds of file that begin like a library and hold none that could be loaded as it is.
fn is_foreign_container(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xca\xfe\xba\xbe") || bytes.starts_with(b"MZ")
}

fn first_bytes(bytes: &[u8]) -> String {
    match bytes.get(..bytes.len().min(16)) {
        None | Some([]) => "it is empty".to_owned(),
        Some(start) => format!("it begins with \"{}\"", start.escape_ascii()),
    }
}
