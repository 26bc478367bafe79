//! The layout of everything that crosses the boundary, as a snapshot: a change of layout is seen in review.
//!
//! To accept a deliberate change: `INSTA_UPDATE=always cargo test -p keyway-abi`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write,
};

use abi_stable::{
    StableAbi,
    std_types::UTypeId,
    type_layout::{TLData, TLFields, TypeLayout},
};
use keyway_abi::{BackupObject, RestoreObject};
use keyway_abi::{HostServicesRef, StorageBackendRef, StoreObject, TransactionObject};

#[test]
fn layout_of_interface_is_the_reviewed_one() {
    let mut walk = Walk::default();
    walk.visit(StorageBackendRef::LAYOUT);
    walk.visit(HostServicesRef::LAYOUT);
    for object in
        [StoreObject::LAYOUT, TransactionObject::LAYOUT, BackupObject::LAYOUT, RestoreObject::LAYOUT]
    {
        walk.visit(object);
    }
    let snapshot: String = walk.described.into_iter().collect();
    insta::with_settings!({ snapshot_path => ".", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("layout", snapshot);
    });
}

/// Every type that is reachable from the roots; those of this crate are described.
#[derive(Default)]
struct Walk {
    visited: HashSet<UTypeId>,
    described: BTreeSet<String>,
}

impl Walk {
    fn visit(&mut self, layout: &'static TypeLayout) {
        if !self.visited.insert(layout.get_utypeid()) {
            return;
        }
        let mut text =
            format!("{}: size {} align {}\n", layout.full_type(), layout.size(), layout.alignment());
        let fields = match layout.data() {
            TLData::Struct { fields } | TLData::Union { fields } => Some(fields),
            TLData::Enum(variants) => {
                writeln!(text, "  variants {} {:?}", variants.variant_names, variants.discriminants).unwrap();
                Some(variants.fields)
            }
            TLData::PrefixType(prefix) => {
                writeln!(text, "  first suffix field {}", prefix.first_suffix_field).unwrap();
                Some(prefix.fields)
            }
            TLData::Primitive(_) | TLData::Opaque => None,
        };
        if let Some(fields) = fields {
            self.describe(&fields, &mut text);
        }
        self.describe(&layout.phantom_fields(), &mut text);
        if layout.package().as_str() == "keyway-abi" {
            self.described.insert(text);
        }
    }

    fn describe(&mut self, fields: &TLFields, text: &mut String) {
        for field in fields.iter() {
            let layout = field.layout();
            writeln!(text, "  {}: {} ({} bytes)", field.name(), field.full_type(), layout.size()).unwrap();
            self.visit(layout);
            for function in field.function_range().iter() {
                write!(text, "    fn(").unwrap();
                for parameter in function.param_type_layouts.iter() {
                    let parameter = parameter();
                    write!(text, "{} ({} bytes), ", parameter.full_type(), parameter.size()).unwrap();
                    self.visit(parameter);
                }
                write!(text, ")").unwrap();
                if let Some(returned) = function.return_type_layout() {
                    let returned = returned();
                    write!(text, " -> {} ({} bytes)", returned.full_type(), returned.size()).unwrap();
                    self.visit(returned);
                }
                text.push('\n');
            }
        }
    }
}
