//! Policies are decided as OpenBao's are: the real thing against a naive model that knows nothing but the
//! words of the rules, over random policies and paths.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod hcl2;
mod model;
mod texts;

use std::sync::Arc;

use keyway_core::policy::{AccessQuestion, Acl, Capabilities, Operation, Policy, parse::parse};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use self::model::{Model, Stanza};

const OPERATIONS: [Operation; 7] = [
    Operation::Read,
    Operation::Create,
    Operation::Update,
    Operation::Patch,
    Operation::Delete,
    Operation::List,
    Operation::Scan,
];

/// Few segments, so that patterns and paths meet often.
fn segment() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "abc", "a+", "+b", ""]).prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => segment(), 2 => Just("+".to_owned())];
    (prop::collection::vec(part, 1..5), prop::bool::weighted(0.4)).prop_filter_map(
        "a pattern that may be written",
        |(parts, star)| {
            let pattern = parts.join("/") + if star { "*" } else { "" };
            let pattern = pattern.trim_start_matches('/').to_owned();
            (!pattern.is_empty() && !pattern.contains("+*")).then_some(pattern)
        },
    )
}

fn stanza() -> impl Strategy<Value = Stanza> {
    let capability = prop::sample::select(vec![
        "create", "read", "update", "patch", "delete", "list", "scan", "sudo", "read", "list",
    ]);
    let capabilities = prop_oneof![
        9 => prop::collection::vec(capability.prop_map(str::to_owned), 0..4),
        1 => Just(vec!["read".to_owned(), "deny".to_owned()]),
    ];
    let value =
        prop::sample::select(vec![json!("x"), json!("x*"), json!("*x"), json!(1), json!(true), json!(null)]);
    let name = prop::sample::select(vec!["p", "Q", "*"]).prop_map(str::to_owned);
    let parameters =
        || prop::collection::btree_map(name.clone(), prop::collection::vec(value.clone(), 0..3), 0..3);
    let parameters = || prop_oneof![3 => Just(std::collections::BTreeMap::new()), 1 => parameters()];
    let required = prop_oneof![4 => Just(Vec::new()), 1 => Just(vec!["P".to_owned()])];
    let wrapping = prop_oneof![5 => Just((0, 0)), 1 => (0_u64..4, 4_u64..8), 1 => (1_u64..4, Just(0))];
    (pattern(), capabilities, parameters(), parameters(), required, wrapping).prop_map(
        |(pattern, capabilities, allowed, denied, required, (min, max))| Stanza {
            pattern,
            capabilities,
            allowed,
            denied,
            required,
            min_wrapping: min,
            max_wrapping: max,
        },
    )
}

fn policies() -> impl Strategy<Value = Vec<Vec<Stanza>>> {
    // A pattern stands once in a policy's text.
    let policy = prop::collection::vec(stanza(), 0..6).prop_map(|mut stanzas| {
        stanzas.sort_by(|one, other| one.pattern.cmp(&other.pattern));
        stanzas.dedup_by(|one, other| one.pattern == other.pattern);
        stanzas
    });
    prop::collection::vec(policy, 1..4)
}

fn path() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment(), 1..5), prop::bool::ANY).prop_map(|(parts, folder)| {
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/") + if folder && !parts.is_empty() { "/" } else { "" }
    })
}

fn parameters() -> impl Strategy<Value = Map<String, Value>> {
    let value =
        prop::sample::select(vec![json!("x"), json!("xy"), json!("yx"), json!(1), json!(true), json!(null)]);
    let name = prop::sample::select(vec!["p", "P", "q", "r"]).prop_map(str::to_owned);
    prop::collection::btree_map(name, value, 0..3).prop_filter_map("no name twice", |fields| {
        let fields: Map<String, Value> = fields.into_iter().collect();
        (!(fields.contains_key("p") && fields.contains_key("P"))).then_some(fields)
    })
}

/// The real thing, through the text of each policy.
fn acl(policies: &[Vec<Stanza>]) -> Acl {
    let policies: Vec<Arc<Policy>> = policies
        .iter()
        .enumerate()
        .map(|(number, stanzas)| {
            let text = json!({ "path": stanzas.iter().map(Stanza::json).collect::<Map<_, _>>() }).to_string();
            let rules = parse(&text).unwrap();
            Arc::new(Policy { name: number.to_string(), rules })
        })
        .collect();
    Acl::new(&policies)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_those_of_the_naive_model(
        policies in policies(),
        path in path(),
        parameters in parameters(),
        wrapping_s in prop::option::of(0_u64..9),
        operation in prop::sample::select(OPERATIONS.to_vec()),
    ) {
        let (acl, model) = (acl(&policies), Model(&policies));
        let ask = AccessQuestion { operation, path: &path, parameters: &parameters, wrapping_s };
        prop_assert_eq!(acl.allows(&ask), model.allows(&ask));
        let names = acl.capabilities(&path).unwrap().names();
        prop_assert_eq!(names, model.capabilities(&path));
    }

    #[test]
    fn order_of_policies_does_not_matter(policies in policies(), path in path()) {
        let mut reversed = policies.clone();
        reversed.reverse();
        prop_assert_eq!(acl(&policies).capabilities(&path), acl(&reversed).capabilities(&path));
    }
}

#[test]
fn root_may_everything_and_a_token_without_policies_nothing() {
    let root = Arc::new(Policy { name: "root".to_owned(), rules: Vec::new() });
    let nothing = Map::new();
    for operation in OPERATIONS {
        let ask = AccessQuestion { operation, path: "sys/seal", parameters: &nothing, wrapping_s: None };
        assert!(Acl::new([&root]).allows(&ask));
        assert!(!Acl::new([]).allows(&ask));
    }
    assert_eq!(Acl::new([&root]).capabilities("x"), None);
    assert_eq!(Acl::new([]).capabilities("x"), Some(Capabilities::NONE));
}

/// The order of precedence, in the examples of the documentation.
#[test]
fn most_specific_pattern_counts_alone() {
    let hcl = |patterns: &[(&str, &str)]| {
        let text: String = patterns
            .iter()
            .map(|(pattern, capability)| {
                format!("path \"{pattern}\" {{ capabilities = [\"{capability}\"] }}\n")
            })
            .collect();
        Acl::new([&Arc::new(Policy { name: "p".to_owned(), rules: parse(&text).unwrap() })])
    };
    for (patterns, path, wins) in [
        (&[("secret/*", "read"), ("secret/a", "list")][..], "secret/a", "list"),
        (&[("secret/*", "read"), ("secret/a*", "list")], "secret/ab", "list"),
        (&[("secret/+/b", "read"), ("secret/a*", "list")], "secret/a/b", "list"),
        (&[("secret/+/b", "read"), ("secret/*", "list")], "secret/a/b", "read"),
        (&[("secret/+/+", "read"), ("secret/+/b", "list")], "secret/a/b", "list"),
        (&[("secret/+/b*", "read"), ("secret/+/bc", "list")], "secret/a/bc", "list"),
        (&[("secret/a/+", "read"), ("secret/+/b", "list")], "secret/a/b", "read"),
        (&[("secret/*", "read"), ("secret/a", "deny")], "secret/a", "deny"),
        (&[("secret/*", "deny"), ("secret/a", "read")], "secret/a", "read"),
        (&[("*", "read")], "anything/at/all", "read"),
        (&[("secret/+", "read")], "secret/a/b", "deny"),
        (&[("secret/metadata", "list")], "secret/metadata/", "list"),
        // A list asks with its slash first: GHSA-xp3c-3jw3-4vcr.
        (&[("kv/metadata/*", "list"), ("kv/metadata/private/*", "deny")], "kv/metadata/private/", "deny"),
        (&[("kv/+", "list"), ("kv/a/*", "deny")], "kv/a/", "deny"),
        (&[("kv/a", "list"), ("kv/a/", "deny")], "kv/a/", "deny"),
        (&[("kv/a", "list"), ("kv/a/*", "deny")], "kv/a/", "list"),
        (&[("kv/+", "deny"), ("kv/+/", "list")], "kv/a/", "list"),
        (&[("kv/+", "deny"), ("kv/*", "list")], "kv/a/", "list"),
        // A `+` that begins a segment ends the precedence, even if the segment goes on.
        (&[("a/+b*", "read"), ("a/+", "list")], "a/+bc", "list"),
        (&[("a+b/+", "read"), ("a*", "list")], "a+b/c", "read"),
        (&[("a+b/+", "read"), ("a+b*", "list")], "a+b/c", "list"),
    ] {
        let names = hcl(patterns).capabilities(path).unwrap().names();
        assert_eq!(names, [wins], "{patterns:?} {path}");
    }
}
