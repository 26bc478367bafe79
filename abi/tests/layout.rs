//! The layout of everything that crosses the boundary in version 1.0, and the numbers that cross.
//!
//! Both snapshots are frozen: backends that were built with them are loaded for as long as major version 1 lives.
//! A later minor version has another snapshot next to them, and adds to the ends of tables only.

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
use keyway_abi::{
    BackupLevel, BackupObject, Durability, ErrorCode, Features, HostServicesRef, Isolation, LogLevel,
    MetricKind, ReadConsistency, RestoreMode, RestoreObject, ScanOrder, Sharing, StorageBackendRef,
    StoreObject, TransactionObject,
};
use sha2::{Digest, Sha256};

/// The SHA-256 of the frozen snapshots.
const FROZEN: [(&str, &[u8], &str); 2] = [
    (
        "layout-1.0.snap",
        include_bytes!("layout-1.0.snap"),
        "e920e09e384ac2c62c683b4da65d628deec1176f48956f9f6a79ad3fce5a3215",
    ),
    (
        "numbers-1.0.snap",
        include_bytes!("numbers-1.0.snap"),
        "9dcec701f1886d332a03e634d3fd40c8da67e83da0ff98b4119cd5c7cdb878d3",
    ),
];

#[test]
fn snapshots_of_1_0_never_change() {
    for (name, bytes, expected) in FROZEN {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            digest, expected,
            "abi/tests/{name} is frozen: a backend built with 1.0 would no longer load. Undo the change of the \
             interface, or make it an addition of the next minor version, with another snapshot."
        );
    }
}

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
        insta::assert_snapshot!("layout-1.0", snapshot);
    });
}

#[test]
fn numbers_that_cross_are_the_reviewed_ones() {
    let codes = [
        ErrorCode::INVALID_ARGUMENT,
        ErrorCode::NOT_FOUND,
        ErrorCode::ALREADY_EXISTS,
        ErrorCode::PRECONDITION_FAILED,
        ErrorCode::CONFLICT,
        ErrorCode::UNSUPPORTED,
        ErrorCode::TOO_LARGE,
        ErrorCode::RESOURCE_EXHAUSTED,
        ErrorCode::PERMISSION_DENIED,
        ErrorCode::UNAVAILABLE,
        ErrorCode::TIMEOUT,
        ErrorCode::CANCELLED,
        ErrorCode::CURSOR_EXPIRED,
        ErrorCode::CORRUPT,
        ErrorCode::CLOSED,
        ErrorCode::PANICKED,
        ErrorCode::INTERNAL,
    ];
    assert!(codes.iter().map(|code| code.as_u32()).eq(1..=17), "{codes:?}");
    let levels = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        [ReadConsistency::EVENTUAL, ReadConsistency::LINEARIZABLE],
        [Isolation::NONE, Isolation::READ_COMMITTED, Isolation::SNAPSHOT, Isolation::SERIALIZABLE],
        [Durability::VOLATILE, Durability::PROCESS_CRASH, Durability::POWER_LOSS, Durability::REPLICATED],
        [ScanOrder::UNORDERED, ScanOrder::BYTEWISE],
        [BackupLevel::NONE, BackupLevel::FUZZY, BackupLevel::POINT_IN_TIME],
        [Sharing::ONE_OPENER, Sharing::ONE_PROCESS, Sharing::MANY_HOSTS],
        [LogLevel::ERROR, LogLevel::WARN, LogLevel::INFO, LogLevel::DEBUG, LogLevel::TRACE],
        [MetricKind::COUNTER, MetricKind::GAUGE, MetricKind::HISTOGRAM],
        [RestoreMode::INTO_EMPTY, RestoreMode::REPLACE],
    );
    let features = [
        Features::EMPTY,
        Features::ATOMIC_BATCH,
        Features::BLOCKS_WRITERS,
        Features::EXPIRY,
        Features::REVERSE_SCAN,
        Features::RESTORE,
        Features::DETECTS_REWIND,
        Features::INLINE_GET,
    ];
    insta::with_settings!({ snapshot_path => ".", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("numbers-1.0", format!("{levels}\n{features:?}"));
    });
}

/// A type with what it is made of, so that `Answer<bool>` and `Answer<u32>` differ.
fn outline(layout: &'static TypeLayout, depth: usize) -> String {
    let mut text = format!("{} ({} bytes)", layout.full_type(), layout.size());
    let fields = match layout.data() {
        TLData::Struct { fields } => Some(fields),
        TLData::Enum(variants) => Some(variants.fields),
        _ => None,
    };
    let generic = layout.package().as_str() != "abi_stable" || layout.name().starts_with('R');
    if let Some(fields) = fields.filter(|_| depth > 0 && generic) {
        let inner: Vec<String> = fields.iter().map(|field| outline(field.layout(), depth - 1)).collect();
        write!(text, " {{{}}}", inner.join(", ")).unwrap();
    }
    text
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
            writeln!(text, "  {}: {}", field.name(), outline(layout, 2)).unwrap();
            self.visit(layout);
            for function in field.function_range().iter() {
                write!(text, "    fn(").unwrap();
                for parameter in function.param_type_layouts.iter() {
                    let parameter = parameter();
                    write!(text, "{}, ", outline(parameter, 4)).unwrap();
                    self.visit(parameter);
                }
                write!(text, ")").unwrap();
                if let Some(returned) = function.return_type_layout() {
                    let returned = returned();
                    write!(text, " -> {}", outline(returned, 4)).unwrap();
                    self.visit(returned);
                }
                text.push('\n');
            }
        }
    }
}
