//! Fields of requests: each field that OpenBao's OpenAPI document lists for a route that both know is
//! honoured, refused by name, or named in a warning. Routes that Keyway lacks are on the list of differences.

use std::{fs, path::Path};

use keyway_api::{Action, route::Route, tables};
use serde_json::{Map, Value, json};

use crate::{
    bao,
    differences::{Matched, Seen},
    pair::Pair,
    request::Reply,
    run::Run,
    table::{Case, Line, Step, parse},
};

/// A field that no server knows.
const UNKNOWN: &str = "nobody_knows";

#[test]
fn fields_of_openapi_are_honoured_refused_or_named() {
    let Some(program) = bao::program() else { return };
    let pair = Pair::start(&program);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fields.txt");
    let cases = parse(&fs::read_to_string(path).unwrap());
    prepare(&pair, &cases[0]);
    let document = pair.send_as_root(0, "GET", "sys/internal/specs/openapi", &Value::Null).body;
    let (matched, mut problems) = (Matched::default(), Vec::new());
    let mut check = |text: String| {
        if !matched.is_intended(&text) {
            problems.push(text);
        }
    };
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths.iter().filter(|(path, _)| is_ours(path)) {
        for method in ["get", "post", "patch", "delete"].iter().filter(|method| !methods[**method].is_null())
        {
            let route = format!("{} {path}", method.to_uppercase());
            if !is_known(method, path) {
                check(format!("ROUTE {route}"));
                continue;
            }
            let fields = fields(&document, &methods[*method]);
            if fields.is_empty() {
                continue;
            }
            match cases.iter().find(|case| case.title == route) {
                None => check(format!("FIELDS {route} have no case in fields.txt")),
                Some(case) => probe(&pair, case, &fields).into_iter().for_each(&mut check),
            }
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let stale = matched.stale(Seen::Fields);
    assert!(stale.is_empty(), "lines of differences.toml that match no difference any more: {stale:#?}");
}

fn prepare(pair: &Pair, case: &Case) {
    let (mut run, matched) = (Run::new(pair, &[]), Matched::default());
    for step in &case.steps {
        let Step::Send(line) = step else { panic!("requests alone") };
        let outcome = run.send(line, &matched).unwrap();
        assert!(outcome.replies.iter().all(|reply| reply.status < 400), "{line:?}: {:?}", outcome.replies);
    }
}

/// Whether a path is of an area that Keyway has.
fn is_ours(path: &str) -> bool {
    ["/sys/", "/auth/token/", "/auth/approle/", "/kvone/", "/kvtwo/", "/cubbyhole/"]
        .iter()
        .any(|base| path.starts_with(base))
        && !path.contains('^')
}

fn is_known(method: &str, path: &str) -> bool {
    let actions: &[Action] = match method {
        "get" => &[Action::Read, Action::List],
        "post" => &[Action::Write],
        "patch" => &[Action::Patch],
        _ => &[Action::Delete],
    };
    let wanted = plain(path.trim_start_matches('/').trim_end_matches('/'));
    let is = |base: &str, route: &Route| {
        let ours = plain(&format!("{base}{}", route.pattern));
        // Two parts in OpenBao's document are the rest of the path here.
        let is_same =
            ours == wanted || (ours == "sys/plugins/catalog/{}" && wanted == format!("{ours}/{{}}"));
        actions.contains(&route.action) && is_same
    };
    tables().iter().any(|table| table.routes.iter().any(|route| is(table.base, route)))
}

/// A path without the names of its parameters, from the base that Keyway's tables have for it.
fn plain(path: &str) -> String {
    let bases = [("kvone/", "kv1/"), ("kvtwo/", "kv/"), ("auth/approle/", "approle/")];
    let based = bases.iter().find_map(|(from, to)| path.strip_prefix(from).map(|rest| format!("{to}{rest}")));
    let path = based.unwrap_or_else(|| path.to_owned());
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// Names and types of the fields of a request.
fn fields(document: &Value, method: &Value) -> Vec<(String, String)> {
    let schema = &method["requestBody"]["content"];
    let Some(schema) = schema.as_object().and_then(|kinds| kinds.values().next()).map(|kind| &kind["schema"])
    else {
        return Vec::new();
    };
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &document["components"]["schemas"][reference.rsplit('/').next().unwrap()],
        None => schema,
    };
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let of =
        |(name, property): (String, Value)| (name, property["type"].as_str().unwrap_or_default().to_owned());
    properties.into_iter().map(of).collect()
}

/// The problems of the fields of a route.
fn probe(pair: &Pair, case: &Case, fields: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut add = |field: &str, text: &str| problems.push(format!("FIELDS {} {field}: {text}", case.title));
    for (field, kind) in fields {
        let [bao, keyway] = send(pair, case, field, &plausible(field, kind));
        if keyway.status >= 400 && !names(&keyway, field) && bao.status < 400 {
            add(field, &format!("refused without its name: {} {}", keyway.status, keyway.body));
        }
        let [bao, keyway] = send(pair, case, field, &of_another_type(kind));
        if bao.status >= 400 && keyway.status < 400 && !names(&keyway, field) {
            add(field, "dropped: a value of another type is accepted");
        }
        let [bao, keyway] = send(pair, case, field, &nothing(kind));
        if bao.status < 400 && keyway.status >= 400 {
            add(field, &format!("its default is refused: {} {}", keyway.status, keyway.body));
        }
    }
    let [bao, keyway] = send(pair, case, UNKNOWN, &json!("x"));
    if bao.status < 400 && (keyway.status >= 400 || !names(&keyway, UNKNOWN)) {
        add(UNKNOWN, &format!("not named in a warning: {} {}", keyway.status, keyway.body["warnings"]));
    }
    problems
}

fn names(reply: &Reply, field: &str) -> bool {
    reply.body["errors"].to_string().contains(field) || reply.body["warnings"].to_string().contains(field)
}

/// Runs the case's preparation, and its last request with this field.
fn send(pair: &Pair, case: &Case, field: &str, value: &Value) -> [Reply; 2] {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("f{}", COUNT.fetch_add(1, Relaxed));
    let (mut run, matched) = (Run::new(pair, &[("f", &unique)]), Matched::default());
    let (last, before) = case.steps.split_last().expect("a request");
    for step in before {
        let Step::Send(line) = step else { panic!("requests alone") };
        run.send(line, &matched).expect("what the request needs");
    }
    let Step::Send(line) = last else { panic!("a request") };
    let mut body: Map<String, Value> =
        serde_json::from_str(line.body.as_deref().unwrap_or("{}")).expect("an object");
    body.insert(field.to_owned(), value.clone());
    let line = Line {
        method: line.method.clone(),
        path: line.path.clone(),
        token: line.token.clone(),
        headers: line.headers.clone(),
        body: Some(Value::Object(body).to_string()),
        ..Line::default()
    };
    run.send(&line, &matched).expect("what the request needs").replies
}

/// A value that is not the default one.
fn plausible(field: &str, kind: &str) -> Value {
    match (field, kind) {
        ("policy" | "rules", _) => json!("path \"a\" { capabilities = [\"read\"] }"),
        ("type" | "token_type", _) => json!("service"),
        ("listing_visibility", _) => json!("unauth"),
        ("expiration", _) => json!("2999-01-01T00:00:00Z"),
        ("metadata", "string") => json!("{\"k\": \"v\"}"),
        ("versions", _) => json!([1]),
        ("cas" | "metadata_cas", _) => json!(0),
        ("data", _) => json!({"x": 1}),
        ("options", _) => json!({"version": "1"}),
        ("config", _) => json!({"max_lease_ttl": "10m"}),
        (name, "array") if name.contains("cidr") => json!(["127.0.0.1/32"]),
        (name, "string") if name.contains("ttl") || name == "lease" || name == "period" => json!("10m"),
        (_, "boolean") => json!(true),
        (_, "integer") => json!(3),
        (_, "array") => json!(["a"]),
        (_, "object") => json!({"k": "v"}),
        _ => json!("text"),
    }
}

fn of_another_type(kind: &str) -> Value {
    match kind {
        "object" => json!("text"),
        _ => json!({"not": [{"of": "this type"}]}),
    }
}

fn nothing(kind: &str) -> Value {
    match kind {
        "boolean" => json!(false),
        "integer" => json!(0),
        "array" => json!([]),
        "object" => json!({}),
        _ => json!(""),
    }
}
