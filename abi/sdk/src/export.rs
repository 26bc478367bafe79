//! How a library exports its backend, and how one is linked statically.
#![expect(unsafe_code, reason = "the interface's `open` takes a raw context")]

use abi_stable::{prefix_type::PrefixTypeTrait, std_types::RStr};
use keyway_abi::{ForeignReply, OpenArgs, StorageBackend, StorageBackendRef, StoreObject};

use crate::{Backend, bridge, forward, rendered::Rendered, state};

/// Exports a [`Backend`](crate::Backend) from a `cdylib` crate: embeds its descriptor in a separate section
/// and exports the root module.
///
/// The front page of this crate has a complete example.
///
/// Call it once, in the root of a crate with `crate-type = ["cdylib", "rlib"]`: the plugin, and the same code for its
/// tests. Two exported backends cannot be linked into one binary. For a backend that other crates link, put this line
/// into a crate with nothing else, whose `crate-type` is `cdylib`.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        // The compiler names this module if there is a second export.
        #[doc(hidden)]
        mod a_library_exports_one_keyway_backend {}

        #[allow(unsafe_code, reason = "the exported symbol and section are named by Keyway's interface")]
        const _: () = {
            // A function with a bound, so that a type without the trait is told as that.
            const LEN: usize = $crate::__private::descriptor_len::<$backend>();

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyway"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".keyway"))]
            static KEYWAY_DESCRIPTOR: [u8; LEN] = $crate::__private::descriptor_bytes::<$backend, LEN>();

            extern "C" fn descriptor() -> $crate::__private::RStr<'static> {
                $crate::__private::RStr::from_str(
                    ::core::str::from_utf8(&KEYWAY_DESCRIPTOR).unwrap_or_default(),
                )
            }

            fn root() -> $crate::__private::StorageBackendRef {
                $crate::__private::exported_root::<$backend>(descriptor)
            }

            extern "C" fn constructor() -> $crate::__private::RootModuleResult {
                $crate::__private::construct_root_module(root)
            }

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "the symbol's name is the interface's")]
            pub static keyway_storage_backend_v1: $crate::__private::RootModuleExport =
                // SAFETY: `constructor` returns what `construct_root_module` returns.
                unsafe { $crate::__private::root_module_export(constructor) };
        };
    };
}

/// The root module of a separate library.
pub fn exported_root<B: Backend>(descriptor: extern "C" fn() -> RStr<'static>) -> StorageBackendRef {
    StorageBackend { descriptor, open: open_exported::<B> }.leak_into_prefix()
}

/// The root module of a backend in the same binary.
pub(crate) fn linked_root<B: Backend>() -> StorageBackendRef {
    StorageBackend { descriptor: linked_descriptor::<B>, open: bridge::open::<B> }.leak_into_prefix()
}

extern "C" fn linked_descriptor<B: Backend>() -> RStr<'static> {
    RStr::from_str(Rendered::<B>::text())
}

/// As [`bridge::open`]. In a separate image, the SDK installs logging and the panic hook.
unsafe extern "C" fn open_exported<B: Backend>(args: OpenArgs<'_>) -> ForeignReply<StoreObject> {
    state::install_panic_hook();
    forward::install();
    // SAFETY: upheld by the caller.
    unsafe { bridge::open::<B>(args) }
}
