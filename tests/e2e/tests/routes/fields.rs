//! Fields and query parameters that no endpoint reads: named in a warning, or refused by name if Vault or
//! OpenBao know them. The test covers every route, so that a new one cannot silently drop
//! a field.

use keyway_api::{Action, route::Route, tables};
use serde_json::{Map, Value, json};

use crate::{World, case::Case, cases::cases, method, world};

/// Routes whose whole body is data.
const BODY_IS_DATA: [&str; 3] = ["kv1/{path}", "cubbyhole/{path}", "sys/wrapping/wrap"];

#[test]
fn every_route_names_what_it_does_not_read() {
    let cases = cases();
    let (mut site_and_world, mut problems) = (world(), Vec::new());
    for table in tables() {
        for route in table.routes {
            let key = format!("{}{}", table.base, route.pattern);
            let case = cases.iter().find(|case| case.route == key && case.action == route.action).unwrap();
            problems.extend(check(&site_and_world.1, route, case));
            if case.ends_the_server {
                site_and_world = world();
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

fn check(world: &World, route: &Route, case: &Case) -> Vec<String> {
    let mut problems = Vec::new();
    let name = format!("{} {}", method(route.action), case.route);
    let has_fields = !matches!(route.action, Action::Read | Action::List | Action::Scan)
        && !BODY_IS_DATA.contains(&case.route);
    let (path, body) = world.prepare(case);
    // Some routes renew or revoke the token that is shown.
    let token = if path.ends_with("-self") {
        let body = json!({ "policies": ["root"], "ttl": "1h" });
        let made = world.send("POST", "auth/token/create", &world.root, Some(&body));
        made.json()["auth"]["client_token"].as_str().unwrap().to_owned()
    } else {
        world.root.clone()
    };
    let send = |path: &str, body: Option<&Value>| world.send(method(case.action), path, &token, body);
    if has_fields {
        for field in route.unsupported {
            let refused = send(&path, Some(&with(body.as_ref(), field)));
            if refused.status != 400 || !refused.error().contains(field) {
                problems.push(format!("{name}, {field}: {} {}", refused.status, refused.text));
            }
        }
    }
    if !matches!(case.status, 200 | 204) {
        return problems;
    }
    let unknown = has_fields.then(|| with(body.as_ref(), "unknown_field"));
    let joint = if path.contains('?') { '&' } else { '?' };
    let answer = send(&format!("{path}{joint}unknown_parameter=1"), unknown.as_ref().or(body.as_ref()));
    let mut expected = vec!["unknown_parameter"];
    expected.extend(has_fields.then_some("unknown_field"));
    let is_told = expected.iter().all(|field| answer.text.contains(field));
    if answer.status != 200 || !is_told {
        problems.push(format!("{name}, unknown: {} {}", answer.status, answer.text));
    }
    problems
}

/// The body with one more field, at a dotted path.
fn with(body: Option<&Value>, field: &str) -> Value {
    let mut body = body.cloned().unwrap_or_else(|| json!({}));
    let mut place = &mut body;
    for part in field.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = place.as_object_mut().unwrap().entry(part).or_insert(Value::Null);
    }
    *place = json!("x");
    body
}
