//! One generated request: a template with words in its places. Words that come first are the simpler ones, to
//! which a failing sequence is shrunk.

use proptest::prelude::*;

/// What stands in a place.
const WORDS: [(&str, &[&str]); 21] = [
    ("token", &["$root", "$ta", "$ta", "$tb", "$tb", "$tc"]),
    (
        "made",
        &[
            "ta=auth.client_token aa=auth.accessor",
            "tb=auth.client_token ab=auth.accessor",
            "tc=auth.client_token",
        ],
    ),
    ("known", &["$ta", "$tb", "$tc"]),
    ("accessor", &["$aa", "$ab"]),
    ("policy", &["$q-pa", "$q-pb"]),
    (
        "policies",
        &["[\"default\"]", "[\"$q-pa\"]", "[\"$q-pa\", \"$q-pb\"]", "[]", "[\"root\"]", "\"$q-pb\""],
    ),
    // Keyway refuses `root` and times below zero earlier than OpenBao does; what follows would differ.
    ("others", &["[\"default\"]", "[\"$q-pa\"]", "[\"$q-pa\", \"$q-pb\"]", "[]"]),
    ("limit", &["1h", "10m", "0", "", "2h"]),
    ("ttl", &["1h", "10m", "0", "", "2h", "20000h", "-1s"]),
    ("truth", &["false", "true", "\"true\""]),
    ("uses", &["0", "1", "3", "-1"]),
    ("key", &["a", "b", "f/a", "f/b", "f"]),
    ("version", &["1", "2", "3", "0"]),
    ("versions", &["[1]", "[2]", "[1, 2]", "[3]", "\"1,2\"", "[]"]),
    ("value", &["1", "\"x\"", "null", "{\"y\": 1, \"z\": null}", "[1, \"a\"]"]),
    ("cas", &["0", "1", "2", "\"1\"", "null", "-1"]),
    ("type", &["service", "default", "odd"]),
    ("role", &["ra", "rb"]),
    ("mount", &["m", "n"]),
    ("kv", &["1", "2"]),
    (
        "rules",
        &[
            "path \\\"*\\\" { capabilities = [\\\"read\\\", \\\"list\\\"] }",
            "path \\\"*\\\" { capabilities = [\\\"create\\\", \\\"read\\\", \\\"update\\\", \\\"delete\\\", \\\"list\\\", \\\"sudo\\\", \\\"patch\\\"] }",
            "path \\\"kvtwo/data/$q/+\\\" { capabilities = [\\\"create\\\", \\\"read\\\"] }",
            "path \\\"kvone/$q/f/*\\\" { capabilities = [\\\"update\\\", \\\"delete\\\", \\\"list\\\"] }",
            "path \\\"kvtwo/metadata/$q/*\\\" { capabilities = [\\\"deny\\\"] }",
            "path \\\"auth/token/*\\\" { capabilities = [\\\"create\\\", \\\"update\\\", \\\"sudo\\\"] }",
            "path \\\"kvtwo/*\\\" { capabilities = [\\\"read\\\"] min_wrapping_ttl = \\\"5s\\\" }",
            "path \\\"cubbyhole/*\\\" { capabilities = [\\\"create\\\", \\\"update\\\"] allowed_parameters = { \\\"x\\\" = [] } }",
        ],
    ),
];

/// Templates, with how often each is chosen.
const TEMPLATES: &[(u32, &str)] = &[
    (4, "PUT sys/policies/acl/{policy} {\"policy\": \"{rules}\"}"),
    (1, "PUT sys/policies/acl/{policy} {\"policy\": \"{rules}\\n{rules}\"}"),
    (1, "PUT sys/policies/acl/{policy} {\"policy\": \"{rules}\", \"cas\": {cas}}"),
    (1, "PUT sys/policies/acl/{policy} {\"policy\": \"{rules}\", \"cas_required\": {truth}}"),
    (1, "PUT sys/policy/{policy} {\"rules\": \"{rules}\"}"),
    (1, "GET sys/policy/{policy}"),
    (1, "DELETE sys/policies/acl/{policy}"),
    (1, "GET sys/policies/acl/{policy} as {token}"),
    (4, "POST auth/token/create as {token} {\"policies\": {policies}} -> {made}"),
    (
        3,
        "POST auth/token/create as {token} {\"policies\": {policies}, \"ttl\": \"{ttl}\", \"num_uses\": {uses}} -> {made}",
    ),
    (
        2,
        "POST auth/token/create as {token} {\"no_parent\": {truth}, \"no_default_policy\": {truth}, \"renewable\": {truth}} -> {made}",
    ),
    (
        2,
        "POST auth/token/create as {token} {\"type\": \"{type}\", \"ttl\": \"{ttl}\", \"policies\": {policies}} -> {made}",
    ),
    (
        2,
        "POST auth/token/create as {token} {\"period\": \"{ttl}\", \"explicit_max_ttl\": \"{limit}\"} -> {made}",
    ),
    (1, "POST auth/token/create-orphan as {token} {\"policies\": {policies}, \"ttl\": \"{ttl}\"} -> {made}"),
    (2, "GET auth/token/lookup-self as {token}"),
    (2, "POST auth/token/lookup as {token} {\"token\": \"{known}\"}"),
    (1, "POST auth/token/lookup-accessor as {token} {\"accessor\": \"{accessor}\"}"),
    (2, "POST auth/token/renew-self as {known} {\"increment\": \"{ttl}\"}"),
    (1, "POST auth/token/renew as {token} {\"token\": \"{known}\", \"increment\": \"{ttl}\"}"),
    (1, "POST auth/token/renew-accessor {\"accessor\": \"{accessor}\", \"increment\": \"{ttl}\"}"),
    (1, "POST auth/token/revoke as {token} {\"token\": \"{known}\"}"),
    (1, "POST auth/token/revoke-self as {known}"),
    (1, "POST auth/token/revoke-orphan as {token} {\"token\": \"{known}\"}"),
    (1, "POST auth/token/revoke-accessor as {token} {\"accessor\": \"{accessor}\"}"),
    (2, "POST auth/token/roles/$q-ra {\"allowed_policies\": {policies}, \"orphan\": {truth}}"),
    (1, "POST auth/token/roles/$q-ra {\"disallowed_policies\": {policies}, \"token_period\": \"{ttl}\"}"),
    (
        1,
        "POST auth/token/roles/$q-ra {\"allowed_policies_glob\": \"$q*\", \"token_explicit_max_ttl\": \"{ttl}\", \"renewable\": {truth}}",
    ),
    (1, "POST auth/token/roles/$q-ra {\"token_num_uses\": {uses}, \"token_no_default_policy\": {truth}}"),
    (1, "GET auth/token/roles/$q-ra"),
    (1, "DELETE auth/token/roles/$q-ra"),
    (3, "POST auth/token/create/$q-ra as {token} {\"policies\": {policies}} -> {made}"),
    (2, "POST auth/token/create/$q-ra as {token} {\"ttl\": \"{ttl}\"} -> {made}"),
    (4, "POST kvtwo/data/$q/{key} as {token} {\"data\": {\"x\": {value}}}"),
    (3, "POST kvtwo/data/$q/{key} as {token} {\"data\": {\"x\": {value}}, \"options\": {\"cas\": {cas}}}"),
    (4, "GET kvtwo/data/$q/{key} as {token}"),
    (2, "GET kvtwo/data/$q/{key}?version={version} as {token}"),
    (2, "PATCH kvtwo/data/$q/{key} as {token} {\"data\": {\"x\": {value}, \"w\": {value}}}"),
    (1, "PATCH kvtwo/data/$q/{key} as {token} {\"data\": {\"x\": {value}}, \"options\": {\"cas\": {cas}}}"),
    (2, "DELETE kvtwo/data/$q/{key} as {token}"),
    (2, "POST kvtwo/delete/$q/{key} as {token} {\"versions\": {versions}}"),
    (2, "POST kvtwo/undelete/$q/{key} as {token} {\"versions\": {versions}}"),
    (2, "PUT kvtwo/destroy/$q/{key} as {token} {\"versions\": {versions}}"),
    (3, "GET kvtwo/metadata/$q/{key} as {token}"),
    (2, "POST kvtwo/metadata/$q/{key} as {token} {\"max_versions\": {version}, \"cas_required\": {truth}}"),
    (1, "POST kvtwo/metadata/$q/{key} as {token} {\"delete_version_after\": \"{limit}\"}"),
    (1, "POST kvtwo/metadata/$q/{key} as {token} {\"custom_metadata\": {\"a\": \"b\"}}"),
    (
        1,
        "PATCH kvtwo/metadata/$q/{key} as {token} {\"custom_metadata\": {\"a\": null, \"c\": \"d\"}, \"max_versions\": {version}}",
    ),
    (1, "POST kvtwo/metadata/$q/{key} as {token} {\"max_versions\": {version}, \"metadata_cas\": {cas}}"),
    (1, "PATCH kvtwo/metadata/$q/{key} as {token} {\"max_versions\": {version}, \"metadata_cas\": {cas}}"),
    (1, "POST kvtwo/metadata/$q/{key} as {token} {\"metadata_cas_required\": {truth}}"),
    (2, "DELETE kvtwo/metadata/$q/{key} as {token}"),
    (1, "LIST kvtwo/detailed-metadata/$q as {token}"),
    (1, "SCAN kvtwo/metadata/$q/f/ as {token}"),
    (1, "SCAN kvone/$q/f as {token}"),
    (1, "GET kvtwo/data/$q/f/"),
    (1, "DELETE kvtwo/data/$q as {token}"),
    (2, "LIST kvtwo/metadata/$q as {token}"),
    (1, "LIST kvtwo/metadata/$q/f/ as {token}"),
    (1, "GET kvtwo/subkeys/$q/{key}?version={version} as {token}"),
    (2, "POST kvone/$q/{key} as {token} {\"x\": {value}}"),
    (2, "GET kvone/$q/{key} as {token}"),
    (1, "DELETE kvone/$q/{key} as {token}"),
    (2, "LIST kvone/$q as {token}"),
    (1, "LIST kvone/$q/f as {token}"),
    (2, "POST cubbyhole/{key} as {token} {\"x\": {value}}"),
    (2, "GET cubbyhole/{key} as {token}"),
    (1, "DELETE cubbyhole/{key} as {known}"),
    (1, "LIST cubbyhole/ as {known}"),
    (2, "POST sys/wrapping/wrap as {token} wrap 60s {\"x\": {value}} -> w=wrap_info.token"),
    (1, "GET kvtwo/data/$q/{key} as {token} wrap 60s -> w=wrap_info.token"),
    (2, "POST sys/wrapping/unwrap as {token} {\"token\": \"$w\"}"),
    (1, "POST sys/wrapping/lookup as {token} {\"token\": \"$w\"}"),
    (1, "POST sys/wrapping/rewrap as {token} {\"token\": \"$w\"} -> w=wrap_info.token"),
    (1, "GET sys/wrapping/lookup as $w"),
    (1, "POST sys/wrapping/unwrap as $w"),
    (1, "POST cubbyhole/{key} as $w {\"x\": 1}"),
    (
        2,
        "POST sys/capabilities-self as {token} {\"paths\": [\"cubbyhole/a\", \"auth/token/lookup-self\", \"kvtwo/data/$q/b\"]}",
    ),
    (1, "POST sys/capabilities-accessor {\"accessor\": \"{accessor}\", \"path\": \"kvtwo/data/$q/a\"}"),
    (1, "GET sys/internal/ui/mounts/kvtwo as {token}"),
    (
        2,
        "POST sys/capabilities {\"token\": \"{known}\", \"paths\": [\"kvtwo/data/$q/a\", \"kvone/$q/f/a\", \"kvtwo/metadata/$q/\", \"sys/mounts\", \"auth/token/create\"]}",
    ),
    (2, "POST sys/mounts/$q-{mount} as {token} {\"type\": \"kv\", \"options\": {\"version\": \"{kv}\"}}"),
    (1, "DELETE sys/mounts/$q-{mount} as {token}"),
    (1, "POST $q-{mount}/data/a {\"data\": {\"x\": {value}}}"),
    (1, "GET $q-{mount}/data/a"),
    (1, "POST sys/mounts/$q-{mount}/tune {\"default_lease_ttl\": \"{limit}\"}"),
    (1, "POST sys/mounts/$q-{mount}/tune {\"max_lease_ttl\": \"{limit}\"}"),
    (1, "GET sys/mounts/$q-{mount}/tune"),
    (1, "GET sys/mounts/$q-{mount}"),
    (1, "GET sys/internal/ui/mounts/$q-{mount} as {token}"),
    (1, "POST sys/mounts/$q-{mount}/tune {\"description\": \"d\", \"options\": {\"version\": \"{kv}\"}}"),
    (1, "POST $q-{mount}/config {\"max_versions\": {version}, \"cas_required\": {truth}}"),
    (1, "GET $q-{mount}/config"),
    (1, "POST sys/auth/$q-a {\"type\": \"approle\", \"config\": {\"max_lease_ttl\": \"{limit}\"}}"),
    (1, "POST sys/auth/$q-a/tune {\"default_lease_ttl\": \"{limit}\"}"),
    (1, "DELETE sys/auth/$q-a as {token}"),
    (1, "GET sys/auth/$q-a/tune"),
    (1, "GET auth/approle/role/$q-{role}"),
    (1, "DELETE auth/approle/role/$q-{role} as {token}"),
    (
        1,
        "POST auth/approle/role/$q-{role}/secret-id {\"ttl\": \"{limit}\", \"num_uses\": {uses}} -> s=data.secret_id",
    ),
    (1, "POST auth/approle/role/$q-{role}/secret-id/lookup {\"secret_id\": \"$s\"}"),
    (1, "POST auth/approle/role/$q-{role}/secret-id/destroy {\"secret_id\": \"$s\"}"),
    (1, "POST auth/approle/role/$q-{role}/policies {\"token_policies\": {others}}"),
    (1, "POST auth/approle/role/$q-{role}/token-ttl {\"token_ttl\": \"{limit}\"}"),
    (1, "DELETE auth/approle/role/$q-{role}/period"),
    (
        2,
        "POST auth/approle/role/$q-{role} {\"token_policies\": {others}, \"token_ttl\": \"{ttl}\", \"token_num_uses\": {uses}}",
    ),
    (
        2,
        "POST auth/approle/role/$q-{role} {\"token_period\": \"{ttl}\", \"secret_id_num_uses\": {uses}, \"token_type\": \"{type}\"}",
    ),
];

/// A login by a role, whose id and secret id are asked for before it.
const LOGIN: &str = "GET auth/approle/role/$q-ra/role-id -> r=data.role_id\n\
     POST auth/approle/role/$q-ra/secret-id {} -> s=data.secret_id\n\
     POST auth/approle/login as - {\"role_id\": \"$r\", \"secret_id\": \"$s\"} -> {made}";

/// A line of a table, or several that belong together.
pub(crate) fn request() -> impl Strategy<Value = String> {
    let mut templates: Vec<(u32, Just<&'static str>)> =
        TEMPLATES.iter().map(|(weight, template)| (*weight, Just(*template))).collect();
    templates.push((4, Just(LOGIN)));
    let template = prop::strategy::Union::new_weighted(templates);
    (template, prop::collection::vec(any::<u8>(), 8))
        .prop_map(|(template, choices)| filled(template, &choices))
}

fn filled(template: &str, choices: &[u8]) -> String {
    let mut text = template.to_owned();
    for choice in choices {
        let Some((name, words)) = next_place(&text) else { break };
        text = text.replacen(&format!("{{{name}}}"), words[usize::from(*choice) % words.len()], 1);
    }
    text
}

/// The first place of a text that is not filled.
fn next_place(text: &str) -> Option<(&'static str, &'static [&'static str])> {
    let found =
        WORDS.iter().filter_map(|(name, words)| Some((text.find(&format!("{{{name}}}"))?, *name, *words)));
    found.min_by_key(|(at, ..)| *at).map(|(_, name, words)| (name, words))
}
