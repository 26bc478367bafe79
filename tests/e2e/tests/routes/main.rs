//! Every route is guarded: without a token, with one that may do everything but this, and with one that may
//! do nothing else. A route that has no case here fails this test, so that none is added without.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod approle;
mod case;
mod cases;
mod fields;
mod system;

use std::collections::HashMap;

use keyway_api::{
    Action,
    route::{Access, Route},
    tables,
};
use keyway_e2e::{Answer, Server, Site};
use serde_json::{Value, json};

use self::{case::Case, cases::cases};

fn method(action: Action) -> &'static str {
    match action {
        Action::Read => "GET",
        Action::Write => "POST",
        Action::Patch => "PATCH",
        Action::Delete => "DELETE",
        Action::List => "LIST",
        Action::Scan => "SCAN",
    }
}

/// What a policy must grant for an action on something that is there.
fn capability(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Write => "update",
        Action::Patch => "patch",
        Action::Delete => "delete",
        Action::List => "list",
        Action::Scan => "scan",
    }
}

const ALL: [&str; 8] = ["create", "read", "update", "patch", "delete", "list", "scan", "sudo"];

struct World {
    server: Server,
    root: String,
    made: std::cell::Cell<u32>,
}

impl World {
    fn send(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
        let mut headers = vec![("Content-Type", "application/json")];
        if method == "PATCH" {
            headers = vec![("Content-Type", "application/merge-patch+json")];
        }
        if !token.is_empty() {
            headers.push(("X-Vault-Token", token));
        }
        self.server.request_with(method, path, &headers, body.map(Value::to_string).as_deref())
    }

    /// A token with nothing but this policy.
    fn token(&self, rules: &Value) -> String {
        self.made.set(self.made.get() + 1);
        let name = format!("case-{}", self.made.get());
        let body = json!({ "policy": json!({ "path": rules }).to_string() });
        assert_eq!(
            self.send("POST", &format!("sys/policies/acl/{name}"), &self.root, Some(&body)).status,
            204
        );
        let body = json!({ "policies": [name], "no_default_policy": true });
        let made = self.send("POST", "auth/token/create", &self.root, Some(&body));
        made.json()["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Prepares what the request needs, and puts it into the request.
    fn prepare(&self, case: &Case) -> (String, Option<Value>) {
        let mut names = HashMap::new();
        for step in &case.before {
            let (path, body) = (fill(step.path, &names), step.body.as_ref().map(|body| filled(body, &names)));
            let answer = match step.wrapped {
                false => self.send(step.method, &path, &self.root, body.as_ref()),
                true => self.server.request_with(
                    step.method,
                    &path,
                    &[("X-Vault-Token", &self.root), ("X-Vault-Wrap-TTL", "60")],
                    body.map(|body| body.to_string()).as_deref(),
                ),
            };
            assert!(matches!(answer.status, 200 | 204), "{path}: {} {}", answer.status, answer.text);
            if let Some((name, pointer)) = step.keep {
                names.insert(name, answer.json().pointer(pointer).unwrap().as_str().unwrap().to_owned());
            }
        }
        (fill(case.path, &names), case.body.as_ref().map(|body| filled(body, &names)))
    }
}

fn fill(text: &str, names: &HashMap<&str, String>) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

fn filled(body: &Value, names: &HashMap<&str, String>) -> Value {
    serde_json::from_str(&fill(&body.to_string(), names)).unwrap()
}

fn world() -> (Site, World) {
    let site = Site::new("memory");
    let server = site.start();
    let root = server.init_and_unseal().root_token;
    let world = World { server, root, made: std::cell::Cell::new(0) };
    for (path, body) in [
        ("sys/mounts/plain", json!({ "type": "kv", "options": { "version": 1 } })),
        ("sys/auth/approle", json!({ "type": "approle" })),
    ] {
        assert_eq!(world.send("POST", path, &world.root, Some(&body)).status, 204, "{path}");
    }
    (site, world)
}

#[test]
fn every_route_is_guarded() {
    let cases = cases();
    let mut untested = Vec::new();
    // A case that ends the server, or needs a fresh one, gets a separate server.
    let (mut site_and_world, mut problems) = (world(), Vec::new());
    for table in tables() {
        for route in table.routes {
            let key = format!("{}{}", table.base, route.pattern);
            let Some(case) = cases.iter().find(|case| case.route == key && case.action == route.action)
            else {
                untested.push(format!("{} {key}", method(route.action)));
                continue;
            };
            problems.extend(check(&site_and_world.1, route, case));
            if case.ends_the_server {
                site_and_world = world();
            }
        }
    }
    assert!(untested.is_empty(), "routes without a case in cases.rs: {untested:#?}");
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The problems of a route.
fn check(world: &World, route: &Route, case: &Case) -> Vec<String> {
    let mut problems = Vec::new();
    let name = format!("{} {}", method(route.action), case.route);
    let mut expect = |who: &str, answer: &Answer, is_right: bool| {
        if !is_right {
            problems.push(format!("{name}, {who}: {} {}", answer.status, answer.text));
        }
    };
    let ask =
        |token: &str, path: &str, body: Option<&Value>| world.send(method(route.action), path, token, body);
    let (path, body) = world.prepare(case);
    let body = body.as_ref();
    if let Access::Open(reason) = route.access {
        assert!(!reason.is_empty(), "{name} is open for no reason");
        let answer = ask("", &path, body);
        expect("no token", &answer, answer.status == case.status);
        return problems;
    }
    let without = if matches!(route.access, Access::Visitor(_)) { case.status } else { 403 };
    let unknown = [
        ("no token", "", without),
        ("an unknown token", "kw.unknown", 403),
        ("no token at all", "\t", without),
    ];
    for (who, token, status) in unknown {
        let answer = ask(token, &path, body);
        expect(who, &answer, answer.status == status);
    }
    // As policies see it: decoded, and with a slash at the end of a list.
    let seen = case.seen.map_or_else(|| path.clone(), str::to_owned);
    let seen = if route.action.is_of_folder() { format!("{}/", seen.trim_end_matches('/')) } else { seen };
    if let Access::Holder(reason) | Access::Visitor(reason) = route.access {
        assert!(!reason.is_empty(), "{name} asks no policy, for no reason");
        let answer = ask(&world.token(&json!({ "*": { "capabilities": ["read"] } })), &path, body);
        expect("a token", &answer, answer.status == case.status);
        return problems;
    }
    let needed = capability(route.action);
    let all_but = |left_out: &str| -> Vec<&str> {
        // A write to a path that does not exist is a `create`.
        ALL.into_iter().filter(|one| *one != left_out && !(needed == "update" && *one == "create")).collect()
    };
    let mut refused = vec![
        (
            "everything else is allowed",
            json!({ "*": { "capabilities": ALL }, &seen: { "capabilities": ["deny"] } }),
        ),
        ("all but the capability", json!({ &seen: { "capabilities": all_but(needed) } })),
        (
            "the capability elsewhere",
            json!({ format!("{seen}x"): { "capabilities": ALL }, "x": { "capabilities": ALL } }),
        ),
    ];
    if route.needs_sudo {
        refused.push(("all but sudo", json!({ &seen: { "capabilities": all_but("sudo") } })));
    }
    for (who, rules) in refused {
        let token = world.token(&rules);
        let answer = ask(&token, &path, body);
        expect(who, &answer, answer.status == 403);
        // However it is spelled.
        for spelled in spellings(&path) {
            let answer = ask(&token, &spelled, body);
            expect(&format!("{who}, as {spelled}"), &answer, matches!(answer.status, 400 | 403));
        }
    }
    let mut granted = vec![needed];
    if route.needs_sudo {
        granted.push("sudo");
    }
    if case.creates {
        granted.push("create");
    }
    let answer = ask(&world.token(&json!({ &seen: { "capabilities": granted } })), &path, body);
    expect("who may", &answer, answer.status == case.status);
    problems
}

/// Other ways to write a path that a reader could take for the same.
fn spellings(path: &str) -> Vec<String> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let last = path.chars().next_back().unwrap_or('x');
    vec![
        format!("{path}/"),
        format!("{path}//"),
        format!("/{path}"),
        format!("./{path}"),
        format!("{first}//{rest}"),
        format!("{first}/./{rest}"),
        format!("{first}/x/../{rest}"),
        format!("{first}%2F{rest}"),
        format!("{}%{:02x}", path.strip_suffix(last).unwrap_or(path), u32::from(last)),
        format!("{path}%00"),
        format!("{path}%20").replace("%20", "%09"),
    ]
}
