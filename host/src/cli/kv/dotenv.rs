//! Reads `.env` files.
//!
//! Libraries for such files expand `$NAME` from the environment, which would silently change a password that
//! holds a dollar sign. This reader never expands anything. It follows the conventions that the dotenv tools
//! share:
//!
//! - `NAME=value`, with `export` before it or not, blanks around the name and the equals sign; blank lines,
//!   and lines that begin with `#`, are skipped; a byte order mark at the beginning is, too;
//! - an unquoted value ends at the line's end or at a `#` after a blank, and loses the blanks around it;
//!   backslashes stand for themselves;
//! - `'single quotes'` keep everything, newlines too;
//! - `"double quotes"` keep newlines and know `\n`, `\r`, `\t`, `\"`, `\\`, `\$` and a backslash before a
//!   newline, which joins the lines; other backslashes stand for themselves;
//! - after closing quotes there may be blanks and a comment, nothing else; a name may stand in the file once.

use thiserror::Error;

/// The problem and its line. The text holds no values.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum DotenvError {
    #[error(
        "line {line}: it does not begin with the name of a variable; values of several lines need quotes"
    )]
    Name { line: usize },
    #[error("line {line}: there is no = after the first word; values of several lines need quotes")]
    NoEquals { line: usize },
    #[error("line {line}: the quotes of {name:?} are not closed")]
    Open { line: usize, name: String },
    #[error("line {line}: there is something after the closing quotes of {name:?}")]
    Trailing { line: usize, name: String },
    #[error("line {line}: {name:?} is a duplicate")]
    Twice { line: usize, name: String },
}

/// The variables in the order in which they stand.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    let mut cursor = Cursor { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut variables: Vec<(String, String)> = Vec::new();
    while let Some((line, name, value)) = cursor.variable()? {
        if variables.iter().any(|(known, _)| *known == name) {
            return Err(DotenvError::Twice { line, name });
        }
        variables.push((name, value));
    }
    Ok(variables)
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl Cursor<'_> {
    /// The next variable with the line that it begins on.
    fn variable(&mut self) -> Result<Option<(usize, String, String)>, DotenvError> {
        loop {
            self.skip_blanks();
            match self.rest.chars().next() {
                None => return Ok(None),
                Some('#' | '\n') => self.skip_line(),
                Some(_) => break,
            }
        }
        let line = self.line;
        let mut name = self.name()?;
        if name == "export" && !self.rest.starts_with('=') {
            name = self.name()?;
        }
        let Some(rest) = self.rest.strip_prefix('=') else {
            return Err(DotenvError::NoEquals { line });
        };
        self.rest = rest;
        self.skip_blanks();
        let value = match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote, &name)?,
            _ => self.unquoted(),
        };
        Ok(Some((line, name, value)))
    }

    fn name(&mut self) -> Result<String, DotenvError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(DotenvError::Name { line: self.line });
        }
        self.rest = rest;
        self.skip_blanks();
        Ok(name.to_owned())
    }

    fn unquoted(&mut self) -> String {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (line, _) = self.rest.split_at(end);
        let mut before = ' ';
        let comment = line.char_indices().find(|(_, c)| {
            let begins = *c == '#' && before.is_whitespace();
            before = *c;
            begins
        });
        let value = comment.map_or(line, |(at, _)| line.split_at(at).0).trim().to_owned();
        self.skip_line();
        value
    }

    fn quoted(&mut self, quote: char, name: &str) -> Result<String, DotenvError> {
        let opened = self.line;
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1).peekable();
        let mut lines = 0;
        let closed = loop {
            let Some((at, character)) = characters.next() else { break None };
            lines += usize::from(character == '\n');
            if character == quote {
                break Some(at + quote.len_utf8());
            }
            if character != '\\' || quote == '\'' {
                value.push(character);
                continue;
            }
            match characters.peek().map(|(_, escaped)| *escaped) {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(escaped @ ('"' | '\\' | '$')) => value.push(escaped),
                Some('\n') => lines += 1,
                _ => {
                    value.push('\\');
                    continue;
                }
            }
            characters.next();
        };
        let Some(end) = closed else { return Err(DotenvError::Open { line: opened, name: name.to_owned() }) };
        self.rest = self.rest.split_at(end).1;
        self.line += lines;
        self.skip_blanks();
        if !self.rest.is_empty() && !self.rest.starts_with(['#', '\n']) {
            return Err(DotenvError::Trailing { line: self.line, name: name.to_owned() });
        }
        self.skip_line();
        Ok(value)
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
    }

    fn skip_line(&mut self) {
        match self.rest.split_once('\n') {
            Some((_, rest)) => {
                self.rest = rest;
                self.line += 1;
            }
            None => self.rest = "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let mut variables = parse(text).unwrap();
        assert_eq!(variables.len(), 1, "{text:?}");
        variables.remove(0).1
    }

    #[test]
    fn comments_quotes_newlines_and_dollars() {
        for (text, value) in [
            ("A=plain", "plain"),
            ("A=", ""),
            ("A=  spaced out  # comment", "spaced out"),
            ("A=has#hash", "has#hash"),
            ("A=#comment", ""),
            ("export A = x", "x"),
            ("export=x", "x"),
            ("A='single # $HOME \\n'  # comment", "single # $HOME \\n"),
            ("A=\"two\\nlines \\\"quoted\\\" \\\\ \\$x $y \\d\"", "two\nlines \"quoted\" \\ $x $y \\d"),
            ("A=\"one\ntwo # not a comment\nthree\"", "one\ntwo # not a comment\nthree"),
            ("A='one\ntwo'\n# end", "one\ntwo"),
            ("A=\"joined \\\nline\"", "joined line"),
            ("A=pa$$word$HOME${HOME}", "pa$$word$HOME${HOME}"),
            ("A=C:\\new", "C:\\new"),
            ("A=grüße 🔑 日本", "grüße 🔑 日本"),
            ("\u{feff}A=x\r\n", "x"),
            ("A=a=b=c", "a=b=c"),
            ("A=\"\"", ""),
        ] {
            assert_eq!(one(text), value, "{text:?}");
        }
    }

    #[test]
    fn order_is_kept_and_line_numbers_are_right() {
        let text = "# head\n\nB=1\nA='x\ny'\n\nC=3\n";
        let names: Vec<String> = parse(text).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["B", "A", "C"]);
        assert_eq!(parse("A='x\ny'\nB\n"), Err(DotenvError::NoEquals { line: 3 }));
        assert_eq!(parse("A=1\nB='x\n"), Err(DotenvError::Open { line: 2, name: "B".into() }));
        assert_eq!(parse("A='x' y"), Err(DotenvError::Trailing { line: 1, name: "A".into() }));
        assert_eq!(parse("A=1\nA=2"), Err(DotenvError::Twice { line: 2, name: "A".into() }));
        assert_eq!(parse("=1"), Err(DotenvError::Name { line: 1 }));
        assert_eq!(parse("1A=1"), Err(DotenvError::Name { line: 1 }));
    }
}
