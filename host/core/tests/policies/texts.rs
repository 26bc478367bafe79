//! Texts of policies, and whether OpenBao and Keyway accept them, in a table; and policies in all the ways in
//! which HCL 1 lets an author write them.

use keyway_core::policy::{PathRule, parse::parse};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{model::Stanza, policies};

/// The table: each text was written to OpenBao 2.7.2, as `sys/policies/acl/t`.
const TEXTS: &str = include_str!("texts.json");

#[derive(Deserialize)]
struct Row {
    text: String,
    /// Whether OpenBao accepts it.
    openbao: bool,
    /// Whether Keyway accepts it.
    keyway: bool,
    /// Why they differ, if they do.
    why: Option<String>,
}

#[test]
fn texts_are_accepted_and_refused_as_the_table_says() {
    let rows: Vec<Row> = serde_json::from_str(TEXTS).unwrap();
    assert!(rows.len() > 190);
    for row in rows {
        assert_eq!(parse(&row.text).is_ok(), row.keyway, "{}: {:?}", row.text, parse(&row.text).err());
        assert_eq!(row.why.is_some(), row.openbao != row.keyway, "{}", row.text);
    }
}

#[test]
fn same_policy_in_many_ways_is_the_same() {
    let plain = parse(
        "path \"a\" {\n  capabilities = [\"read\", \"list\"]\n  allowed_parameters = {\n    x = [1]\n    y = []\n  }\n}\n",
    );
    for text in [
        "path \"a\"\n{\n  capabilities = [\"read\", \"list\"]\n  allowed_parameters = { x = [1], y = [] }\n}",
        "path \"a\" { capabilities = [\"read\", \"list\"], allowed_parameters { x = [1] y = [] } },",
        "\"path\" \"a\" { \"capabilities\" = [\"read\", \"list\",] \"allowed_parameters\" = { \"x\" = [1,], \"y\" = [], } }",
        "path a { capabilities = [\"read\", \"list\"] allowed_parameters { x = [0x1] } allowed_parameters { y = [] } }",
        "path = { \"a\" = { capabilities = [\"read\", \"list\"], allowed_parameters = { x: [1], y: [] } } }",
        "path { a { capabilities = [\"read\", \"list\"] allowed_parameters { x = [1] y = [] } } }",
        "\u{feff}# a\npath /* b */ \"a\" { // c\n capabilities = [ # d\n \"read\" /* e */, \"list\" ]\n allowed_parameters { x = [1] y = [] } }",
        "path \"a\" {\r\n  capabilities = [\"read\", \"list\"]\r\n  comment = <<-END\r\n  }\r\n  END\r\n  allowed_parameters { x = [1] y = [] }\r\n}\r\n",
        "name = \"n\" path \"\\u0061\" { policy = \"read\" allowed_parameters { x = [1] y = [] } }",
        "{\"path\": {\"a\": {\"capabilities\": [\"read\", \"list\"], \"allowed_parameters\": {\"x\": [1], \"y\": []}}}}",
    ] {
        assert_eq!(parse(text), plain, "{text}");
    }
}

/// How a text is written, decided at each place by the next number.
struct Style<'s>(std::iter::Cycle<std::slice::Iter<'s, u8>>);

impl Style<'_> {
    fn pick(&mut self, ways: &[&'static str]) -> &'static str {
        ways[usize::from(*self.0.next().unwrap()) % ways.len()]
    }

    /// Blanks, or a comment.
    fn gap(&mut self) -> &'static str {
        self.pick(&[" ", "\n", "\t", " # }\n", " // [\n", " /* \" */ ", "\r\n", "  "])
    }

    fn key(&mut self, key: &str) -> String {
        let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_word && self.pick(&["word", "text"]) == "word" {
            key.to_owned()
        } else {
            json!(key).to_string()
        }
    }

    fn list(&mut self, items: &[String]) -> String {
        let mut list = "[".to_owned();
        for (index, item) in items.iter().enumerate() {
            list += self.gap();
            list += item;
            list += if index + 1 < items.len() { "," } else { self.pick(&["", ",", ","]) };
        }
        list + self.gap() + "]"
    }

    /// `key = value`, or the value of an object after its key alone.
    fn field(&mut self, key: &str, value: &Value) -> String {
        let key = self.key(key);
        let (equals, value) = match value {
            Value::Object(fields) => {
                let mut object = "{".to_owned();
                for (key, value) in fields {
                    object += self.gap();
                    object += &self.field(key, value);
                }
                (self.pick(&["", "="]), object + self.gap() + "}")
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                ("=", self.list(&items))
            }
            plain => ("=", plain.to_string()),
        };
        let comma = self.pick(&["", "", ","]);
        let gaps = (self.gap(), self.gap());
        format!("{key}{}{equals}{}{value}{comma}", gaps.0, gaps.1)
    }
}

fn hcl(stanzas: &[Stanza], style: &[u8]) -> String {
    let mut style = Style(style.iter().cycle());
    let mut text = style.pick(&["", "\u{feff}", "# first\n"]).to_owned();
    for stanza in stanzas {
        let (pattern, fields) = stanza.json();
        let pattern = json!(pattern);
        let gaps = (style.gap(), style.gap(), style.gap());
        text += &format!("{}{}{}{pattern}{}{{", gaps.0, style.key("path"), gaps.1, gaps.2);
        for (key, value) in fields.as_object().unwrap() {
            text += style.gap();
            text += &style.field(key, value);
        }
        text += style.gap();
        text += style.pick(&["}", "},", "}\n"]);
    }
    text
}

fn rules(stanzas: &[Stanza]) -> Result<Vec<PathRule>, String> {
    let paths: Vec<Value> =
        stanzas.iter().map(|stanza| Value::Object(Map::from_iter([stanza.json()]))).collect();
    parse(&json!({ "path": paths }).to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hcl_in_any_style_says_what_the_json_says(
        policies in policies(),
        style in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        for stanzas in &policies {
            let text = hcl(stanzas, &style);
            prop_assert_eq!(parse(&text), rules(stanzas), "{}", text);
        }
    }

    #[test]
    fn damaged_hcl_is_never_a_panic(
        policies in policies(),
        style in prop::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(),
        length in 0_usize..9,
        other in "[\\PC\n]{0,5}",
    ) {
        let chars: Vec<char> = hcl(&policies[0], &style).chars().collect();
        let at = at.index(chars.len() + 1);
        let before: String = chars.iter().take(at).collect();
        let after: String = chars.iter().skip(at + length).collect();
        let _understood_or_not = parse(&format!("{before}{other}{after}"));
    }

    #[test]
    fn any_text_is_never_a_panic(text in "[ -~\n]{0,200}", tokens in "([{}\\[\\],=:#<\"\\\\\n ]|path|a|<<A|/\\*|\\*/|0x|-|\\$\\{){0,60}") {
        let _understood_or_not = parse(&text);
        let _understood_or_not = parse(&tokens);
        let _understood_or_not = parse(&format!("path \"a\" {{ {text} }}"));
        let _understood_or_not = parse(&format!("path \"a\" {{ {tokens} }}"));
        let _understood_or_not = parse(&format!("{{\"path\": {text}}}"));
    }
}
