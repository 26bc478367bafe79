//! Stage 7: maps the library. The only place that runs `dlopen`.
#![expect(unsafe_code, reason = "loading a library runs its initializers and trusts its symbols")]

mod images;
mod layout;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use abi_stable::{
    StableAbi,
    library::{AbiHeaderRef, LibHeader},
};
use keyway_abi::{EXPORT_SYMBOL, StorageBackendRef};
use thiserror::Error;

pub use self::{
    images::{Images, images},
    layout::Difference,
};
use crate::{
    SearchPath,
    describe::{Described, Descriptor},
    report::Fix,
    stage::Digest,
    trust::Grant,
};

/// A loaded library, or a backend linked into this binary. Its code stays mapped for the life of the process:
/// a Rust library cannot be unloaded soundly.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) root: StorageBackendRef,
    descriptor: Descriptor,
    origin: PluginOrigin,
    grant: Option<Grant>,
    place: Option<SearchPath>,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("descriptor", &self.descriptor.label())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
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

    /// Why it may run; none if it is linked.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// The directory that it was found in; none if it is linked.
    pub fn place(&self) -> Option<&SearchPath> {
        self.place.as_ref()
    }

    /// The file that was staged; none if it is linked.
    pub fn source(&self) -> Option<&Path> {
        match &self.origin {
            PluginOrigin::Library { path, .. } => Some(path),
            PluginOrigin::Linked => None,
        }
    }

    /// The library's digest; none if it is linked.
    pub fn digest(&self) -> Option<Digest> {
        match &self.origin {
            PluginOrigin::Library { digest, .. } => Some(*digest),
            PluginOrigin::Linked => None,
        }
    }

    /// A backend that is linked into this binary, as `keyway_sdk::linked` returns it. For tests: everything
    /// works as with a library, except that there is none.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be understood.
    pub fn linked(root: StorageBackendRef) -> Result<Self, serde_json::Error> {
        let descriptor = serde_json::from_str(root.descriptor()().as_str())?;
        Ok(Self { root, descriptor, origin: PluginOrigin::Linked, grant: None, place: None })
    }
}

/// Why a library could not be loaded.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The dynamic linker refused it.
    #[error("the dynamic linker refuses {}", path.display())]
    Map {
        /// The file that was staged.
        path: PathBuf,
        /// The linker's words.
        source: libloading::Error,
    },
    /// It exports no root module.
    #[error("{} has a descriptor but does not export {EXPORT_SYMBOL}", path.display())]
    NoExport {
        /// The file.
        path: PathBuf,
        /// The linker's words.
        source: libloading::Error,
    },
    /// The layer beneath the interface differs.
    #[error("{} is built on another binary layer than this host: {reason}", path.display())]
    Layer {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// It names one interface in its descriptor and has another.
    #[error(
        "{}: the types of its interface {found} do not match this host's {expected}: {difference}",
        path.display()
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// The host's interface.
        expected: String,
        /// The library's.
        found: String,
        /// The first difference, and all of them.
        difference: Box<Difference>,
    },
    /// There are as many images as there may be.
    #[error("this process has mapped {count} images of plugins already, and images are never unmapped")]
    Images {
        /// How many there are.
        count: usize,
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
        "{} says something else about itself once it is loaded than its embedded descriptor: from byte {at}, embedded \
         {embedded:?}, loaded {loaded:?}",
        path.display()
    )]
    DescriptorMismatch {
        /// The file.
        path: PathBuf,
        /// Where they begin to differ.
        at: usize,
        /// The rest of the embedded text.
        embedded: String,
        /// What it says from there on.
        loaded: String,
    },
}

impl OpenError {
    /// Everything that is known, if the message is short for good reason.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Layout { difference, .. } => Some(&difference.detail),
            _ => None,
        }
    }

    /// Whether the cause lies in the library's bytes, so that no change of the machine mends it.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::NoExport { .. }
                | Self::Layer { .. }
                | Self::Layout { .. }
                | Self::DescriptorMismatch { .. }
        )
    }

    fn descriptor_mismatch(path: &Path, embedded: &str, loaded: &str) -> Self {
        let at = embedded.bytes().zip(loaded.bytes()).take_while(|(one, other)| one == other).count();
        let rest = |text: &str| {
            String::from_utf8_lossy(text.as_bytes().get(at..).unwrap_or_default()).chars().take(40).collect()
        };
        Self::DescriptorMismatch { path: path.to_owned(), at, embedded: rest(embedded), loaded: rest(loaded) }
    }
}

impl Fix for OpenError {
    fn fix(&self) -> String {
        match self {
            Self::Map { .. } => {
                "get the build for this system, install the libraries that it needs, and see that the directory of the staged \
                 copies (data_dir) is not mounted noexec"
                    .to_owned()
            }
            Self::NoExport { .. } => "rebuild it with keyway_sdk::export_backend!".to_owned(),
            Self::Layer { .. } => "rebuild it with the current keyway-sdk".to_owned(),
            Self::Layout { expected, .. } => format!(
                "rebuild it with keyway-sdk for interface {expected} (`keyway plugin doctor --verbose` shows all differences)"
            ),
            Self::Images { .. } => "restart the server, which maps only those that it uses, or raise the bound".to_owned(),
            Self::Initialise { .. } => "ask its author".to_owned(),
            Self::DescriptorMismatch { .. } => "do not use this file".to_owned(),
        }
    }
}

/// Maps a library that has been described, checked and trusted.
///
/// # Errors
///
/// `Map` if the system does not map the library; `NoExport`, `Layer` or `Layout` if it does not export the
/// interface; `Initialise` if its root module cannot be read; `DescriptorMismatch` if it says something else
/// than its file; `Images` if too many libraries are mapped.
pub(crate) fn open(
    described: &Described,
    grant: Grant,
    place: SearchPath,
    most_images: usize,
) -> Result<Plugin, OpenError> {
    let path = &described.staged.source;
    let bytes = std::fs::metadata(&described.staged.path).map_or(0, |file| file.len());
    images::take(described.staged.digest, bytes, most_images).map_err(|count| OpenError::Images { count })?;
    let header = map(&described.staged.path, path)?;
    let root = verify(header, path, &described.descriptor)?;
    let loaded = root.descriptor()();
    if loaded.as_str() != described.descriptor_json {
        return Err(OpenError::descriptor_mismatch(path, &described.descriptor_json, loaded.as_str()));
    }
    let origin = PluginOrigin::Library { path: path.clone(), digest: described.staged.digest };
    let descriptor = described.descriptor.clone();
    Ok(Plugin { root, descriptor, origin, grant: Some(grant), place: Some(place) })
}

fn map(staged: &Path, source_path: &Path) -> Result<&'static LibHeader, OpenError> {
    let path = source_path.to_owned();
    // SAFETY: the trust stage has permitted this library's initializers to run. The copy is private, complete
    // and named by its digest, so it is the file that was checked.
    let library = unsafe { load(staged) }.map_err(|source| OpenError::Map { path: path.clone(), source })?;
    // SAFETY: the symbol's name carries the interface's major version, and under it the SDK exports a `LibHeader`,
    // which begins with an `AbiHeader`; `AbiHeaderRef` reads no more than that until it is upgraded.
    let header = unsafe { library.get::<AbiHeaderRef>(EXPORT_SYMBOL.as_bytes()) }.map(|symbol| *symbol);
    // Never unloaded, even if it is refused: its threads and its thread-local destructors may outlive any
    // handle.
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
    if let Err(difference) = layout::compare((&interface, ours), (&descriptor.interface, theirs)) {
        let (expected, found) = (expected.to_owned(), descriptor.interface.to_string());
        return Err(OpenError::Layout { path, expected, found, difference });
    }
    // SAFETY: the layouts of both sides have just been compared.
    unsafe { header.unchecked_layout::<StorageBackendRef>() }
        .map_err(|error| OpenError::Initialise { path, reason: error.to_string() })
}
