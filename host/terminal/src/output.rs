//! Results as tables for people and as JSON for programs. A terminal is shown control characters as escapes,
//! so that no value, name or error text can move its cursor or change what stands on it; pipes and files get
//! every byte as it is.

use std::{
    borrow::Cow,
    env,
    io::{self, IsTerminal, Write},
    sync::OnceLock,
};

use anstyle::Style;
use serde::Serialize;

use crate::Failure;

static PROGRAM: OnceLock<&'static str> = OnceLock::new();

const HEADING: Style = Style::new().bold();
/// What a text keeps of its layout on a terminal.
const LAYOUT: &[char] = &['\n', '\t'];

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints a result: `table` for people, `json` for programs.
pub fn print(format: Format, json: &impl Serialize, table: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Table => say(&table()),
        Format::Json => {
            let text = serde_json::to_string_pretty(json).expect("results are plain data");
            say(&format!("{text}\n"))
        }
    }
}

/// What follows a value that is printed alone: a newline on a terminal, and nothing in a pipe or a file,
/// which get the value's bytes.
pub fn alone_end() -> &'static str {
    if io::stdout().is_terminal() { "\n" } else { "" }
}

/// Prints a value and nothing else.
pub fn alone(format: Format, json: &impl Serialize, text: &str) -> Result<(), Failure> {
    match format {
        Format::Table => say(&format!("{text}{}", alone_end())),
        Format::Json => say(&(serde_json::to_string(json).expect("results are plain data") + "\n")),
    }
}

/// Writes a text to standard output. A reader that has had enough (`| head -1`) is no error.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    let text = if out.is_terminal() { for_terminal(text) } else { Cow::Borrowed(text) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// As [`print()`], for a secret that is shown only once: if standard output fails, standard error shows it.
pub fn print_once(format: Format, json: &impl Serialize, table: impl Fn() -> String) -> Result<(), Failure> {
    print(format, json, &table).or_else(|failure| {
        let text = match format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(json).expect("results are plain data"),
        };
        let mut err = io::stderr();
        let text = if err.is_terminal() { for_terminal(&text) } else { Cow::Borrowed(text.as_str()) };
        err.write_all(text.as_bytes()).map_err(|_| failure)
    })
}

/// Writes a line for people to standard error.
pub fn warn(text: &str) {
    let mut err = io::stderr();
    let text = if err.is_terminal() { escape(text, LAYOUT) } else { Cow::Borrowed(text) };
    // If standard error takes nothing, there is no place left to say so.
    let _unheard = writeln!(err, "{}: {text}", PROGRAM.get().unwrap_or(&"keyway"));
}

/// Names this program in what it writes to standard error; the default is `keyway`.
pub fn set_program(name: &'static str) {
    // The first call counts.
    let _set = PROGRAM.set(name);
}

/// A text that stands in one line among others on standard output: on a terminal its newlines are shown, too,
/// so that a value cannot look like further lines.
pub fn cell(text: &str) -> String {
    if io::stdout().is_terminal() { escape(text, &[]).into_owned() } else { text.to_owned() }
}

/// A whole output. Of control sequences it keeps the one that sets a heading off, around a whole line.
fn for_terminal(text: &str) -> Cow<'_, str> {
    let (on, off) = (HEADING.render().to_string(), HEADING.render_reset().to_string());
    let line = |line: &str| {
        let heading = line.strip_prefix(on.as_str()).and_then(|line| line.strip_suffix(off.as_str()));
        match heading {
            Some(heading) => format!("{on}{}{off}", escape(heading, LAYOUT)),
            None => escape(line, LAYOUT).into_owned(),
        }
    };
    Cow::Owned(text.split('\n').map(line).collect::<Vec<_>>().join("\n"))
}

/// Writes what a terminal obeys or hides, other than `kept`, as JSON does: `\n`, `\u001b`. In JSON it stays
/// the same value.
fn escape<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    // Besides control characters: those that change the direction of the text around them, and two more ends
    // of lines.
    let is_obeyed = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (c.is_control() || turns) && !kept.contains(&c)
    };
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_obeyed(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(escaped)
}

/// Whether headings are set off: on a terminal, unless NO_COLOR or a client's own variable says no.
fn has_colours() -> bool {
    let is_off = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal()
        && !["KEYWAY_CLI_NO_COLOR", "BAO_CLI_NO_COLOR", "VAULT_CLI_NO_COLOR"].into_iter().any(is_off)
        && anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Progress of a long work on a terminal, and nothing elsewhere; on standard error.
pub fn progress(done: &'static str, steps: usize) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(steps as u64);
    let style = indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} ({eta})");
    bar.with_style(style.expect("the template is valid")).with_message(done)
}

/// Rows in columns that are as wide as their widest cell. The first row is the heading.
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let line = cells.join("  ");
        if index == 0 && has_colours() {
            text.push_str(&format!("{HEADING}{}{HEADING:#}\n", line.trim_end()));
        } else {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// Names and values, one pair a line.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(name, value)| (cell(name), cell(value))).collect();
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line =
        |(name, value): &(String, String)| format!("{name:<width$}  {value}").trim_end().to_owned() + "\n";
    pairs.iter().map(line).collect()
}

/// A value as people read it.
pub fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        value => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_headings_are_set_off() {
        let evil = "\u{1b}[2J\u{7f}\u{9b}1m\u{202e}é\u{1f511}\r\n\t";
        assert_eq!(escape(evil, &[]), "\\u001b[2J\\u007f\\u009b1m\\u202eé\u{1f511}\\r\\n\\t");
        assert_eq!(escape(evil, LAYOUT), "\\u001b[2J\\u007f\\u009b1m\\u202eé\u{1f511}\\r\n\t");
        assert!(matches!(escape("plain é\\n", &[]), Cow::Borrowed(_)));
        let text = format!("{HEADING}A\u{7}{HEADING:#}\n{HEADING}not whole\n");
        assert_eq!(for_terminal(&text), format!("{HEADING}A\\u0007{HEADING:#}\n\\u001b[1mnot whole\n"));
        let json = serde_json::json!({ evil: evil });
        let shown = for_terminal(&json.to_string()).into_owned();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
        assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}'));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_blanks_at_the_end() {
        let rows = [
            vec!["Key".to_owned(), "Value".to_owned()],
            vec!["ünï".to_owned(), "x".to_owned()],
            vec!["longer".to_owned(), "y".to_owned()],
        ];
        let plain = anstream::adapter::strip_str(&table(&rows)).to_string();
        assert_eq!(plain, "Key     Value\nünï     x\nlonger  y\n");
    }
}
