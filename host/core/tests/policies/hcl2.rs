//! Earlier versions of Keyway read policies as HCL 2, and stored the texts. What they accepted still reads,
//! and says the same.

use hcl::{BlockLabel, Expression, ObjectKey, Structure};
use keyway_core::policy::{PathRule, parse::parse};
use proptest::{prelude::*, strategy::ValueTree};
use serde_json::{Map, Value, json};

/// The rules that an earlier version made of a text; none if it refused it.
fn earlier(text: &str) -> Option<Vec<PathRule>> {
    let mut paths = Vec::new();
    for structure in hcl::parse(text).ok()? {
        match structure {
            Structure::Block(block) if block.identifier() == "path" => {
                let [label] = block.labels() else { return None };
                let pattern = match label {
                    BlockLabel::String(pattern) => pattern.clone(),
                    BlockLabel::Identifier(pattern) => pattern.to_string(),
                };
                let mut stanza = Map::new();
                for structure in block.body() {
                    let Structure::Attribute(attribute) = structure else { return None };
                    if stanza.insert(attribute.key().to_owned(), plain(attribute.expr())?).is_some() {
                        return None;
                    }
                }
                paths.push(json!({ pattern: stanza }));
            }
            // An expression as the name, which has no meaning, was accepted and no longer is.
            Structure::Attribute(attribute) if attribute.key() == "name" => drop(plain(attribute.expr())?),
            _ => return None,
        }
    }
    parse(&json!({ "path": paths }).to_string()).ok()
}

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

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        r#""read""#,
        r#""list""#,
        r#""a b""#,
        r#""\u00e9\n""#,
        r#""{""#,
        r#""x*""#,
        r#""a/+/b*""#,
        r#""\"\\""#,
        r##""# a""##,
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        4 => text(),
        1 => prop::sample::select(vec!["1", "0", "2.5", "1e3", "90", "true", "false", "null"]).prop_map(str::to_owned),
    ];
    let gap = prop::sample::select(vec!["", " ", "\n", " # c ]\n", " /* d */ ", "\t"]);
    let list = (prop::collection::vec(plain.clone(), 0..4), gap.clone(), any::<bool>()).prop_map(
        |(items, gap, comma)| {
            let comma = if comma && !items.is_empty() { "," } else { "" };
            format!("[{gap}{}{comma}{gap}]", items.join(&format!(",{gap}")))
        },
    );
    let key =
        prop_oneof![text(), prop::sample::select(vec!["a", "b-c", "true", "é"]).prop_map(str::to_owned)];
    let field = (
        key,
        prop::sample::select(vec![" = ", ":", "="]),
        list.clone(),
        prop::sample::select(vec![",", "\n", ",\n", "# e\n"]),
    )
        .prop_map(|(key, equals, value, end)| format!("{key}{equals}{value}{end}"));
    let object = prop::collection::vec(field, 0..3).prop_map(|fields| format!("{{\n{}}}", fields.concat()));
    prop_oneof![3 => plain, 5 => list, 3 => object]
}

fn policy() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "capabilities",
        "capabilities",
        "capabilities",
        "allowed_parameters",
        "allowed_parameters",
        "denied_parameters",
        "required_parameters",
        "min_wrapping_ttl",
        "policy",
        "comment",
    ]);
    let field = (
        name,
        prop::sample::select(vec![" = ", "=", " /* f */ = "]),
        value(),
        prop::sample::select(vec!["\n", " # g }\n", "\n\n", "\r\n"]),
    )
        .prop_map(|(name, equals, value, end)| format!("  {name}{equals}{value}{end}"));
    let label = prop_oneof![text(), prop::sample::select(vec!["secret", "a-b"]).prop_map(str::to_owned)];
    let block = (label, prop::collection::vec(field, 0..3))
        .prop_map(|(label, fields)| format!("path {label} {{\n{}}}\n", fields.concat()));
    let name = prop::sample::select(vec!["", "name = \"n\"\n", "// h\n", "/* i\n */"]);
    (name, prop::collection::vec(block, 0..3)).prop_map(|(name, blocks)| format!("{name}{}", blocks.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn policies_of_earlier_versions_say_the_same(
        text in policy(),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..3,
        other in prop_oneof![5 => Just(String::new()), 2 => "[a{}\\[\\]\",=:#\n -]{0,3}"],
    ) {
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len() + 1);
        let cut = if other.is_empty() { 0 } else { cut };
        let text = chars.iter().take(at).collect::<String>() + &other + &chars.iter().skip(at + cut).collect::<String>();
        if let Some(rules) = earlier(&text) {
            match parse(&text) {
                // HCL 1 has no line breaks in quotes, and numbers with a leading zero are octal.
                Err(why) if why.contains("the text is not closed") => {}
                now => prop_assert_eq!(now, Ok(rules), "{}", text),
            }
        }
    }
}

#[test]
fn most_generated_texts_are_accepted_by_both() {
    // Else the property above would hold for nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let texts = (0..500).map(|_| policy().new_tree(&mut runner).unwrap().current());
    let accepted = texts.filter(|text| earlier(text).is_some_and(|rules| !rules.is_empty())).count();
    assert!(accepted > 50, "{accepted}");
}
