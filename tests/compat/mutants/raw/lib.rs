//! A sound backend with a defective interface. The SDK prevents such defects; a library without the SDK can
//! have them.
//!
//! The configuration names the defect: `{"defect": "ignores_limits"}`. [`store`] and [`transaction`] are the
//! objects that have it; this file is the export, which a library with the SDK gets from a macro.
#![expect(unsafe_code, reason = "an export without the SDK's macro")]

mod store;
mod transaction;

use abi_stable::{prefix_type::PrefixTypeTrait, sabi_trait::TD_Opaque, std_types::RStr};
use keyway_abi::{
    ForeignReply, OpenArgs, RootModuleExport, StorageBackend, StorageBackendRef, StoreObject,
    root::{construct_root_module, root_module_export},
};
use keyway_memory_backend::Memory;
use keyway_mutants::Mutant;
use keyway_sdk::__private::{Rendered, RootModuleResult, exported_root};

use self::store::{Beneath, Defect};

type Sound = Mutant<Memory>;
type Descriptor = Rendered<Sound>;

#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyway"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".keyway"))]
static DESCRIPTOR: [u8; Descriptor::LEN] = Descriptor::bytes::<{ Descriptor::LEN }>();

extern "C" fn descriptor() -> RStr<'static> {
    RStr::from_str(std::str::from_utf8(&DESCRIPTOR).unwrap_or_default())
}

/// Opens the sound one, and puts the defect around it.
unsafe extern "C" fn open(args: OpenArgs<'_>) -> ForeignReply<StoreObject> {
    let defect = Defect::of(args.config_json.as_str());
    let sound = OpenArgs { config_json: RStr::from_str(r#"{"base":{}}"#), ..args };
    // SAFETY: the arguments are the host's own, but for a text.
    let opened = unsafe { exported_root::<Sound>(descriptor).open()(sound) };
    match opened {
        ForeignReply::Ready(answer) => {
            let beneath = Beneath { inner: answer.into_body(), defect };
            Ok(StoreObject::from_value(beneath, TD_Opaque)).into()
        }
        other => other,
    }
}

fn root() -> StorageBackendRef {
    StorageBackend { descriptor, open }.leak_into_prefix()
}

extern "C" fn constructor() -> RootModuleResult {
    construct_root_module(root)
}

/// What the loader looks for.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the symbol's name is the interface's")]
pub static keyway_storage_backend_v1: RootModuleExport =
    // SAFETY: `constructor` returns what `construct_root_module` returns.
    unsafe { root_module_export(constructor) };
