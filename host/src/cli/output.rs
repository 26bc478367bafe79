//! Results as tables for people and as JSON for programs.

use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use serde::Serialize;

use super::failure::Failure;

const HEADING: Style = Style::new().bold();

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Prints a result: `table` for people, `json` for programs.
pub(super) fn print(
    format: Format,
    json: &impl Serialize,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => say(&table()),
        Format::Json => {
            let text = serde_json::to_string_pretty(json).expect("results are plain data");
            say(&format!("{text}\n"))
        }
    }
}

/// To standard output, to the letter: values of secrets may hold any character. A reader that has had enough (`| head -1`)
/// is no error.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// As [`print`], of what is shown only once: where standard output takes it not, standard error shows it.
pub(super) fn print_once(
    format: Format,
    json: &impl Serialize,
    table: impl Fn() -> String,
) -> Result<(), Failure> {
    print(format, json, &table).or_else(|failure| {
        let text = match format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(json).expect("results are plain data"),
        };
        io::stderr().write_all(text.as_bytes()).map_err(|_| failure)
    })
}

/// Whether headings are set off: on a terminal, unless NO_COLOR says no.
fn has_colours() -> bool {
    io::stdout().is_terminal() && anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Progress of a long work on a terminal, and nothing elsewhere; on standard error.
pub(super) fn progress(done: &'static str, steps: usize) -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(steps as u64);
    let style = indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} ({eta})");
    bar.with_style(style.expect("the template is valid")).with_message(done)
}

/// Rows in columns that are as wide as their widest cell. The first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
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
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line =
        |(name, value): &(&str, String)| format!("{name:<width$}  {value}").trim_end().to_owned() + "\n";
    pairs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
