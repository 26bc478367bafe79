//! Reads policies: HCL 1, or JSON if the text begins with a brace. A part that is not understood is refused,
//! never ignored.

use std::time::Duration;

use keyway_common::{duration, json::has_repeated_name};
use serde_json::Value;

use super::{
    hcl::{self, Item, Node, Position},
    rule::{Capabilities, Parameters, PathRule, Permissions},
};

/// The longest text, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// The most patterns in one policy.
const MAX_RULES: usize = 10_000;
/// What OpenBao and Vault know of a path, and Keyway does not.
const UNSUPPORTED: [&str; 7] = [
    "control_group",
    "expiration",
    "list_scan_response_keys_filter_path",
    "mfa_methods",
    "pagination_limit",
    "response_keys_filter_path",
    "subscribe_event_types",
];

/// What stands in a policy for one pattern.
struct Stanza {
    /// Where it begins, in HCL.
    at: Option<Position>,
    pattern: String,
    fields: Vec<Field>,
}

struct Field {
    at: Option<Position>,
    name: String,
    value: Value,
}

/// The problem of a stanza, and its position.
struct Fault {
    at: Option<Position>,
    why: String,
}

/// The rules in a policy's text.
///
/// # Errors
///
/// A line that says what the problem is, and where.
pub fn parse(text: &str) -> Result<Vec<PathRule>, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("a policy has at most {MAX_TEXT_BYTES} bytes"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_json = text.trim_start().starts_with('{');
    let stanzas = if is_json { stanzas_of_json(text)? } else { stanzas_of_hcl(text)? };
    if stanzas.len() > MAX_RULES {
        return Err(format!("a policy has at most {MAX_RULES} paths"));
    }
    let rules = stanzas.iter().map(|stanza| {
        rule(stanza).map_err(|Fault { at, why }| {
            let place = at.or(stanza.at).map(|at| format!("{at}: ")).unwrap_or_default();
            format!("{place}path {:?}: {why}", stanza.pattern)
        })
    });
    rules.collect()
}

/// `{"path": {"PATTERN": {…}}}`, or a list of such objects.
fn stanzas_of_json(text: &str) -> Result<Vec<Stanza>, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    if has_repeated_name(text) {
        return Err("a name stands twice in one object".to_owned());
    }
    let Value::Object(document) = document else { return Err("it is no JSON object".to_owned()) };
    let mut stanzas = Vec::new();
    for (name, value) in document {
        match name.as_str() {
            "name" => {}
            "path" => add_json_paths(value, &mut stanzas)?,
            _ => return Err(unknown(&name, "path")),
        }
    }
    Ok(stanzas)
}

fn add_json_paths(value: Value, stanzas: &mut Vec<Stanza>) -> Result<(), String> {
    match value {
        Value::Array(several) => several.into_iter().try_for_each(|value| add_json_paths(value, stanzas)),
        Value::Object(paths) => {
            for (pattern, stanza) in paths {
                let Value::Object(fields) = stanza else {
                    return Err(format!("path {pattern:?} is no object"));
                };
                let fields =
                    fields.into_iter().map(|(name, value)| Field { at: None, name, value }).collect();
                stanzas.push(Stanza { at: None, pattern, fields });
            }
            Ok(())
        }
        _ => Err("\"path\" is an object with a pattern for each path".to_owned()),
    }
}

/// `path "PATTERN" { … }`, or `path = { "PATTERN" = { … } }`, as often as there are paths.
fn stanzas_of_hcl(text: &str) -> Result<Vec<Stanza>, String> {
    let items = hcl::parse(text).map_err(|error| format!("it is not HCL: {error}"))?;
    let mut stanzas = Vec::new();
    for item in items {
        let at = item.at;
        let (name, labels) = item.keys.split_first().ok_or_else(|| format!("{at}: a key is missing"))?;
        match (name.as_str(), labels, item.value) {
            ("name", [], _) => {}
            ("path", [], Node::Object(items)) => {
                for item in items {
                    let pattern = item.key().map_err(|error| error.to_string())?.to_owned();
                    stanzas.push(stanza(item.at, pattern, item.value)?);
                }
            }
            ("path", [pattern], value) => stanzas.push(stanza(at, pattern.clone(), value)?),
            ("path", ..) => {
                return Err(format!("{at}: a path has one pattern: path \"secret/data/app\" {{ … }}"));
            }
            _ => return Err(format!("{at}: {}", unknown(name, "path"))),
        }
    }
    Ok(stanzas)
}

fn stanza(at: Position, pattern: String, value: Node) -> Result<Stanza, String> {
    let Node::Object(items) = value else { return Err(format!("{at}: path {pattern:?} is no object")) };
    let mut fields = Vec::new();
    for item in items {
        let place = item.at;
        add_field(item, &mut fields).map_err(|why| format!("{place}: path {pattern:?}: {why}"))?;
    }
    Ok(Stanza { at: Some(at), pattern, fields })
}

/// Blocks of parameters may stand there several times, with other parameters each.
fn add_field(item: Item, fields: &mut Vec<Field>) -> Result<(), String> {
    let said = |error: hcl::SyntaxError| error.why;
    let name = item.key().map_err(said)?.to_owned();
    let at = Some(item.at);
    let Some(present) = fields.iter_mut().find(|field| field.name == name) else {
        let is_unsupported = UNSUPPORTED.contains(&name.as_str());
        let value = match item.value.json() {
            Err(_) if is_unsupported => return Err(format!("{name}: is not supported")),
            value => value.map_err(said)?,
        };
        fields.push(Field { at, name, value });
        return Ok(());
    };
    let is_of_parameters = matches!(name.as_str(), "allowed_parameters" | "denied_parameters");
    match (item.value, present.value.as_object_mut()) {
        (Node::Object(items), Some(present)) if is_of_parameters => {
            items.into_iter().try_for_each(|item| item.add_to(present)).map_err(said)
        }
        _ => Err(format!("{name} is a duplicate")),
    }
}

fn unknown(name: &str, known: &str) -> String {
    format!("{name:?} is not known; write {known}")
}

fn rule(stanza: &Stanza) -> Result<PathRule, Fault> {
    let said = |why: &str| Fault { at: None, why: why.to_owned() };
    let path = stanza.pattern.strip_prefix('/').unwrap_or(&stanza.pattern);
    if path.is_empty() {
        return Err(said("the pattern is empty; everything is \"*\""));
    }
    if path.contains("{{") {
        return Err(said("templates ({{…}}) are not supported"));
    }
    if path.contains("+*") {
        return Err(said("\"+*\" is forbidden"));
    }
    if path.chars().any(char::is_control) {
        return Err(said("a pattern has no control characters"));
    }
    let (path, is_prefix) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
    Ok(PathRule { path: path.to_owned(), is_prefix, permissions: permissions(&stanza.fields)? })
}

fn permissions(fields: &[Field]) -> Result<Permissions, Fault> {
    let mut found = Permissions::default();
    for Field { at, name, value } in fields {
        set(&mut found, name, value).map_err(|why| Fault { at: *at, why })?;
    }
    if !found.max_wrapping.is_zero() && found.max_wrapping < found.min_wrapping {
        return Err(Fault { at: None, why: "max_wrapping_ttl is less than min_wrapping_ttl".to_owned() });
    }
    if found.capabilities.has(Capabilities::DENY) {
        found = Permissions { capabilities: Capabilities::DENY, ..Permissions::default() };
    }
    Ok(found)
}

fn set(found: &mut Permissions, name: &str, value: &Value) -> Result<(), String> {
    let said = |why: String| format!("{name}: {why}");
    match name {
        "capabilities" => {
            for capability in texts(value).map_err(said)? {
                let known = Capabilities::named(&capability);
                let known = known.ok_or_else(|| said(format!("there is no capability {capability:?}")))?;
                found.capabilities = found.capabilities | known;
            }
        }
        "policy" => found.capabilities = found.capabilities | old_style(value).map_err(said)?,
        "allowed_parameters" => found.allowed = parameters(value).map_err(said)?,
        "denied_parameters" => found.denied = parameters(value).map_err(said)?,
        "required_parameters" => {
            found.required = texts(value).map_err(said)?.iter().map(|text| text.to_lowercase()).collect();
        }
        "min_wrapping_ttl" => found.min_wrapping = time(value).map_err(said)?,
        "max_wrapping_ttl" => found.max_wrapping = time(value).map_err(said)?,
        "comment" => {}
        _ if UNSUPPORTED.contains(&name) && says_nothing(value) => {}
        _ if UNSUPPORTED.contains(&name) => return Err(said("is not supported".to_owned())),
        _ => {
            let known = "capabilities, allowed_parameters, denied_parameters, required_parameters, min_wrapping_ttl or \
                         max_wrapping_ttl";
            return Err(unknown(name, known));
        }
    }
    Ok(())
}

/// The words from before there were capabilities.
fn old_style(value: &Value) -> Result<Capabilities, String> {
    let read = Capabilities::READ | Capabilities::LIST;
    let write = read | Capabilities::CREATE | Capabilities::UPDATE | Capabilities::DELETE;
    match value.as_str() {
        Some("") => Ok(Capabilities::NONE),
        Some("deny") => Ok(Capabilities::DENY),
        Some("read") => Ok(read),
        Some("write") => Ok(write),
        Some("sudo") => Ok(write | Capabilities::SUDO),
        _ => Err(format!("{value} is none of deny, read, write and sudo")),
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or_else(|| format!("{value} is no list"))?;
    let texts = items.iter().map(|item| match item {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("{other} is no text")),
    });
    texts.collect()
}

/// Whether a field that is not supported is at its default.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn parameters(value: &Value) -> Result<Parameters, String> {
    let fields = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
    let mut parameters = Parameters::new();
    for (name, values) in fields {
        let values = values.as_array().ok_or_else(|| format!("{name}: {values} is no list of values"))?;
        if parameters.insert(name.to_lowercase(), values.clone()).is_some() {
            return Err(format!("{name} is a duplicate"));
        }
    }
    Ok(parameters)
}

/// How long; nothing, and zero, are no bound.
fn time(value: &Value) -> Result<Duration, String> {
    let nanoseconds = match value {
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => Some(duration::parse(text)?),
        // Parts of a second count in texts alone, as OpenBao has it.
        Value::Number(number) if number.is_f64() => {
            let whole =
                number.as_f64().filter(|seconds| (0.0..1e9).contains(seconds)).map(|seconds| seconds as i64);
            whole.and_then(|seconds| seconds.checked_mul(1_000_000_000))
        }
        Value::Number(number) => number.as_i64().and_then(|seconds| seconds.checked_mul(1_000_000_000)),
        _ => None,
    };
    let time = nanoseconds.and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).map(Duration::from_nanos);
    time.ok_or_else(|| format!("{value} is no duration; write such as \"90s\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> PathRule {
        let mut rules = parse(text).unwrap();
        assert_eq!(rules.len(), 1);
        rules.remove(0)
    }

    #[test]
    fn hcl_and_json_say_the_same() {
        let hcl = r#"
            # An application's.
            name = "app"
            path "secret/data/app/*" {
              capabilities = ["create", "read", "list",]
              allowed_parameters = {
                "*" = []
                "Ttl" = ["1h", 2, true]
              }
              required_parameters = ["Data"]
              min_wrapping_ttl = "1m"
              max_wrapping_ttl = 90
            }
        "#;
        let json = r#"{"name": "app", "path": {"/secret/data/app/*": {
            "capabilities": ["read", "create", "list"],
            "allowed_parameters": {"ttl": ["1h", 2, true], "*": []},
            "required_parameters": ["data"], "min_wrapping_ttl": 60, "max_wrapping_ttl": "1m30s"}}}"#;
        let rule = one(hcl);
        assert_eq!(rule, one(json));
        assert_eq!((rule.path.as_str(), rule.is_prefix), ("secret/data/app/", true));
        assert_eq!(rule.permissions.max_wrapping, Duration::from_secs(90));
        assert_eq!(
            parse(r#"{"path": [{"a": {"policy": "read"}}, {"b": {"policy": "write"}}]}"#).unwrap().len(),
            2
        );
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn words_of_old_and_deny_are_understood() {
        assert_eq!(one("path \"a\" { policy = \"sudo\" }").permissions.capabilities.names().len(), 6);
        let denied =
            one("path \"a\" {\n capabilities = [\"read\", \"deny\"]\n required_parameters = [\"x\"]\n}");
        assert_eq!(denied.permissions.capabilities, Capabilities::DENY);
        assert!(denied.permissions.required.is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        for (text, says) in [
            ("path \"a\" {", "HCL"),
            ("paths \"a\" {}", "paths"),
            ("path \"a\" { capability = [\"read\"] }", "\"capability\" is not known"),
            ("path \"a\" { capabilities = [\"reed\"] }", "\"reed\""),
            ("path \"a\" { capabilities = \"read\" }", "no list"),
            ("path \"a\" { mfa_methods = [\"duo\"] }", "not supported"),
            ("path \"a\" { pagination_limit = 9 }", "pagination_limit: is not supported"),
            ("path \"a\" { expiration = \"2030-01-01T00:00:00Z\" }", "expiration: is not supported"),
            ("path \"a\" {\n control_group = {}\n}", "not supported"),
            ("path \"a\" {\n factor {}\n}", "line 2, column 2: path \"a\": \"factor\" is not known"),
            ("path \"secret/{{identity.entity.id}}/*\" { capabilities = [\"read\"] }", "templates"),
            ("path \"a/+*\" { capabilities = [\"read\"] }", "+*"),
            ("path \"\" { capabilities = [\"read\"] }", "empty"),
            ("path \"a\" \"b\" { capabilities = [\"read\"] }", "one pattern"),
            ("path \"a\" {\n policy = \"read\"\n policy = \"write\"\n}", "line 3"),
            ("path \"a\" { capabilities = [upper(\"read\")] }", "no expressions"),
            ("path \"a\" { min_wrapping_ttl = \"soon\" }", "duration"),
            ("path \"a\" {\n min_wrapping_ttl = 9\n max_wrapping_ttl = 3\n}", "less than"),
            ("path \"a\" { allowed_parameters = { a = 1 } }", "no list of values"),
            ("{\"path\": {\"a\": {\"policy\": \"read\"}, \"a\": {}}}", "twice"),
            ("{\"path\": 1}", "pattern"),
            ("{\"paths\": {}}", "paths"),
            ("{", "JSON"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "path \"a\" { comment = ".to_owned() + &"[".repeat(100_000);
        assert!(parse(&deep).unwrap_err().contains("nested"));
        assert!(parse(&" ".repeat(MAX_TEXT_BYTES + 1)).unwrap_err().contains("at most"));
        let many = "path \"a\" {}\n".repeat(MAX_RULES + 1);
        assert!(parse(&many).unwrap_err().contains("at most"));
    }
}
