//! Where two answers differ.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    names::{Names, is_random},
    request::Reply,
};

/// How far apart the clocks and the remaining times of two servers may be.
const TOLERANCE_S: f64 = 30.0;
/// How far apart the two times of a warning are if the servers differ in parts of a second alone.
const MARGIN_S: f64 = 2.0;
/// What each server says of itself.
const OWN: [&str; 4] = ["version", "build_date", "cluster_name", "server_time_utc"];

/// A difference at one place of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// `status`, `header NAME`, or names of fields with dots between them.
    pub(crate) place: String,
    /// The value of each, `-` if there is none.
    pub(crate) values: [String; 2],
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [bao, keyway] = &self.values;
        write!(formatter, "{} openbao={bao} keyway={keyway}", self.place)
    }
}

/// All differences between the answers of OpenBao and Keyway. If one succeeds and the other fails, that is
/// the only one.
pub(crate) fn compare(replies: [&Reply; 2], names: &mut Names) -> Vec<Difference> {
    let [bao, keyway] = replies;
    let mut walk = Walk { names, found: BTreeSet::new() };
    if let Some(warnings) = only_warns(bao, keyway) {
        walk.add("warnings", ["-".to_owned(), warnings]);
        return walk.found.into_iter().collect();
    }
    if bao.status != keyway.status {
        walk.add("status", replies.map(status));
    }
    if (bao.status < 400) == (keyway.status < 400) {
        for name in bao.headers.keys().chain(keyway.headers.keys()).collect::<BTreeSet<_>>() {
            let values = replies.map(|reply| reply.headers.get(name).map_or("-", String::as_str));
            if values[0] != values[1] {
                walk.add(&format!("header {name}"), values.map(str::to_owned));
            }
        }
        let bodies = [&bao.body, &keyway.body].map(without_marginal_warnings);
        let [bao, keyway] = folded(bodies.each_ref(), &mut walk);
        walk.values("", [Some(&bao), Some(&keyway)]);
    }
    walk.found.into_iter().collect()
}

/// A status, and what the server says of it if it refuses.
fn status(reply: &Reply) -> String {
    let error = reply.body["errors"][0].as_str().unwrap_or_default();
    let error = error.strip_prefix("1 error occurred:\n\t* ").unwrap_or(error).trim();
    match reply.status {
        status @ ..400 => status.to_string(),
        status => format!("{status} ({error})"),
    }
}

/// The warnings of Keyway about fields that it does not know, if there are no others and OpenBao has nothing
/// to say.
fn only_warns(bao: &Reply, keyway: &Reply) -> Option<String> {
    let warnings =
        keyway.body["warnings"].as_array().filter(|_| (bao.status, keyway.status) == (204, 200))?;
    let is_of_fields = |warning: &Value| {
        warning
            .as_str()
            .is_some_and(|warning| warning.starts_with("Endpoint ignored these unrecognized parameters"))
    };
    let says_nothing = ["data", "auth", "wrap_info"].iter().all(|field| keyway.body[field].is_null());
    (says_nothing && warnings.iter().all(is_of_fields)).then(|| Value::from(warnings.clone()).to_string())
}

/// A body without warnings that a time is cut by a part of a second, which one server may see and the other not.
fn without_marginal_warnings(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(warnings) = body.get_mut("warnings").filter(|warnings| warnings.is_array()) {
        let all = warnings.as_array_mut().expect("an array");
        all.retain(|warning| !is_marginal(warning.as_str().unwrap_or_default()));
        if all.is_empty() {
            *warnings = Value::Null;
        }
    }
    body
}

/// Whether a text is `TTL of "768h" exceeded the effective max_ttl of "767h59m59s"; …`.
fn is_marginal(warning: &str) -> bool {
    let durations: Vec<f64> = warning.split('"').filter_map(duration_s).collect();
    warning.contains("exceeded the effective max_ttl")
        && matches!(durations[..], [asked, bound] if (asked - bound).abs() <= MARGIN_S)
}

/// Seconds of a duration in Go's text, such as `1h2m3.5s`.
fn duration_s(text: &str) -> Option<f64> {
    let (mut sum, mut number) = (0.0, String::new());
    for letter in text.chars() {
        let unit = match letter {
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            digit => {
                number.push(digit);
                continue;
            }
        };
        sum += std::mem::take(&mut number).parse::<f64>().ok()? * unit;
    }
    number.is_empty().then_some(sum)
}

#[test]
fn durations_of_warnings_are_read() {
    for (text, seconds) in [("768h", Some(2_764_800.0)), ("1h2m3.5s", Some(3_723.5)), ("of", None)] {
        assert_eq!(duration_s(text), seconds, "{text}");
    }
    assert!(is_marginal(
        r#"TTL of "768h" exceeded the effective max_ttl of "767h59m59s"; TTL value is capped"#
    ));
    assert!(!is_marginal(r#"TTL of "768h" exceeded the effective max_ttl of "2h"; TTL value is capped"#));
}

/// Bodies without duplicates: some answers show their data at the top, in `data`, or at both places.
fn folded(bodies: [&Value; 2], walk: &mut Walk<'_>) -> [Value; 2] {
    let (mut bodies, mut copies) = (bodies.map(Value::clone), [false; 2]);
    for (body, copies) in bodies.iter_mut().zip(&mut copies) {
        let Some(fields) = body.as_object_mut() else { continue };
        let data = fields.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        *copies = !data.is_empty() && data.iter().all(|(key, value)| fields.get(key) == Some(value));
        if *copies {
            fields.retain(|key, _| !data.contains_key(key));
        }
    }
    let enveloped =
        bodies.each_ref().map(|body| body.get("request_id").is_some() && body.get("data").is_some());
    for (server, body) in bodies.iter_mut().enumerate() {
        if enveloped[server] && !enveloped[1 - server] && copies[server] {
            *body = body["data"].clone();
            copies[server] = false;
            let mut values = ["-".to_owned(), "-".to_owned()];
            "too".clone_into(&mut values[server]);
            walk.add("envelope", values);
        }
    }
    if copies[0] != copies[1] {
        walk.add("copy of data at the top", copies.map(|copies| copies.to_string()));
    }
    bodies
}

struct Walk<'n> {
    names: &'n mut Names,
    found: BTreeSet<Difference>,
}

impl Walk<'_> {
    fn add(&mut self, place: &str, values: [String; 2]) {
        let place = if place.is_empty() { "body" } else { place };
        self.found.insert(Difference { place: place.to_owned(), values });
    }

    fn values(&mut self, place: &str, values: [Option<&Value>; 2]) {
        let key = place.rsplit('.').next().unwrap_or_default();
        match values {
            [Some(bao), Some(keyway)] if bao == keyway => {}
            [Some(Value::Object(bao)), Some(Value::Object(keyway))] => self.objects(place, [bao, keyway]),
            // Texts for people differ: there are some, or none. Keyway may say why if OpenBao does not.
            [Some(Value::Array(bao)), Some(Value::Array(keyway))]
                if matches!(place, "errors" | "warnings") =>
            {
                if keyway.is_empty() && !bao.is_empty() {
                    self.add(place, [bao, keyway].map(|texts| Value::from(texts.clone()).to_string()));
                }
            }
            [Some(Value::Array(bao)), Some(Value::Array(keyway))] => self.arrays(place, [bao, keyway]),
            [Some(Value::String(bao)), Some(Value::String(keyway))] => {
                self.strings(place, key, [bao, keyway])
            }
            [Some(Value::Number(bao)), Some(Value::Number(keyway))] if passes_by(key) => {
                let apart = bao.as_f64().unwrap_or_default() - keyway.as_f64().unwrap_or_default();
                if apart.abs() > TOLERANCE_S {
                    self.add(place, [bao.to_string(), keyway.to_string()]);
                }
            }
            // Measured one after the other.
            [Some(Value::Number(bao)), Some(Value::Number(keyway))] if is_measured(key) => {
                let [bao, keyway] = [bao, keyway].map(|number| number.as_f64().unwrap_or_default());
                if (bao - keyway).abs() > 0.2 * bao.abs().max(keyway.abs()) {
                    self.add(place, [bao.to_string(), keyway.to_string()]);
                }
            }
            [None, None] => {}
            values => {
                let texts = [0, 1].map(|server| {
                    values[server]
                        .map_or_else(|| "-".to_owned(), |value| self.named(server, value).to_string())
                });
                if texts[0] != texts[1] {
                    self.add(place, texts);
                }
            }
        }
    }

    fn objects(&mut self, place: &str, objects: [&Map<String, Value>; 2]) {
        // Keys may be accessors.
        let named = [0, 1].map(|server| {
            let fields = objects[server].iter().map(|(key, value)| (self.names.apply(server, key), value));
            fields.collect::<std::collections::BTreeMap<_, _>>()
        });
        for key in named[0].keys().chain(named[1].keys()).collect::<BTreeSet<_>>() {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            self.values(&place, [0, 1].map(|server| named[server].get(key).copied()));
        }
    }

    fn arrays(&mut self, place: &str, arrays: [&Vec<Value>; 2]) {
        let all_random =
            arrays.iter().all(|array| array.iter().all(|item| item.as_str().is_some_and(is_random)));
        if all_random && !arrays[0].is_empty() {
            // Lists of random values come in an arbitrary order.
            let sorted = [0, 1].map(|server| {
                let items = arrays[server].iter().filter_map(Value::as_str);
                let mut names: Vec<_> =
                    items.map(|item| self.names.of(server, item).unwrap_or("<new>")).collect();
                names.sort_unstable();
                names.join(",")
            });
            if sorted[0] != sorted[1] {
                self.add(place, sorted);
            }
        } else if arrays[0].len() == arrays[1].len() {
            for (index, (bao, keyway)) in arrays[0].iter().zip(arrays[1]).enumerate() {
                self.values(&format!("{place}.{index}"), [Some(bao), Some(keyway)]);
            }
        } else {
            let texts =
                [0, 1].map(|server| self.named(server, &Value::from(arrays[server].clone())).to_string());
            self.add(place, texts);
        }
    }

    fn strings(&mut self, place: &str, key: &str, texts: [&str; 2]) {
        let moments = texts.map(|text| text.parse::<Timestamp>());
        if let [Ok(bao), Ok(keyway)] = moments {
            if (bao.as_second() - keyway.as_second()).unsigned_abs() as f64 > TOLERANCE_S {
                self.add(place, texts.map(|text| format!("{text:?}")));
            }
            return;
        }
        let known = [0, 1].map(|server| self.names.of(server, texts[server]).is_some());
        if texts.iter().all(|text| is_random(text)) && known == [false, false] {
            self.names.learn(texts);
            return;
        }
        if OWN.contains(&key) && texts.iter().all(|text| !text.is_empty()) {
            return;
        }
        let named = [0, 1].map(|server| self.names.apply(server, texts[server]));
        if named[0] != named[1] {
            self.add(place, named.map(|text| format!("{text:?}")));
        }
    }

    /// A value with names in place of random values. A random value without a name becomes a placeholder.
    fn named(&self, server: usize, value: &Value) -> Value {
        match value {
            Value::String(text) if self.names.of(server, text).is_none() && is_random(text) => {
                Value::from("<new id>")
            }
            Value::String(text) if text.parse::<Timestamp>().is_ok() && !text.starts_with("0001-") => {
                Value::from("<time>")
            }
            Value::String(text) => Value::from(self.names.apply(server, text)),
            Value::Array(items) => items.iter().map(|item| self.named(server, item)).collect(),
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| (self.names.apply(server, key), self.named(server, value)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }
}

/// Whether a number is how much of the machine is in use.
fn is_measured(key: &str) -> bool {
    ["used", "free", "available", "Used", "Free"].iter().any(|part| key.contains(part))
}

/// Whether a number is a moment, or a time that runs.
fn passes_by(key: &str) -> bool {
    ["ttl", "duration", "time", "expir"].iter().any(|part| key.contains(part))
}
