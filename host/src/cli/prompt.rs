//! Asking for secrets: never echoed on a terminal, a line from anything else.

use std::io::{self, BufRead, IsTerminal};

use zeroize::Zeroizing;

use super::failure::Failure;

/// A new secret: asked for twice on a terminal, because a user could mistype.
pub(super) fn new_secret(prompt: &str, again: &str) -> Result<Zeroizing<String>, Failure> {
    let first = secret(prompt)?;
    if io::stdin().is_terminal() && secret(again)? != first {
        return Err(Failure::Usage("the two are not the same; nothing was changed".to_owned()));
    }
    Ok(first)
}

/// A secret from the user at the terminal, or a line of standard input.
pub(super) fn secret(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| Failure::Other(format!("read from standard input: {error}"));
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(failed);
    }
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line)
}
