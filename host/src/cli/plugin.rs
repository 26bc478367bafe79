//! `keyway plugin`: works on files and the configuration, never on a server. Code of a plugin runs in a child
//! process, and only for `conform`, `doctor` and `install`.

mod conform;
mod doctor;
mod install;
mod list;
mod lock;
mod new;
mod quarantine;
mod sign;
mod site;
mod why;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use keyway_loader::describe::Described;
use keyway_terminal::files::read;
use keyway_terminal::output::{Format, pairs, print};

pub(super) use self::site::foresee;
use self::site::{Site, SiteArguments};
use super::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the project of a new plugin: a backend that works, its tests, and what builds and ships it.
    New(new::Arguments),
    /// Put a plugin file through the conformance suite, which is the program keyway-conform; `keyway plugin
    /// conform --help` prints its help.
    #[command(disable_help_flag = true)]
    Conform(conform::Arguments),
    /// Compare a plugin file with the memory backend and SQLite, and say where its time goes; `keyway plugin bench
    /// --help` prints its help.
    #[command(disable_help_flag = true)]
    Bench(conform::Arguments),
    /// List the plugin files in all directories that are searched, and whether they may run.
    List {
        #[command(flatten)]
        site: SiteArguments,
    },
    /// Say what a plugin file says about itself. Runs no code of it.
    Info {
        /// The library file.
        file: PathBuf,
    },
    /// Let plugin files run: writes keyway.lock next to the configuration.
    Lock {
        #[command(flatten)]
        site: SiteArguments,
        /// These files, for any platform; without any, all that are found.
        files: Vec<PathBuf>,
    },
    /// Say whether plugin files may run, and why; exit code 5 if one may not.
    Verify {
        #[command(flatten)]
        site: SiteArguments,
        /// These files; without any, all that are found.
        files: Vec<PathBuf>,
    },
    /// Sign a plugin file in minisign's format: writes FILE.minisig.
    Sign(sign::Arguments),
    /// Make a key pair to sign plugins with: writes FILE and FILE.pub.
    NewKey(sign::NewKeyArguments),
    /// Put a plugin file into a directory of plugins, once it is known that it may run and can be loaded.
    Install(install::InstallArguments),
    /// Take a plugin's files out of the configured directories and out of keyway.lock.
    Remove(install::RemoveArguments),
    /// Say which file of a plugin is used, and why each other one is not.
    Why {
        #[command(flatten)]
        site: SiteArguments,
        /// The plugin's name, or name@requirement as in the configuration.
        plugin: String,
    },
    /// Plugins that are not tried again because they crash the process that loads them.
    Quarantine {
        #[command(subcommand)]
        command: quarantine::Command,
    },
    /// Take every plugin file through all stages, in a child process where it is loaded, and say how far each
    /// comes.
    Doctor {
        #[command(flatten)]
        site: SiteArguments,
        /// Show all details of each refusal.
        #[arg(long)]
        verbose: bool,
    },
}

pub(super) fn run(command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::New(arguments) => new::new(&arguments, format),
        Command::Conform(arguments) => conform::conform(arguments, format),
        Command::Bench(arguments) => conform::bench(arguments, format),
        Command::List { site } => list::list(&Site::open(&site)?, format),
        Command::Info { file } => info(&file, format),
        Command::Lock { site, files } => lock::lock(&Site::open(&site)?, &files, format),
        Command::Verify { site, files } => list::verify(&Site::open(&site)?, &files, format),
        Command::Sign(arguments) => sign::sign(&arguments, format),
        Command::NewKey(arguments) => sign::new_key(&arguments, format),
        Command::Install(arguments) => install::install(&arguments, format),
        Command::Remove(arguments) => install::remove(&arguments, format),
        Command::Why { site, plugin } => why::why(&Site::open(&site)?, &plugin, format),
        Command::Quarantine { command } => quarantine::run(command, format),
        Command::Doctor { site, verbose } => doctor::doctor(&Site::open(&site)?, verbose, format),
    }
}

fn info(file: &Path, format: Format) -> Result<(), Failure> {
    let (described, _staging) = read(file)?;
    let json: serde_json::Value = serde_json::from_str(&described.descriptor_json)
        .map_err(|error| Failure::Other(format!("the descriptor is not JSON: {error}")))?;
    print(format, &json, || describe_plugin(&described))?;
    Ok(())
}

fn describe_plugin(described: &Described) -> String {
    let descriptor = &described.descriptor;
    let or_none = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let text = pairs(&[
        ("Name", descriptor.name.clone()),
        ("Version", descriptor.version.to_string()),
        ("Description", descriptor.description.clone()),
        ("Interface", format!("{} (this host: {})", descriptor.interface, keyway_loader::INTERFACE_VERSION)),
        ("Platform", descriptor.target()),
        ("Build", format!("{}, panic = {}", descriptor.profile, descriptor.panic)),
        ("Data format", descriptor.data_format.to_string()),
        ("Sharing", descriptor.sharing.clone()),
        ("Durability", descriptor.capabilities.durability.name().to_owned()),
        ("Isolation", descriptor.capabilities.isolation.name().to_owned()),
        ("Backup", descriptor.capabilities.backup.name().to_owned()),
        ("Features", descriptor.capabilities.features.names().join(", ")),
        ("Extensions", or_none(&descriptor.extensions)),
        ("Licence", descriptor.licence.clone()),
        ("Homepage", descriptor.homepage.clone()),
        ("Needs", or_none(&described.links.needed)),
        ("SHA-256", described.staged.digest.to_string()),
    ]);
    let schema = serde_json::to_string_pretty(&descriptor.config_schema).unwrap_or_default();
    format!("{text}\nConfiguration (JSON Schema):\n{schema}\n")
}
