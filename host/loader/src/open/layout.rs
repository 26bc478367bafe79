//! Whether the types of two interfaces fit, and where they first do not, in a few lines: the whole comparison
//! is many thousands of characters.

use std::fmt;

use abi_stable::{
    abi_stability::abi_checking::{
        AbiInstability, AbiInstabilityError, AbiInstabilityErrors, CheckingGlobals, ExpectedFound,
        check_layout_compatibility_with_globals,
    },
    type_layout::{TLFieldOrFunction, TypeLayout},
};

/// The longest text of one side of a difference.
const MAX_TEXT: usize = 120;

/// Where two layouts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path to the place, from the interface inwards.
    pub place: String,
    /// What differs there.
    pub what: String,
    /// This host's side.
    pub expected: String,
    /// The library's side.
    pub found: String,
    /// How many places differ.
    pub count: usize,
    /// Every difference; long.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {}, {}: expected {}, found {}", self.place, self.what, self.expected, self.found)?;
        match self.count {
            0 | 1 => Ok(()),
            count => write!(f, " (and {} more)", count - 1),
        }
    }
}

/// Whether the layouts of two versions of the interface fit.
///
/// The stock check demands that the library be the newer one. Here the older layout must be a prefix of the newer,
/// whichever side has it. Fresh globals: shared ones remember earlier pairs and refuse good ones.
pub(super) fn compare(
    (our_version, ours): (&semver::Version, &'static TypeLayout),
    (their_version, theirs): (&semver::Version, &'static TypeLayout),
) -> Result<(), Box<Difference>> {
    let is_older = their_version < our_version;
    let (older, newer) = if is_older { (theirs, ours) } else { (ours, theirs) };
    check_layout_compatibility_with_globals(older, newer, &CheckingGlobals::new())
        .map_err(|errors| Box::new(shorten(&errors, is_older)))
}

/// The innermost place of the first difference. `swapped` tells that the library's side was the one to be
/// expected.
fn shorten(errors: &AbiInstabilityErrors, swapped: bool) -> Difference {
    let side = |pair: ExpectedFound<String>| {
        if swapped { (pair.found, pair.expected) } else { (pair.expected, pair.found) }
    };
    let innermost = errors.errors.iter().max_by_key(|error| error.stack_trace.len());
    let place =
        innermost.map_or_else(|| errors.interface.full_type().to_string(), |error| place(error, errors));
    let (what, pair) =
        innermost.and_then(|error| error.errs.first()).map_or(("the layout".to_owned(), None), explain);
    let (expected, found) = pair.map_or_else(|| ("the same".to_owned(), "another".to_owned()), side);
    Difference {
        place,
        what,
        expected: short(&expected),
        found: short(&found),
        count: errors.errors.len(),
        detail: errors.to_string(),
    }
}

fn place(error: &AbiInstabilityError, errors: &AbiInstabilityErrors) -> String {
    let mut steps = vec![name_of_type(&errors.interface.full_type().to_string())];
    steps.extend(error.stack_trace.iter().map(|step| match &step.expected {
        TLFieldOrFunction::Field(field) => field.name().to_owned(),
        TLFieldOrFunction::Function(function) => format!("{}()", function.name),
    }));
    let inner = error.stack_trace.last().and_then(|step| match &step.expected {
        TLFieldOrFunction::Field(field) => Some(name_of_type(&field.full_type().to_string())),
        TLFieldOrFunction::Function(_) => None,
    });
    match inner {
        Some(inner) => format!("type {inner} ({})", steps.join(".")),
        None => format!("type {}", steps.join(".")),
    }
}

/// Without its parameters, which can be very long.
fn name_of_type(full: &str) -> String {
    full.split('<').next().unwrap_or(full).trim().to_owned()
}

fn explain(error: &AbiInstability) -> (String, Option<ExpectedFound<String>>) {
    use AbiInstability as Ai;
    fn shown<T: fmt::Display>(
        what: &str,
        pair: &ExpectedFound<T>,
    ) -> (String, Option<ExpectedFound<String>>) {
        let text = |side: &T| side.to_string();
        let pair = ExpectedFound { expected: text(&pair.expected), found: text(&pair.found) };
        (what.to_owned(), Some(pair))
    }
    fn debugged<T: fmt::Debug>(
        what: &str,
        pair: &ExpectedFound<T>,
    ) -> (String, Option<ExpectedFound<String>>) {
        let text = |side: &T| format!("{side:?}");
        let pair = ExpectedFound { expected: text(&pair.expected), found: text(&pair.found) };
        (what.to_owned(), Some(pair))
    }
    match error {
        Ai::Name(pair) => shown("the type", pair),
        Ai::Package(pair) => shown("the crate of the type", pair),
        Ai::PackageVersion(pair) => shown("the version of the type's crate", pair),
        Ai::Size(pair) => shown("the size in bytes", pair),
        Ai::Alignment(pair) => shown("the alignment in bytes", pair),
        Ai::FieldCountMismatch(pair) => shown("the number of fields", pair),
        Ai::TooManyVariants(pair) => shown("the number of variants", pair),
        Ai::UnexpectedField(pair) => {
            let named = pair.as_ref().map(|field| format!("{}: {}", field.name(), field.full_type()));
            ("a field".to_owned(), Some(named))
        }
        Ai::UnexpectedVariant(pair) => shown("a variant", pair),
        Ai::MismatchedPrefixSize(pair) => shown("the number of fields that every version has", pair),
        Ai::GenericParamCount(pair) => shown("the parameters of the type", pair),
        Ai::MismatchedPrimitive(pair) => debugged("the primitive type", pair),
        Ai::TLDataDiscriminant(pair) => debugged("the kind of type", pair),
        Ai::NonZeroness(pair) => shown("whether it may be zero", pair),
        Ai::ReprAttr(pair) => debugged("the representation", pair),
        Ai::EnumDiscriminant(pair) => debugged("the discriminants", pair),
        Ai::FnQualifierMismatch(pair) => shown("the function's qualifiers", pair),
        Ai::FnLifetimeMismatch(pair) => shown("the function's lifetimes", pair),
        other => {
            let name = format!("{other:?}");
            let name = name.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
            (format!("{name} differs"), None)
        }
    }
}

/// On one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
#[expect(dead_code, reason = "the modules are compared, never called")]
mod tests {
    use abi_stable::StableAbi;

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
            compare(old, new).unwrap();
            compare(new, old).unwrap();
            compare(old, old).unwrap();
            assert!(compare(old, wrong).is_err());
            let text = compare(wrong, new).unwrap_err().to_string();
            assert!(text.contains("first") && text.contains("expected u64, found u32"), "{text}");
        }
        // Were the sides taken for each other, a newer one that is said to be older would pass.
        let upside_down = (&version("0.9.0"), newer::ModuleRef::LAYOUT);
        assert!(compare(old, upside_down).is_err());
    }
}
