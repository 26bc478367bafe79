//! Random policies and paths: both servers decide with the same capabilities.

use std::{collections::BTreeMap, path::Path, thread};

use proptest::{prelude::*, test_runner::TestError};
use serde_json::{Value, json};

use crate::{
    bao,
    differences::{Matched, Seen},
    pair::Pair,
    seed::{hint, is_long, runner, seed},
};

/// Cases of each thread: together about 10,000 policies, with 24 paths asked of each case.
const CASES: u32 = 2_000;
/// As many in the long form.
const LONG: u32 = 40_000;
const THREADS: u64 = 2;
const PATHS: usize = 24;
/// As many policies as the token has.
const POLICIES: usize = 4;
const CAPABILITIES: [&str; 9] =
    ["create", "read", "update", "patch", "delete", "list", "sudo", "scan", "deny"];

#[derive(Debug, Clone)]
struct Stanza {
    pattern: String,
    capabilities: Vec<&'static str>,
}

/// The policies of one token, and the paths that are asked about.
#[derive(Debug, Clone)]
struct Case {
    policies: Vec<Vec<Stanza>>,
    paths: Vec<String>,
}

/// Few segments, so that patterns and paths meet often.
fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "abc", "a+", "+b", "a.b"])
}

fn base() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["kv", "kv", "kv", "sys", "kv/metadata"])
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => segment(), 2 => Just("+")];
    let end = prop::sample::select(vec!["", "", "", "/", "*", "/*", "/+", "/+/"]);
    (base(), prop::collection::vec(part, 0..4), end).prop_filter_map(
        "a pattern that may be written",
        |(base, parts, end)| {
            let mut all = vec![base];
            all.extend(parts);
            let pattern = all.join("/") + end;
            (!pattern.contains("+*")).then_some(pattern)
        },
    )
}

fn policy() -> impl Strategy<Value = Vec<Stanza>> {
    let capabilities = prop_oneof![
        9 => prop::collection::vec(prop::sample::select(CAPABILITIES[..8].to_vec()), 0..4),
        2 => Just(vec!["deny"]),
        1 => Just(vec!["read", "deny"]),
    ];
    let stanza =
        (pattern(), capabilities).prop_map(|(pattern, capabilities)| Stanza { pattern, capabilities });
    // A pattern stands once in a policy's text.
    prop::collection::vec(stanza, 1..7).prop_map(|mut stanzas| {
        stanzas.sort_by(|one, other| one.pattern.cmp(&other.pattern));
        stanzas.dedup_by(|one, other| one.pattern == other.pattern);
        stanzas
    })
}

fn path() -> impl Strategy<Value = String> {
    (base(), prop::collection::vec(segment(), 0..4), prop::bool::weighted(0.4)).prop_map(
        |(base, parts, folder)| {
            let mut all = vec![base];
            all.extend(parts);
            all.join("/") + if folder { "/" } else { "" }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let policies = prop::collection::vec(policy(), 1..=POLICIES);
    (policies, prop::collection::vec(path(), PATHS)).prop_map(|(policies, paths)| Case { policies, paths })
}

fn text(stanzas: &[Stanza]) -> String {
    let stanza = |stanza: &Stanza| {
        format!("path \"{}\" {{\n  capabilities = {}\n}}\n", stanza.pattern, json!(stanza.capabilities))
    };
    stanzas.iter().map(stanza).collect()
}

#[test]
fn random_policies_are_decided_alike() {
    let Some(program) = bao::program() else { return };
    let (seed, matched) = (seed(), Matched::default());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (program, matched) = (&program, &matched);
            scope.spawn(move || decide(program, seed, thread, matched));
        }
    });
    let stale = matched.stale(Seen::Policies);
    assert!(stale.is_empty(), "lines of differences.toml that match no difference any more: {stale:#?}");
}

fn decide(program: &Path, seed: u64, thread: u64, matched: &Matched) {
    let pair = Pair::start(program);
    let names: Vec<String> = (0..POLICIES).map(|number| format!("p{number}")).collect();
    let made =
        pair.prepare("POST", "auth/token/create", &json!({"policies": names, "no_default_policy": true}));
    let tokens = made.map(|made| made["auth"]["client_token"].as_str().unwrap().to_owned());
    let mut runner = runner(seed.wrapping_add(thread), if is_long() { LONG } else { CASES }, 4_000);
    let result = runner.run(&case(), |case| {
        let [bao, keyway] = [0, 1].map(|server| capabilities(&pair, server, &tokens[server], &case));
        for (path, bao) in &bao {
            let keyway = &keyway[path];
            let text = format!("CAPABILITIES {path} openbao={} keyway={}", bao.join(","), keyway.join(","));
            prop_assert!(bao == keyway || matched.is_intended(&text), "{}", text);
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => {
            let policies: Vec<String> = case.policies.iter().map(|policy| text(policy)).collect();
            panic!("{reason}\nwith the policies\n{}\n{}", policies.join("--\n"), hint(seed));
        }
        Err(error) => panic!("{error}\n{}", hint(seed)),
    }
}

/// What a server says of each path, in one order.
fn capabilities(pair: &Pair, server: usize, token: &str, case: &Case) -> BTreeMap<String, Vec<String>> {
    for number in 0..POLICIES {
        let path = format!("sys/policies/acl/p{number}");
        // A policy that is not there grants nothing.
        let reply = match case.policies.get(number) {
            Some(policy) => pair.send_as_root(server, "PUT", &path, &json!({"policy": text(policy)})),
            None => pair.send_as_root(server, "DELETE", &path, &Value::Null),
        };
        assert_eq!(
            reply.status,
            204,
            "server {server}, {path}: {}\n{:?}",
            reply.body,
            case.policies.get(number)
        );
    }
    let body = json!({"token": token, "paths": case.paths});
    let reply = pair.send_as_root(server, "POST", "sys/capabilities", &body);
    assert_eq!(reply.status, 200, "server {server}: {}", reply.body);
    let of = |path: &String| {
        let granted = reply.body["data"][path].as_array().cloned().unwrap_or_default();
        let mut granted: Vec<String> =
            granted.iter().filter_map(|capability| capability.as_str().map(str::to_owned)).collect();
        granted.sort();
        (path.clone(), granted)
    };
    case.paths.iter().map(of).collect()
}
