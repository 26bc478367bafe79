//! What a library exports: its descriptor and a way to open it.
#![expect(
    unsafe_code,
    reason = "the export constructs abi_stable's library header, which vouches for a type"
)]
#![allow(clippy::used_underscore_items, non_local_definitions, unreachable_pub, reason = "generated")]

use std::ffi::c_void;

use abi_stable::{
    StableAbi,
    library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RSlice, RStr},
};

use crate::{ForeignReply, HostServicesRef, StoreObject};

/// The root module of a backend's library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StorageBackendRef)))]
#[sabi(missing_field(panic))]
pub struct StorageBackend {
    /// The descriptor as JSON: the same text that is embedded in the library's `.keyway` section.
    pub descriptor: extern "C" fn() -> RStr<'static>,
    /// Opens a store. Never migrates its data. Everything in the arguments is borrowed for the length of the call;
    /// the context and the services stay valid for the life of the process.
    #[sabi(last_prefix_field)]
    ///
    /// # Safety
    ///
    /// The context must be one that the services accept.
    pub open: unsafe extern "C" fn(args: OpenArgs<'_>) -> ForeignReply<StoreObject>,
}

impl RootModule for StorageBackendRef {
    abi_stable::declare_root_module_statics! {StorageBackendRef}
    const BASE_NAME: &'static str = "keyway";
    const NAME: &'static str = "keyway";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

impl OpenArgs<'_> {
    /// The flags that must be understood and are not.
    pub const fn unknown_flags(&self) -> u64 {
        crate::flags::unknown_flags(self.flags)
    }
}

/// What a backend needs to open a store.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct OpenArgs<'a> {
    /// The name that the configuration gives to this backend.
    pub backend_name: RStr<'a>,
    /// The backend's own configuration as JSON.
    pub config_json: RStr<'a>,
    /// The directory that relative paths in the configuration are relative to.
    pub data_dir: RStr<'a>,
    /// To be handed to every host service.
    pub context: *const c_void,
    /// What the host offers.
    pub services: HostServicesRef,
    /// The key under which cursors are authenticated.
    pub cursor_key: [u8; 32],
    /// As in [`crate::Request`].
    pub flags: u64,
    /// As in [`crate::Request`].
    pub extension: RSlice<'a, u8>,
}

/// The static that a library exports as [`crate::EXPORT_SYMBOL`].
pub type RootModuleExport = LibHeader;

/// The value of a library's export, for a `root` function that makes its root module.
///
/// # Safety
///
/// `constructor` must return what [`construct_root_module`] returns: a root module of this crate's type.
pub const unsafe fn root_module_export(constructor: extern "C" fn() -> RootModuleResult) -> RootModuleExport {
    // SAFETY: upheld by the caller: `construct_root_module` takes only functions that return a
    // `StorageBackendRef`.
    unsafe { LibHeader::from_constructor::<StorageBackendRef>(constructor, CheckTypeLayout::Yes) }
}

/// Runs `root` once, with panics contained.
pub fn construct_root_module(root: fn() -> StorageBackendRef) -> RootModuleResult {
    __call_root_module_loader(root)
}
