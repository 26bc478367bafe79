//! Follows the chain through the files of a device, the oldest first.

use std::io::{self, BufRead};

use thiserror::Error;

use super::chain::{Chain, link};

/// What was found in files whose chain holds.
#[derive(Debug, Default)]
pub struct Verified {
    /// Whole lines.
    pub lines: u64,
    /// Pieces of lines, which crashes or full disks have left.
    pub torn: u64,
    /// Lines that the device could not write, and says so.
    pub missed: u64,
    /// Positions where a chain begins again. A server does that if it starts without the file that it wrote
    /// before; whether lines are missing before cannot be known.
    pub beginnings: Vec<LinePosition>,
    /// What the first line says about a line before it, which is not there.
    pub follows: Option<Chain>,
    /// Where the chain ends.
    pub end: Chain,
}

/// A line in a file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePosition {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u64,
}

/// Why the files do not verify.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("read {file}")]
    Read {
        /// Which file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A line does not follow the one before.
    #[error(
        "{}, line {}: {what}",
        place.file, place.line
    )]
    Broken {
        /// The line.
        place: LinePosition,
        /// The problem.
        what: String,
    },
    /// There is no line at all.
    #[error("there is no line of an audit log")]
    Empty,
}

/// Follows the chain.
#[derive(Default)]
pub struct Verifier {
    found: Verified,
    chain: Option<Chain>,
    /// Lines that are none: they hold if the next one follows them.
    torn: Vec<LinePosition>,
}

impl Verifier {
    /// Reads one file after the earlier ones.
    ///
    /// # Errors
    ///
    /// `Read` if the file cannot be read; `Broken` for a line that does not follow from the one before it.
    pub fn read(&mut self, file: &str, mut lines: impl BufRead) -> Result<(), VerifyError> {
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            if read.map_err(|source| VerifyError::Read { file: file.to_owned(), source })? == 0 {
                return Ok(());
            }
            number += 1;
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            self.follow(&line, LinePosition { file: file.to_owned(), line: number })?;
        }
    }

    fn follow(&mut self, line: &[u8], place: LinePosition) -> Result<(), VerifyError> {
        let Some(link) = link(line) else {
            self.chain = self.chain.take().map(|chain| chain.then(line));
            self.torn.push(place);
            return Ok(());
        };
        let begins = link.line == 1 && link.previous.is_empty();
        match &self.chain {
            Some(chain) if chain.is_followed_by(&link) => {}
            _ if begins && self.torn.is_empty() => {
                if self.chain.is_some() {
                    self.found.beginnings.push(place);
                }
            }
            // Nothing says what pieces at the very beginning follow.
            None => {
                let line = link.line.saturating_sub(1);
                self.found.follows = Some(Chain { line, hash: link.previous.clone() }).filter(|_| line > 0);
            }
            Some(chain) => return Err(self.why(chain, &link, place)),
        }
        self.found.torn += self.torn.drain(..).count() as u64;
        self.found.lines += 1;
        self.found.missed += link.missed;
        self.chain = Chain::at(line);
        Ok(())
    }

    fn why(&self, chain: &Chain, link: &super::chain::Link, place: LinePosition) -> VerifyError {
        let what = match link.line.checked_sub(chain.line + 1) {
            _ if !self.torn.is_empty() => {
                let torn = self.torn.first().cloned().unwrap_or(place);
                return broken(torn, "it was changed, or is no line of an audit log");
            }
            Some(0) => "the line before it was changed, or this one was put in its place".to_owned(),
            Some(missing) => format!("{missing} lines are missing before it"),
            None => format!(
                "its number is {}, but the line before is {}: the order is another",
                link.line, chain.line
            ),
        };
        broken(place, &what)
    }

    /// What was found.
    ///
    /// # Errors
    ///
    /// `Empty`.
    pub fn end(mut self) -> Result<Verified, VerifyError> {
        // Pieces at the very end are what a crash leaves.
        self.found.torn += self.torn.len() as u64;
        if self.found.lines == 0 {
            return Err(VerifyError::Empty);
        }
        self.found.end = self.chain.unwrap_or_default();
        Ok(self.found)
    }
}

fn broken(place: LinePosition, what: &str) -> VerifyError {
    VerifyError::Broken { place, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: usize) -> Vec<String> {
        let mut chain = Chain::default();
        let mut log = Vec::new();
        for number in 0..lines {
            let line = chain.next_line(&format!("{{\"n\":{number}}}"), 0);
            chain = chain.then(line.trim_end().as_bytes());
            log.push(line);
        }
        log
    }

    fn verify(lines: &[String]) -> Result<Verified, VerifyError> {
        let mut verifier = Verifier::default();
        verifier.read("a", lines.concat().as_bytes())?;
        let verified = verifier.end()?;
        match verified.beginnings.first() {
            None => Ok(verified),
            Some(place) => Err(broken(place.clone(), "a chain begins again")),
        }
    }

    #[test]
    fn what_was_written_verifies_also_in_several_files() {
        let log = log(10);
        let whole = verify(&log).unwrap();
        assert_eq!((whole.lines, whole.torn, whole.end.line), (10, 0, 10));
        let mut verifier = Verifier::default();
        verifier.read("old", log[..4].concat().as_bytes()).unwrap();
        verifier.read("new", log[4..].concat().as_bytes()).unwrap();
        assert!(verifier.end().unwrap().beginnings.is_empty());
        assert_eq!(verify(&log[4..]).unwrap().follows.unwrap().line, 4);
        assert!(matches!(verify(&[]), Err(VerifyError::Empty)));
    }

    #[test]
    fn changed_removed_inserted_and_moved_lines_are_found() {
        let log = log(10);
        for at in 0..9 {
            let mut changed = log.clone();
            changed[at] = changed[at].replace("\"n\":", "\"m\":");
            assert!(verify(&changed).is_err(), "line {at} was changed");
            let mut removed = log.clone();
            removed.remove(at + 1);
            assert!(at == 8 || verify(&removed).is_err(), "line {} is missing", at + 1);
            let mut moved = log.clone();
            moved.swap(at, at + 1);
            assert!(verify(&moved).is_err(), "lines {at} and {} are swapped", at + 1);
            let mut twice = log.clone();
            twice.insert(at, log[at].clone());
            assert!(verify(&twice).is_err(), "line {at} is a duplicate");
            let mut foreign = log.clone();
            foreign.insert(at + 1, "what is this\n".to_owned());
            assert!(verify(&foreign).is_err(), "something stands behind line {at}");
        }
    }

    #[test]
    fn piece_of_a_line_holds_where_the_next_line_follows_it() {
        let mut log = log(2);
        let chain = Chain::at(log[1].trim_end().as_bytes()).unwrap();
        log.push("{\"half".to_owned());
        let at_the_end = verify(&log).unwrap();
        assert_eq!((at_the_end.lines, at_the_end.torn), (2, 1));
        log.push("\n".to_owned());
        log.push(chain.then(b"{\"half").next_line("{}", 3).replace("{,", "{"));
        let behind = verify(&log).unwrap();
        assert_eq!((behind.lines, behind.torn, behind.missed), (3, 1, 3));
        log[2] = "{\"hal".to_owned();
        assert!(verify(&log).is_err(), "the piece was changed");
    }

    #[test]
    fn several_pieces_hold_also_at_the_beginning() {
        let mut chain = Chain::default().then(b"{\"ti").then(b"{\"t");
        let mut log = vec!["{\"ti\n".to_owned(), "{\"t\n".to_owned()];
        for n in 0..3 {
            let line = chain.next_line(&format!("{{\"n\":{n}}}"), 1);
            chain = chain.then(line.trim_end().as_bytes());
            log.push(line);
        }
        for piece in ["{\"x", "{\"y"] {
            chain = chain.then(piece.as_bytes());
            log.push(format!("{piece}\n"));
        }
        log.push(chain.next_line("{\"n\":9}", 2));
        let whole = verify(&log).unwrap();
        assert_eq!((whole.lines, whole.torn), (4, 4));
        log.remove(5);
        assert!(verify(&log).is_err(), "a piece is missing");
    }
}
