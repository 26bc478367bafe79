//! Errors as people read them.

use std::{error::Error, fmt};

/// An error that knows what to do about it.
pub trait Fix: Error {
    /// What to do or type next, as half a sentence that begins with a verb.
    fn fix(&self) -> String;
}

/// An error with all that caused it, on one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
