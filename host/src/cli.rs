//! The command line: what the words mean. Each command is a module.

mod audit;
mod auth;
mod backend;
mod client;
mod config;
mod connection;
mod environment;
mod failure;
mod generate;
mod kept;
mod keys;
mod kv;
mod login;
mod mount;
mod operator;
mod plugin;
mod policy;
mod prompt;
mod server;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use keyway_loader::probe;
use keyway_server::{PROBE_COMMAND, StartOptions};
use keyway_terminal::output;

use self::{connection::Server, failure::Failure, output::Format};

/// A secrets server whose storage is a shared library.
///
/// Start a server with `keyway server --config FILE`, make its keys with `keyway init`, and unlock it with
/// `keyway unseal`. Then log in with `keyway login`, or put a token into KEYWAY_TOKEN, and use `keyway kv
/// put`, `get`, `list` and `import`. Exit codes: 0 done, 1 error, 2 usage, 3 sealed, 4 not found, 5 refused,
/// 6 unavailable.
#[derive(Debug, Parser)]
#[command(name = "keyway", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How to print results; also KEYWAY_FORMAT, BAO_FORMAT or VAULT_FORMAT. Default: table.
    #[arg(long, global = true, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until it is interrupted.
    Server {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// A directory to look for plugins in, before all others. May be repeated.
        #[arg(long)]
        plugin_dir: Vec<PathBuf>,
        /// Start over after the store of this cluster was lost for good. Its secrets cannot be read again.
        #[arg(long, value_name = "CLUSTER-UUID")]
        forget_store: Option<uuid::Uuid>,
        /// For developing plugins: lets [trust] policy = "none" count.
        #[arg(long)]
        dev: bool,
    },
    /// Show whether the server is initialised and unsealed, and which backends do not serve.
    Status {
        #[command(flatten)]
        server: Server,
        /// The server's configuration, if you may read it: also says which plugin each backend uses, or why
        /// it has none.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Initialise a new cluster: print its unseal shares and root token, once.
    Init {
        #[command(flatten)]
        server: Server,
        /// How many shares of the unseal key to make.
        #[arg(long, default_value_t = 5)]
        shares: u64,
        /// How many of them unseal.
        #[arg(long, default_value_t = 3)]
        threshold: u64,
        /// Make other keys for a cluster that was never unsealed, because its shares were lost.
        #[arg(long)]
        repeat: bool,
    },
    /// Unseal the server: give it one share.
    Unseal {
        #[command(flatten)]
        server: Server,
        /// The share; read from standard input if it is not given, which keeps it out of the list of processes.
        share: Option<String>,
        /// Forget the shares given so far.
        #[arg(long, conflicts_with = "share")]
        reset: bool,
        /// Give the password in the place of shares; it is asked for, or read from standard input.
        #[arg(long, conflicts_with_all = ["share", "reset"])]
        password: bool,
    },
    /// Seal the server: drop its keys from memory.
    Seal {
        #[command(flatten)]
        server: Server,
    },
    /// Rotate the key that seals new records. Old records stay readable; `keyway rotate reencrypt` seals them again.
    Rotate {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: Option<keys::Rotate>,
    },
    /// Replace the unseal shares, with a threshold of the present ones.
    Rekey {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: keys::Rekey,
    },
    /// The password that unseals as well as the shares, if the server's configuration allows one.
    Password {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: keys::Password,
    },
    /// Generate a root token from the shares when there is no other way in.
    Operator {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: keys::Operator,
    },
    /// Log in: keep a token for later commands, from a prompt or from standard input.
    Login {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        login: login::Login,
    },
    /// Log out: remove the kept token.
    Logout {
        #[command(flatten)]
        server: Server,
    },
    /// Manage policies: what tokens may do.
    Policy {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: policy::Command,
    },
    /// Manage tokens: create, look up, renew, revoke.
    Token {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: token::Command,
    },
    /// Manage auth methods.
    Auth {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: auth::Command,
    },
    /// Read and write secrets.
    Kv {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: kv::Command,
    },
    /// Manage mounts of secrets engines: list, add, move, remove.
    Mount {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: mount::Command,
    },
    /// Manage a server's backends: health, capabilities, swaps.
    Backend {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        command: backend::Command,
    },
    /// Manage audit devices, and verify audit logs.
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Manage plugin files: inspect, install, trust, test.
    Plugin {
        #[command(subcommand)]
        command: plugin::Command,
    },
    /// Check the configuration.
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one per command.
    Man {
        /// The directory to write them to.
        directory: PathBuf,
    },
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    // Before anything else: a probe restricts its process while that has one thread.
    let mut given = std::env::args_os().skip(1);
    match given.next() {
        Some(first) if first == PROBE_COMMAND => return probe::child::main(&given.collect::<Vec<_>>()),
        _ => {}
    }
    let Arguments { command, format } = Arguments::parse();
    match run(command, format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Told { .. }) {
                output::warn(failure.message());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, format: Option<Format>) -> Result<(), Failure> {
    let format = match (&command, format) {
        // What prints no results asks no client's variable.
        (Command::Server { .. } | Command::Completions { .. } | Command::Man { .. }, _) => Format::Table,
        (_, Some(format)) => format,
        (_, None) => environment::Environment::of_process().format()?.unwrap_or(Format::Table),
    };
    match command {
        Command::Server { config, plugin_dir, forget_store, dev } => {
            server::run(&config, StartOptions { plugin_dirs: plugin_dir, forget: forget_store, dev })
        }
        Command::Status { server, config } => {
            operator::status(&client::Client::new(server)?, config.as_deref(), format)
        }
        Command::Init { server, shares, threshold, repeat } => {
            operator::init(&client::Client::new(server)?, shares, threshold, repeat, format)
        }
        Command::Unseal { server, password: true, .. } => {
            operator::unseal_by_password(&client::Client::new(server)?, format)
        }
        Command::Unseal { server, share, reset, .. } => {
            operator::unseal(&client::Client::new(server)?, share, reset, format)
        }
        Command::Seal { server } => operator::seal(&client::Client::new(server)?, format),
        Command::Rotate { server, command } => keys::rotate(&client::Client::new(server)?, command, format),
        Command::Rekey { server, command } => keys::rekey(&client::Client::new(server)?, command, format),
        Command::Password { server, command } => {
            keys::password(&client::Client::new(server)?, command, format)
        }
        Command::Operator { server, command: keys::Operator::GenerateRoot(command) } => {
            keys::generate_root(server, command, format)
        }
        Command::Login { server, login } => login::login(&mut client::Client::new(server)?, login, format),
        Command::Logout { server } => login::logout(&client::Client::new(server)?, format),
        Command::Policy { server, command } => policy::run(&client::Client::new(server)?, command, format),
        Command::Token { server, command } => token::run(&client::Client::new(server)?, command, format),
        Command::Auth { server, command } => auth::run(&client::Client::new(server)?, command, format),
        Command::Kv { server, command } => kv::run(&client::Client::new(server)?, command, format),
        Command::Mount { server, command } => mount::run(&client::Client::new(server)?, command, format),
        Command::Backend { server, command } => backend::run(server, command, format),
        Command::Audit { command } => audit::run(command, format),
        Command::Completions { shell } => generate::completions(Arguments::command(), shell),
        Command::Man { directory } => generate::manual(Arguments::command(), &directory),
        Command::Plugin { command } => plugin::run(command, format),
        Command::Config { command } => config::run(command, format),
    }
}
