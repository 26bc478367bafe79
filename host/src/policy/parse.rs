//! Reads policies: HCL, or JSON where the text begins with a brace. What is not understood is refused, never ignored.

use hcl::{Attribute, BlockLabel, Expression, ObjectKey, Structure};
use serde_json::{Map, Value};

use super::rule::{Capabilities, Parameters, PathRule, Permissions};
use crate::{duration, json::has_repeated_name};

/// The longest text, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// The most patterns in one policy.
const MAX_RULES: usize = 10_000;
/// How deep brackets may be nested.
const MAX_DEPTH: usize = 32;
/// What OpenBao and Vault know of a path, and Keyway does not.
const UNSUPPORTED: [&str; 6] = [
    "control_group",
    "expiration",
    "list_scan_response_keys_filter_path",
    "mfa_methods",
    "pagination_limit",
    "subscribe_event_types",
];

/// The rules in a policy's text.
///
/// # Errors
///
/// A line that says what is wrong with it, and where.
pub fn parse(text: &str) -> Result<Vec<PathRule>, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("a policy has at most {MAX_TEXT_BYTES} bytes"));
    }
    if nesting(text) > MAX_DEPTH {
        return Err(format!("brackets are nested at most {MAX_DEPTH} deep"));
    }
    let paths = if text.trim_start().starts_with('{') { paths_of_json(text)? } else { paths_of_hcl(text)? };
    if paths.len() > MAX_RULES {
        return Err(format!("a policy has at most {MAX_RULES} paths"));
    }
    paths
        .into_iter()
        .map(|(path, stanza)| rule(&path, &stanza).map_err(|why| format!("path {path:?}: {why}")))
        .collect()
}

/// How deep brackets are nested at most, wherever they stand.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

type Stanzas = Vec<(String, Map<String, Value>)>;

/// `{"path": {"PATTERN": {…}}}`, or a list of such objects.
fn paths_of_json(text: &str) -> Result<Stanzas, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    if has_repeated_name(text) {
        return Err("a name stands twice in one object".to_owned());
    }
    let Value::Object(document) = document else { return Err("it is no JSON object".to_owned()) };
    let mut stanzas = Stanzas::new();
    for (name, value) in document {
        match name.as_str() {
            "name" => {}
            "path" => add_json_paths(value, &mut stanzas)?,
            _ => return Err(unknown(&name, "path")),
        }
    }
    Ok(stanzas)
}

fn add_json_paths(value: Value, stanzas: &mut Stanzas) -> Result<(), String> {
    match value {
        Value::Array(several) => several.into_iter().try_for_each(|value| add_json_paths(value, stanzas)),
        Value::Object(paths) => {
            for (path, stanza) in paths {
                let Value::Object(stanza) = stanza else { return Err(format!("path {path:?} is no object")) };
                stanzas.push((path, stanza));
            }
            Ok(())
        }
        _ => Err("\"path\" is an object with a pattern for each path".to_owned()),
    }
}

/// `path "PATTERN" { … }`, as often as there are paths.
fn paths_of_hcl(text: &str) -> Result<Stanzas, String> {
    let body = hcl::parse(text).map_err(|error| format!("it is not HCL: {}", place(&error)))?;
    let mut stanzas = Stanzas::new();
    for structure in body {
        match structure {
            Structure::Block(block) if block.identifier() == "path" => {
                let [label] = block.labels() else {
                    return Err("a path has one pattern: path \"secret/data/app\" { … }".to_owned());
                };
                let path = match label {
                    BlockLabel::String(path) => path.clone(),
                    BlockLabel::Identifier(path) => path.to_string(),
                };
                let mut stanza = Map::new();
                for structure in block.body() {
                    let Structure::Attribute(attribute) = structure else {
                        return Err(format!("path {path:?}: a block inside; write `name = {{ … }}`"));
                    };
                    let (name, value) = value_of(attribute).map_err(|why| format!("path {path:?}: {why}"))?;
                    if stanza.insert(name.clone(), value).is_some() {
                        return Err(format!("path {path:?}: {name} stands there twice"));
                    }
                }
                stanzas.push((path, stanza));
            }
            Structure::Attribute(attribute) if attribute.key() == "name" => {}
            Structure::Block(block) => return Err(unknown(block.identifier(), "path")),
            Structure::Attribute(attribute) => return Err(unknown(attribute.key(), "path")),
        }
    }
    Ok(stanzas)
}

/// Where and why, in one line.
fn place(error: &hcl::Error) -> String {
    match error {
        hcl::Error::Parse(error) => {
            let at = error.location();
            format!("line {}, column {}: {}", at.line(), at.column(), error.message())
        }
        error => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn unknown(name: &str, known: &str) -> String {
    format!("{name:?} is not known; write {known}")
}

fn value_of(attribute: &Attribute) -> Result<(String, Value), String> {
    let name = attribute.key().to_owned();
    let value =
        plain(attribute.expr()).ok_or_else(|| format!("{name}: only plain values, no expressions"))?;
    Ok((name, value))
}

/// A value without anything that would have to be worked out.
fn plain(expression: &Expression) -> Option<Value> {
    Some(match expression {
        Expression::Null => Value::Null,
        Expression::Bool(truth) => (*truth).into(),
        Expression::Number(number) => serde_json::to_value(number).ok()?,
        Expression::String(text) => text.clone().into(),
        Expression::Array(items) => Value::Array(items.iter().map(plain).collect::<Option<_>>()?),
        Expression::Object(fields) => {
            let mut object = Map::new();
            for (key, value) in fields {
                let key = match key {
                    ObjectKey::Identifier(name) => name.to_string(),
                    ObjectKey::Expression(Expression::String(name)) => name.clone(),
                    _ => return None,
                };
                if object.insert(key, plain(value)?).is_some() {
                    return None;
                }
            }
            Value::Object(object)
        }
        _ => return None,
    })
}

fn rule(pattern: &str, stanza: &Map<String, Value>) -> Result<PathRule, String> {
    let path = pattern.strip_prefix('/').unwrap_or(pattern);
    if path.is_empty() {
        return Err("the pattern is empty; everything is \"*\"".to_owned());
    }
    if path.contains("{{") {
        return Err("templates ({{…}}) are not supported".to_owned());
    }
    if path.contains("+*") {
        return Err("\"+*\" is forbidden".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err("a pattern has no control characters".to_owned());
    }
    let (path, is_prefix) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
    Ok(PathRule { path: path.to_owned(), is_prefix, permissions: permissions(stanza)? })
}

fn permissions(stanza: &Map<String, Value>) -> Result<Permissions, String> {
    let mut found = Permissions::default();
    for (name, value) in stanza {
        let said = |why: String| format!("{name}: {why}");
        match name.as_str() {
            "capabilities" => {
                for capability in texts(value).map_err(said)? {
                    let known = Capabilities::named(&capability);
                    let known =
                        known.ok_or_else(|| said(format!("there is no capability {capability:?}")))?;
                    found.capabilities = found.capabilities | known;
                }
            }
            "policy" => found.capabilities = found.capabilities | old_style(value).map_err(said)?,
            "allowed_parameters" => found.allowed = parameters(value).map_err(said)?,
            "denied_parameters" => found.denied = parameters(value).map_err(said)?,
            "required_parameters" => {
                found.required = texts(value).map_err(said)?.iter().map(|text| text.to_lowercase()).collect();
            }
            "min_wrapping_ttl" => found.min_wrapping_s = seconds(value).map_err(said)?,
            "max_wrapping_ttl" => found.max_wrapping_s = seconds(value).map_err(said)?,
            "comment" => {}
            _ if UNSUPPORTED.contains(&name.as_str()) => return Err(said("is not supported".to_owned())),
            _ => {
                let known = "capabilities, allowed_parameters, denied_parameters, required_parameters, min_wrapping_ttl or \
                             max_wrapping_ttl";
                return Err(unknown(name, known));
            }
        }
    }
    if found.max_wrapping_s > 0 && found.max_wrapping_s < found.min_wrapping_s {
        return Err("max_wrapping_ttl is less than min_wrapping_ttl".to_owned());
    }
    if found.capabilities.has(Capabilities::DENY) {
        found = Permissions { capabilities: Capabilities::DENY, ..Permissions::default() };
    }
    Ok(found)
}

/// The words from before there were capabilities.
fn old_style(value: &Value) -> Result<Capabilities, String> {
    let read = Capabilities::READ | Capabilities::LIST;
    let write = read | Capabilities::CREATE | Capabilities::UPDATE | Capabilities::DELETE;
    match value.as_str() {
        Some("deny") => Ok(Capabilities::DENY),
        Some("read") => Ok(read),
        Some("write") => Ok(write),
        Some("sudo") => Ok(write | Capabilities::SUDO),
        _ => Err(format!("{value} is none of deny, read, write and sudo")),
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or_else(|| format!("{value} is no list"))?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("{item} is no text")))
        .collect()
}

fn parameters(value: &Value) -> Result<Parameters, String> {
    let fields = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
    let mut parameters = Parameters::new();
    for (name, values) in fields {
        let values = values.as_array().ok_or_else(|| format!("{name}: {values} is no list of values"))?;
        if parameters.insert(name.to_lowercase(), values.clone()).is_some() {
            return Err(format!("{name} stands there twice"));
        }
    }
    Ok(parameters)
}

fn seconds(value: &Value) -> Result<u64, String> {
    let nanoseconds = match value {
        Value::Number(number) => number.as_i64().and_then(|seconds| seconds.checked_mul(1_000_000_000)),
        Value::String(text) => Some(duration::parse(text)?),
        _ => None,
    };
    let seconds = nanoseconds
        .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
        .map(|ns| ns.div_ceil(1_000_000_000));
    seconds.ok_or_else(|| format!("{value} is no duration; write such as \"90s\""))
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
        assert_eq!(rule.permissions.max_wrapping_s, 90);
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
            ("path \"a\" { mfa_methods = [] }", "not supported"),
            ("path \"a\" {\n control_group = {}\n}", "not supported"),
            ("path \"a\" {\n factor {}\n}", "block"),
            ("path \"secret/{{identity.entity.id}}/*\" { capabilities = [\"read\"] }", "templates"),
            ("path \"a/+*\" { capabilities = [\"read\"] }", "+*"),
            ("path \"\" { capabilities = [\"read\"] }", "empty"),
            ("path \"a\" \"b\" { capabilities = [\"read\"] }", "one pattern"),
            ("path \"a\" {\n policy = \"read\"\n policy = \"write\"\n}", "line 3"),
            ("path \"a\" { capabilities = [upper(\"read\")] }", "plain"),
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
        assert!(parse(&"[".repeat(100_000)).unwrap_err().contains("nested"));
        assert!(parse(&" ".repeat(MAX_TEXT_BYTES + 1)).unwrap_err().contains("at most"));
        let many = "path \"a\" {}\n".repeat(MAX_RULES + 1);
        assert!(parse(&many).unwrap_err().contains("at most"));
    }
}
