//! `keyway completions` and `keyway man`: made from the definition of the command line itself.

use std::{fs, path::Path};

use super::failure::Failure;
use keyway_terminal::output::say;

/// Completions for a shell, to standard output.
pub(super) fn completions(mut command: clap::Command, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "keyway", &mut text);
    say(&String::from_utf8_lossy(&text))
}

/// Manual pages, `keyway.1`, `keyway-kv.1`, `keyway-kv-put.1` and so on.
pub(super) fn manual(command: clap::Command, directory: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("write manual pages to", directory, &error);
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), directory).map_err(failed)?;
    let pages = fs::read_dir(directory).map_err(failed)?.count();
    say(&format!("{pages} pages are in {}; read one with `man -l`.\n", directory.display()))?;
    Ok(())
}
