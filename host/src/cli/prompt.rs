//! Asking for secrets: never echoed on a terminal, a line from anything else.

use std::io::{self, BufRead, IsTerminal};

use zeroize::Zeroizing;

use super::failure::Failure;

/// A secret from whoever sits there, or a line of standard input.
pub(super) fn secret(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| Failure::Other(format!("read from standard input: {error}"));
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(failed);
    }
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line)
}
