//! Stage 7: maps the library. The only place that runs `dlopen`.
#![expect(unsafe_code, reason = "loading a library runs its initializers and trusts its symbols")]

use std::path::{Path, PathBuf};

use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals},
    library::{AbiHeaderRef, LibHeader},
    type_layout::TypeLayout,
};
use keyway_abi::{EXPORT_SYMBOL, StorageBackendRef};
use thiserror::Error;

use crate::{
    describe::{Described, Descriptor},
    stage::Digest,
};

/// A loaded library, or a backend linked into this binary. Its code stays mapped for the life of the process: a Rust
/// library cannot be unloaded soundly.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) root: StorageBackendRef,
    descriptor: Descriptor,
    origin: PluginOrigin,
}

/// Where a plugin's code comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginOrigin {
    /// A library.
    Library {
        /// The file that was staged.
        path: PathBuf,
        /// Its digest, which is also the identity of the mapped image.
        digest: Digest,
    },
    /// This binary.
    Linked,
}

impl Plugin {
    /// What it says about itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Where its code comes from.
    pub fn origin(&self) -> &PluginOrigin {
        &self.origin
    }

    /// A backend that is linked into this binary, as `keyway_sdk::linked` returns it. For tests: everything works as
    /// with a library, except that there is none.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be understood.
    pub fn linked(root: StorageBackendRef) -> Result<Self, serde_json::Error> {
        let descriptor = serde_json::from_str(root.descriptor()().as_str())?;
        Ok(Self { root, descriptor, origin: PluginOrigin::Linked })
    }
}

/// Why a library could not be loaded.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The dynamic linker refused it.
    #[error("the dynamic linker refuses {}: it is for another system, or needs libraries that are not here", path.display())]
    Map {
        /// The file that was staged.
        path: PathBuf,
        /// The linker's words.
        source: libloading::Error,
    },
    /// It exports no root module.
    #[error("{} has a descriptor but does not export {EXPORT_SYMBOL}; rebuild it with export_backend!", path.display())]
    NoExport {
        /// The file.
        path: PathBuf,
        /// The linker's words.
        source: libloading::Error,
    },
    /// The layer beneath the interface differs.
    #[error("{} is built on another binary layer than this host: {reason}; rebuild it with the current SDK", path.display())]
    Layer {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// It names one interface in its descriptor and has another.
    #[error(
        "{}: the types of its interface {found} do not match this host's {expected}, first: {first}; rebuild it with \
         keyway-sdk for interface {expected}",
        path.display()
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// The host's interface.
        expected: String,
        /// The library's.
        found: String,
        /// The first difference.
        first: String,
        /// Every difference; long.
        detail: String,
    },
    /// Its initialisation failed.
    #[error("{} fails to initialise: {reason}", path.display())]
    Initialise {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Loaded, it describes itself differently.
    #[error(
        "{} says something else about itself once it is loaded than its embedded descriptor; do not use this file",
        path.display()
    )]
    Lies {
        /// The file.
        path: PathBuf,
    },
}

/// Maps a library that has been described, checked and trusted.
///
/// # Errors
///
/// See [`OpenError`].
pub fn open(described: &Described) -> Result<Plugin, OpenError> {
    let path = &described.staged.source;
    let header = map(&described.staged.path, path)?;
    let root = verify(header, path, &described.descriptor)?;
    if root.descriptor()().as_str() != described.descriptor_json {
        return Err(OpenError::Lies { path: path.clone() });
    }
    let origin = PluginOrigin::Library { path: path.clone(), digest: described.staged.digest };
    Ok(Plugin { root, descriptor: described.descriptor.clone(), origin })
}

fn map(staged: &Path, source_path: &Path) -> Result<&'static LibHeader, OpenError> {
    let path = source_path.to_owned();
    // SAFETY: running the library's initializers is what the trust stage has permitted. The copy is private, complete
    // and named by its digest, so that it is the file that was checked.
    let library = unsafe { load(staged) }.map_err(|source| OpenError::Map { path: path.clone(), source })?;
    // SAFETY: the symbol's name carries the interface's major version, and under it the SDK exports a `LibHeader`,
    // which begins with an `AbiHeader`; `AbiHeaderRef` reads no more than that until it is upgraded.
    let header = unsafe { library.get::<AbiHeaderRef>(EXPORT_SYMBOL.as_bytes()) }.map(|symbol| *symbol);
    // Never unloaded, whatever comes next: its threads and its thread-local destructors may outlive any handle.
    std::mem::forget(library);
    let header = header.map_err(|source| OpenError::NoExport { path: path.clone(), source })?;
    header.upgrade().map_err(|error| OpenError::Layer { path, reason: error.to_string() })
}

#[cfg(unix)]
unsafe fn load(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

    /// All of glibc, musl and Apple's linker have it; libloading has no name for it. From `<dlfcn.h>`.
    #[cfg(target_os = "linux")]
    const RTLD_NODELETE: i32 = 0x1000;
    #[cfg(target_vendor = "apple")]
    const RTLD_NODELETE: i32 = 0x80;
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    const RTLD_NODELETE: i32 = 0;

    // SAFETY: upheld by the caller.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }.map(Into::into)
}

#[cfg(windows)]
unsafe fn load(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: upheld by the caller.
    unsafe { libloading::Library::new(path) }
}

/// The library's root module, once its layout is known to be the host's.
fn verify(
    header: &'static LibHeader,
    path: &Path,
    descriptor: &Descriptor,
) -> Result<StorageBackendRef, OpenError> {
    let path = path.to_owned();
    let Some(theirs) = header.layout() else {
        return Err(OpenError::Layer { path, reason: "it carries no layout to compare".to_owned() });
    };
    let ours = StorageBackendRef::LAYOUT;
    let expected = crate::INTERFACE_VERSION;
    let interface = semver::Version::parse(expected).expect("a crate's version is a semantic version");
    if let Err(detail) = compatible((&interface, ours), (&descriptor.interface, theirs)) {
        return Err(OpenError::Layout {
            path,
            expected: expected.to_owned(),
            found: descriptor.interface.to_string(),
            first: detail.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned(),
            detail,
        });
    }
    // SAFETY: the layouts of both sides have just been compared.
    unsafe { header.unchecked_layout::<StorageBackendRef>() }
        .map_err(|error| OpenError::Initialise { path, reason: error.to_string() })
}

/// Whether the layouts of two versions of the interface fit, or every difference.
///
/// The stock check demands that the library be the newer one. Here the older layout must be a prefix of the newer,
/// whichever side has it. Fresh globals: shared ones remember earlier pairs and refuse good ones.
fn compatible(
    (our_version, ours): (&semver::Version, &'static TypeLayout),
    (their_version, theirs): (&semver::Version, &'static TypeLayout),
) -> Result<(), String> {
    let (older, newer) = if their_version < our_version { (theirs, ours) } else { (ours, theirs) };
    check_layout_compatibility_with_globals(older, newer, &CheckingGlobals::new())
        .map_err(|errors| errors.to_string())
}

#[cfg(test)]
#[expect(dead_code, reason = "the modules are compared, never called")]
mod tests {
    use super::*;

    mod older {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = ModuleRef)))]
        #[sabi(missing_field(panic))]
        pub(super) struct Module {
            #[sabi(last_prefix_field)]
            pub(super) first: extern "C" fn() -> u32,
        }
    }

    mod newer {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = ModuleRef)))]
        #[sabi(missing_field(panic))]
        pub(super) struct Module {
            #[sabi(last_prefix_field)]
            pub(super) first: extern "C" fn() -> u32,
            pub(super) second: extern "C" fn() -> u32,
        }
    }

    mod different {
        #[repr(C)]
        #[derive(abi_stable::StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = ModuleRef)))]
        #[sabi(missing_field(panic))]
        pub(super) struct Module {
            #[sabi(last_prefix_field)]
            pub(super) first: extern "C" fn() -> u64,
        }
    }

    #[test]
    fn older_and_newer_minors_fit_in_both_directions_and_other_types_do_not() {
        let version = |text: &str| semver::Version::parse(text).unwrap();
        let old = (&version("1.0.0"), older::ModuleRef::LAYOUT);
        let new = (&version("1.1.0"), newer::ModuleRef::LAYOUT);
        let wrong = (&version("1.0.0"), different::ModuleRef::LAYOUT);
        for _ in 0..2 {
            compatible(old, new).unwrap();
            compatible(new, old).unwrap();
            compatible(old, old).unwrap();
            assert!(compatible(old, wrong).is_err() && compatible(wrong, new).is_err());
        }
        // Were the sides taken for each other, a newer one that is said to be older would pass.
        let upside_down = (&version("0.9.0"), newer::ModuleRef::LAYOUT);
        assert!(compatible(old, upside_down).is_err());
    }
}
