//! `keyway plugin new`: the template of `cargo generate`, embedded in this program.

mod template;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use heck::{ToKebabCase as _, ToSnakeCase as _};
use keyway_loader::discover::is_plugin_name;
use keyway_terminal::output::{Format, print};
use serde_json::json;

use self::template::Choices;
use crate::cli::failure::Failure;

/// Names of crates that a project depends on, after `keyway-`.
const TAKEN: [&str; 4] = ["abi", "conformance", "loader", "sdk"];

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The plugin's name. It becomes lower-case letters, digits and dashes: `My-Store2` is `my-store2`.
    name: String,
    /// The directory of the project; NAME in the current directory, unless this is set.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What keeps the records in the example to start from.
    #[arg(long, value_enum, default_value_t = Store::Map)]
    store: Store,
    /// Plain methods, which the SDK runs on threads: for files, embedded databases, synchronous clients.
    #[arg(long, conflicts_with = "async")]
    blocking: bool,
    /// Methods that answer at once or by a future: for memory and asynchronous clients.
    #[arg(long)]
    r#async: bool,
    /// A checkout of Keyway to take its crates from, instead of crates.io.
    #[arg(long, value_name = "CHECKOUT")]
    keyway: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    /// A map in memory.
    Map,
    /// Memory, with a log in a file.
    Log,
    /// An SQLite database.
    Sql,
    /// A server on the network.
    Network,
}

/// How methods are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    Blocking,
    Async,
}

pub(super) fn new(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let name = plugin_name(&arguments.name)?;
    let calls = calls(arguments)?;
    let directory = arguments.dir.clone().unwrap_or_else(|| PathBuf::from(&name));
    let choices = Choices {
        crate_name: name.to_snake_case(),
        store: match arguments.store {
            Store::Map => "map",
            Store::Log => "log",
            Store::Sql => "sql",
            Store::Network => "network",
        },
        calls: match calls {
            Calls::Blocking => "blocking",
            Calls::Async => "async",
        },
        keyway: arguments.keyway.as_deref().map(checkout).transpose()?.unwrap_or_default(),
    };
    let files = template::render(&choices)
        .map_err(|error| Failure::Other(format!("the template cannot be rendered: {error:#}")))?;
    write(&directory, &files)?;
    let library = format!("target/debug/{}", keyway_loader::discover::file_name(&name));
    let json = json!({ "name": name, "directory": directory, "files": files.len(), "library": library });
    print(format, &json, || {
        format!(
            "The project of {name} is in {0}. It is a backend that works: make it yours.\n\n\
             $ cd {0}\n\
             $ cargo build\n\
             $ keyway plugin conform {library}\n",
            directory.display()
        )
    })?;
    Ok(())
}

/// The name as `cargo generate` makes it.
fn plugin_name(text: &str) -> Result<String, Failure> {
    let name = text.to_kebab_case();
    let is_plain = text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'));
    if TAKEN.contains(&name.as_str()) {
        return Err(Failure::Usage(format!(
            "{text:?} cannot be a plugin's name: keyway-{name} is a crate that the project needs"
        )));
    }
    if is_plain && is_plugin_name(&name) && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(name);
    }
    Err(Failure::Usage(format!(
        "{text:?} cannot be a plugin's name: use letters, digits and dashes, and begin with a letter"
    )))
}

fn calls(arguments: &Arguments) -> Result<Calls, Failure> {
    match (arguments.store, arguments.blocking, arguments.r#async) {
        (Store::Sql, _, true) => Err(Failure::Usage(
            "--async: the store sql blocks; leave the option out, or use --store log for reads that answer at once"
                .to_owned(),
        )),
        (Store::Network, true, _) => Err(Failure::Usage(
            "--blocking: the store network has an asynchronous client; leave the option out, or use --store log"
                .to_owned(),
        )),
        (Store::Network, ..) | (_, _, true) => Ok(Calls::Async),
        _ => Ok(Calls::Blocking),
    }
}

/// The absolute path of a checkout, as a manifest has it.
fn checkout(path: &Path) -> Result<String, Failure> {
    let refused = |why: &str| Failure::Usage(format!("--keyway {}: {why}", path.display()));
    let absolute = std::path::absolute(path).map_err(|error| refused(&error.to_string()))?;
    if !absolute.join("abi/sdk/Cargo.toml").is_file() {
        return Err(refused("this is not a checkout of Keyway: it has no abi/sdk/Cargo.toml"));
    }
    let text = absolute.to_str().ok_or_else(|| refused("the path is not Unicode"))?;
    if text.contains(['"', '\n']) {
        return Err(refused("the path has a character that a manifest cannot have"));
    }
    Ok(text.replace('\\', "/"))
}

/// Writes the project into a directory that is new or empty: all of it, or nothing.
fn write(directory: &Path, files: &[(&str, String)]) -> Result<(), Failure> {
    let failed = |doing: &str, path: &Path, error: &dyn std::fmt::Display| {
        Failure::Other(format!("{doing} {}: {error}", path.display()))
    };
    let is_there = match fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let message =
                    format!("{} is not empty; name another directory with --dir", directory.display());
                return Err(Failure::Usage(message));
            }
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed("read", directory, &error)),
    };
    fs::create_dir_all(directory).map_err(|error| failed("make", directory, &error))?;
    let written = files.iter().try_for_each(|(name, text)| {
        let path = directory.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&path, text)
    });
    written.map_err(|error| {
        remove_all(directory, files, is_there);
        failed("write", directory, &error)
    })
}

/// Removes what [`write`] has made, as far as that is possible: its error is the one that is told.
fn remove_all(directory: &Path, files: &[(&str, String)], is_kept: bool) {
    if !is_kept {
        let _left = fs::remove_dir_all(directory);
        return;
    }
    for (name, _) in files {
        let _left = fs::remove_file(directory.join(name));
    }
    for (name, _) in files {
        // Of a directory, only if it is empty by now.
        for parent in Path::new(name).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            let _left = fs::remove_dir(directory.join(parent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_cargo_generate_makes_of_them() {
        for (text, name) in [
            ("My-Store2", "my-store2"),
            ("my_store", "my-store"),
            ("S3Backend", "s3-backend"),
            ("redb", "redb"),
        ] {
            assert_eq!(plugin_name(text).ok().as_deref(), Some(name), "{text}");
        }
        for text in ["", "2fast", "-", "größe", "a/b", "../x", "SDK", "loader"] {
            assert!(plugin_name(text).is_err(), "{text}");
        }
    }
}
