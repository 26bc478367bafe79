//! Words that make a reader read a sentence twice, by the glossary's rules. A ratchet: each may only become rarer.

use std::fs;

use anyhow::{Context, Result};

use crate::process::root;

/// A word, and how often Rust files and documents have it at most.
const RIDDLES: [(&str, usize, usize); 12] = [
    ("whoever", 0, 0),
    ("nobody", 0, 0),
    ("anew", 2, 1),
    ("to the letter", 0, 0),
    ("by turns", 0, 0),
    ("so many", 0, 0),
    ("whomever", 0, 0),
    ("behind", 94, 0),
    ("beside", 65, 2),
    ("of its own", 2, 0),
    ("somebody", 3, 0),
    ("everybody", 4, 0),
];

/// Adds a problem for each word that has become more frequent, and for each bound that can be lower.
pub(super) fn check(files: &[String], problems: &mut Vec<String>) -> Result<()> {
    let mut texts = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".rs") || file.ends_with(".md")) {
        // The glossary and this list name the words.
        if file.starts_with("ci/xtask/src/tidy") || file == "docs/glossary.md" {
            continue;
        }
        let text = fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))?;
        texts.push((file.ends_with(".rs"), text.to_lowercase()));
    }
    for (word, in_code, in_documents) in RIDDLES {
        let count = |is_code| -> usize {
            texts.iter().filter(|(code, _)| *code == is_code).map(|(_, text)| occurrences(text, word)).sum()
        };
        for (place, found, most) in
            [("Rust files", count(true), in_code), ("documents", count(false), in_documents)]
        {
            if found > most {
                problems.push(format!(
                    "{found} times {word:?} in {place}, and {most} is the most: say who does what (docs/glossary.md)"
                ));
            } else if found < most {
                problems
                    .push(format!("{word:?} in {place}: {found} now; lower the bound in tidy/language.rs"));
            }
        }
    }
    Ok(())
}

/// How often a word is in a text, as a word.
fn occurrences(text: &str, word: &str) -> usize {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .filter(|(at, _)| {
            let before = text.get(..*at).and_then(|before| before.chars().next_back());
            let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
            !is_letter(before) && !is_letter(after)
        })
        .count()
}
