//! The text format of tables.
//!
//! ```text
//! ## a title begins a case, and the names of the case before are forgotten
//! POST auth/token/create {"policies": "p"} -> t=auth.client_token
//! GET kv/a as $t
//! ! GET kv/b as $t
//! POLICY p
//!     path "kv/a" { capabilities = ["read"] }
//! ```
//!
//! A request is `METHOD PATH`, then `as TOKEN` (root's if it is not there; `-` for none), `wrap TTL`, `header
//! NAME=VALUE` (`~` for a blank), and a body: JSON, or `raw TEXT`. `-> NAME=PLACE` keeps a value of each
//! server's answer for `$NAME` in later requests. OpenBao must accept the request; with `!` before it,
//! OpenBao must refuse it. Indented lines continue the line before. `WAIT 1100ms` lets time pass.

use std::time::Duration;

/// A line of a table.
#[derive(Debug)]
pub(crate) enum Step {
    Send(Line),
    Wait(Duration),
}

/// A request with the names of values still in it.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) refused: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
    /// Name and place.
    pub(crate) keeps: Vec<(String, String)>,
}

/// A sequence of requests.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// All cases of a table.
pub(crate) fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in joined(text) {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case { title: title.to_owned(), steps: Vec::new() });
            continue;
        }
        let step = step(number, &line).unwrap_or_else(|| panic!("line {number} is no request: {line}"));
        cases.last_mut().expect("a table begins with a title").steps.push(step);
    }
    cases
}

/// Lines with their continuations, without comments.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with("# ") {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line.trim());
            }
            _ => lines.push((index + 1, line.to_owned())),
        }
    }
    lines
}

fn step(number: usize, line: &str) -> Option<Step> {
    if let Some(time) = line.strip_prefix("WAIT ") {
        return Some(Step::Wait(Duration::from_millis(time.strip_suffix("ms")?.parse().ok()?)));
    }
    let (line, refused) = line.strip_prefix("! ").map_or((line, false), |line| (line, true));
    if let Some(rest) = line.strip_prefix("POLICY ") {
        let (name, text) = rest.split_once('\n')?;
        return Some(Step::Send(Line {
            number,
            refused,
            method: "PUT".to_owned(),
            path: format!("sys/policies/acl/{name}"),
            body: Some(serde_json::json!({ "policy": text }).to_string()),
            ..Line::default()
        }));
    }
    let (line, keeps) = line.rsplit_once(" -> ").unwrap_or((line, ""));
    let keeps = keeps.split_whitespace().map(|keep| keep.split_once('='));
    let keeps = keeps.map(|keep| keep.map(|(name, place)| (name.to_owned(), place.to_owned())));
    let (head, body) = parted(line);
    let mut words = head.split_whitespace();
    let mut request = Line {
        number,
        refused,
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        body,
        keeps: keeps.collect::<Option<_>>()?,
        ..Line::default()
    };
    while let Some(word) = words.next() {
        let value = words.next()?.to_owned();
        match word {
            "as" => request.token = Some(if value == "-" { String::new() } else { value }),
            "wrap" => request.headers.push(("X-Vault-Wrap-TTL".to_owned(), value)),
            "header" => {
                let (name, value) = value.split_once('=')?;
                request.headers.push((name.to_owned(), value.replace('~', " ")));
            }
            _ => return None,
        }
    }
    Some(Step::Send(request))
}

/// What stands before the body, and the body.
fn parted(line: &str) -> (&str, Option<String>) {
    if let Some((head, raw)) = line.split_once(" raw ") {
        return (head, Some(raw.to_owned()));
    }
    let begins = [" {", " [", " null", " \""].iter().filter_map(|begin| line.find(begin)).min();
    match begins {
        Some(at) => (&line[..at], Some(line[at..].trim().to_owned())),
        None => (line, None),
    }
}

#[test]
fn line_of_a_table_has_all_its_parts() {
    let text = "## a\n# a comment\n! POST kv/$a as $t wrap 60s header X-A=b {\"a\":\n    1} -> n=data.id m=auth\nWAIT 5ms\n";
    let cases = parse(text);
    let Step::Send(line) = &cases[0].steps[0] else { panic!("a request") };
    assert_eq!(
        (line.number, line.refused, line.method.as_str(), line.path.as_str()),
        (3, true, "POST", "kv/$a")
    );
    assert_eq!((line.token.as_deref(), line.body.as_deref()), (Some("$t"), Some("{\"a\":\n1}")));
    assert_eq!(
        line.headers,
        [("X-Vault-Wrap-TTL", "60s"), ("X-A", "b")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert_eq!(line.keeps, [("n", "data.id"), ("m", "auth")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert!(matches!(cases[0].steps[1], Step::Wait(time) if time.as_millis() == 5));
}
