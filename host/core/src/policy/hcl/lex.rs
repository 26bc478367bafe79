//! The tokens of HCL 1.

use std::{iter::Peekable, str::Chars};

use serde_json::Number;

use super::{Position, SyntaxError};

/// A token of the text. Blanks and comments are none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name without quotes.
    Word(String),
    /// A text in quotes.
    Text(String),
    /// A text of whole lines.
    Heredoc(String),
    /// A number.
    Number(Number),
    /// One of the signs `=`, `:`, `,`, `{`, `}`, `[` and `]`.
    Sign(char),
    /// The end of the text.
    End,
}

impl Token {
    /// As an error names it.
    pub(super) fn named(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?} without quotes"),
            Self::Text(text) => format!("{text:?}"),
            Self::Heredoc(_) => "a heredoc".to_owned(),
            Self::Number(number) => format!("the number {number}"),
            Self::Sign(sign) => format!("{:?}", sign.to_string()),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

/// Reads one token after the other.
pub(super) struct Lexer<'t> {
    rest: Peekable<Chars<'t>>,
    at: Position,
}

impl<'t> Lexer<'t> {
    /// From the beginning of a text.
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text.chars().peekable(), at: Position { line: 1, column: 1 } }
    }

    /// The next token, and where it begins.
    ///
    /// # Errors
    ///
    /// When no token begins there.
    pub(super) fn token(&mut self) -> Result<(Position, Token), SyntaxError> {
        self.skip_blanks()?;
        let at = self.at;
        let Some(first) = self.next() else { return Ok((at, Token::End)) };
        let token = match first {
            '=' | ':' | ',' | '{' | '}' | '[' | ']' => Token::Sign(first),
            '"' => Token::Text(self.text(at)?),
            '<' => Token::Heredoc(self.heredoc(at)?),
            '-' | '.' | '0'..='9' => Token::Number(self.number(at, first)?),
            first if is_letter(first) => Token::Word(self.word(first)),
            other => return Err(error(at, format!("unexpected character {other:?}"))),
        };
        Ok((at, token))
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(next)
    }

    fn next_if(&mut self, is_wanted: impl Fn(char) -> bool) -> Option<char> {
        if is_wanted(*self.rest.peek()?) { self.next() } else { None }
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let at = self.at;
            match self.rest.peek() {
                Some(' ' | '\t' | '\n' | '\r') => drop(self.next()),
                Some('#') => self.skip_line(),
                Some('/') => {
                    self.next();
                    match self.next() {
                        Some('/') => self.skip_line(),
                        Some('*') => self.skip_comment(at)?,
                        _ => return Err(error(at, "a comment begins with #, // or /*")),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        while self.next_if(|c| c != '\n').is_some() {}
    }

    fn skip_comment(&mut self, at: Position) -> Result<(), SyntaxError> {
        loop {
            match self.next() {
                Some('*') if self.next_if(|c| c == '/').is_some() => return Ok(()),
                Some(_) => {}
                None => return Err(error(at, "the comment is not closed; write */ after it")),
            }
        }
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(next) = self.next_if(|c| is_letter(c) || c.is_numeric() || matches!(c, '-' | '.')) {
            word.push(next);
        }
        word
    }

    /// Up to the quote that closes it. Within `${…}` quotes stand for themselves.
    fn text(&mut self, at: Position) -> Result<String, SyntaxError> {
        let open = || error(at, "the text is not closed; write a quote after it");
        let (mut text, mut braces) = (String::new(), 0_usize);
        loop {
            let escape = self.at;
            match self.next().ok_or_else(open)? {
                '"' if braces == 0 => return Ok(text),
                '\n' if braces == 0 => return Err(open()),
                '\\' if braces == 0 => text.push(self.escaped(escape)?),
                '$' if braces == 0 && self.next_if(|c| c == '{').is_some() => {
                    text.push_str("${");
                    braces = 1;
                }
                other => {
                    match other {
                        '{' if braces > 0 => braces += 1,
                        '}' => braces = braces.saturating_sub(1),
                        _ => {}
                    }
                    text.push(other);
                }
            }
        }
    }

    fn escaped(&mut self, at: Position) -> Result<char, SyntaxError> {
        let wrong = || error(at, "there is no such escape in a text; a backslash is \\\\");
        let first = self.next().ok_or_else(wrong)?;
        Ok(match first {
            '"' | '\\' => first,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'u' => self.coded(16, 4, "").ok_or_else(wrong)?,
            'U' => self.coded(16, 8, "").ok_or_else(wrong)?,
            // These two are bytes, which are characters below 0x80 alone.
            'x' => self.coded(16, 2, "").filter(char::is_ascii).ok_or_else(wrong)?,
            '0'..='7' => self.coded(8, 2, &first.to_string()).filter(char::is_ascii).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        })
    }

    fn coded(&mut self, radix: u32, count: usize, first: &str) -> Option<char> {
        let mut digits = first.to_owned();
        for _ in 0..count {
            digits.push(self.next_if(|c| c.is_digit(radix))?);
        }
        char::from_u32(u32::from_str_radix(&digits, radix).ok()?)
    }

    /// `<<END`, lines, and a line with `END` alone. After `<<-`, lines lose the blanks that stand before that
    /// `END`.
    fn heredoc(&mut self, at: Position) -> Result<String, SyntaxError> {
        if self.next() != Some('<') {
            return Err(error(at, "a heredoc begins with <<"));
        }
        let is_indented = self.next_if(|c| c == '-').is_some();
        let mut anchor = String::new();
        while let Some(next) = self.next_if(|c| is_letter(c) || c.is_numeric()) {
            anchor.push(next);
        }
        self.next_if(|c| c == '\r');
        if anchor.is_empty() || self.next() != Some('\n') {
            return Err(error(at, "after << stands a name, and nothing else on the line"));
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            while let Some(next) = self.next_if(|c| c != '\n') {
                line.push(next);
            }
            if self.next().is_none() {
                return Err(error(
                    at,
                    format!("the heredoc is not closed; write a line with {anchor} alone"),
                ));
            }
            let end = line.trim_end_matches('\r').trim_start();
            if end == anchor {
                let blanks = line.len() - line.trim_start().len();
                let indent = line.get(..blanks).filter(|_| is_indented).unwrap_or_default();
                return Ok(joined(&lines, indent));
            }
            lines.push(line);
        }
    }

    fn number(&mut self, at: Position, first: char) -> Result<Number, SyntaxError> {
        let mut text = String::from(first);
        while let Some(next) = self.next_if(|c| c.is_alphanumeric() || matches!(c, '.' | '_')) {
            text.push(next);
            let is_exponent = matches!(next, 'e' | 'E') && !text.contains(['x', 'X']);
            if is_exponent && let Some(sign) = self.next_if(|c| matches!(c, '-' | '+')) {
                text.push(sign);
            }
        }
        parsed(&text).ok_or_else(|| error(at, format!("{text:?} is no number; a text stands in quotes")))
    }
}

/// The lines, without an indentation that all of them have.
fn joined(lines: &[String], indent: &str) -> String {
    let has_indent = lines.iter().all(|line| line.starts_with(indent));
    let indent = if has_indent { indent } else { "" };
    lines.iter().map(|line| line.strip_prefix(indent).unwrap_or(line).to_owned() + "\n").collect()
}

/// A number in Go's notation: decimal, hexadecimal after `0x`, octal after `0`, or with a fraction or an exponent.
fn parsed(text: &str) -> Option<Number> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    if !digits.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        return None;
    }
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => (16, hexadecimal),
        None if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            (8, digits)
        }
        None => (10, digits),
    };
    let digits = format!("{sign}{digits}");
    let whole = i64::from_str_radix(&digits, radix).map(Number::from);
    let whole = whole.or_else(|_| u64::from_str_radix(&digits, radix).map(Number::from));
    match whole {
        Ok(whole) => Some(whole),
        Err(_) if radix == 10 => {
            let fraction: f64 = digits.parse().ok()?;
            // Requests write a whole number without a point.
            if fraction.fract() == 0.0 && fraction.abs() < 1e15 {
                return Some((fraction as i64).into());
            }
            Number::from_f64(fraction)
        }
        Err(_) => None,
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(super) fn error(at: Position, why: impl Into<String>) -> SyntaxError {
    SyntaxError { at, why: why.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
        let (mut lexer, mut tokens) = (Lexer::new(text), Vec::new());
        loop {
            match lexer.token()?.1 {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn texts_have_gos_escapes_and_keep_templates() {
        for (written, read) in [
            (r#""a\"b\\c\n\r\t""#, "a\"b\\c\n\r\t"),
            (r#""\a\b\f\v""#, "\u{7}\u{8}\u{c}\u{b}"),
            (r#""\u00e9\U0001F600\x41\101""#, "é😀AA"),
            (r#""a/${f("x")}/${a{b}c}""#, r#"a/${f("x")}/${a{b}c}"#),
            (r#""$x %{y} $${z}""#, "$x %{y} $${z}"),
            ("<<END\na\n  b\nEND\n", "a\n  b\n"),
            ("<<-END\n  a\n    b\n  END\n", "a\n  b\n"),
            ("<<-END\na\n  END\r\n", "a\n"),
            ("<<END\nEND\n", ""),
        ] {
            let token = tokens(written).unwrap().remove(0);
            let (Token::Text(text) | Token::Heredoc(text)) = token else { panic!("{written}: {token:?}") };
            assert_eq!(text, read, "{written}");
        }
    }

    #[test]
    fn numbers_are_gos() {
        for (written, read) in [
            ("0", json!(0)),
            ("90", json!(90)),
            ("-3", json!(-3)),
            ("0x1F", json!(31)),
            ("-0x10", json!(-16)),
            ("010", json!(8)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("-1e3", json!(-1000)),
            ("2.0", json!(2)),
            ("2E-1", json!(0.2)),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(
                tokens(written).unwrap(),
                [Token::Number(serde_json::from_value(read).unwrap())],
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_refused_at_its_place() {
        for (text, says) in [
            ("a = 'b'", "line 1, column 5: unexpected character '\\''"),
            ("a\n  = \"b\n\"", "line 2, column 5: the text is not closed"),
            ("\"\\q\"", "line 1, column 2: there is no such escape"),
            ("\"\\u00g0\"", "line 1, column 2: there is no such escape"),
            ("\"\\ud800\"", "line 1, column 2: there is no such escape"),
            ("\"\\xe9\"", "line 1, column 2: there is no such escape"),
            ("a /* b", "line 1, column 3: the comment is not closed"),
            ("/ a", "line 1, column 1: a comment begins with"),
            ("a = 1h", "line 1, column 5: \"1h\" is no number"),
            ("a = 08", "line 1, column 5: \"08\" is no number"),
            ("a = 0x", "line 1, column 5: \"0x\" is no number"),
            ("a = --1", "line 1, column 5: \"-\" is no number"),
            ("a = 1e999", "line 1, column 5: \"1e999\" is no number"),
            ("a = <<\nb", "line 1, column 5: after << stands a name"),
            ("a = <b", "line 1, column 5: a heredoc begins with <<"),
            ("a = <<X\nb\n X", "line 1, column 5: the heredoc is not closed"),
        ] {
            let error = tokens(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{text:?}: {error}");
        }
    }
}
