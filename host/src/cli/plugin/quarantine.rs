//! `keyway plugin quarantine`.

use clap::{Args, Subcommand};
use keyway_terminal::files::chain;
use keyway_terminal::output::{Format, print, table};
use serde_json::json;

use super::site::{Site, SiteArguments};
use crate::cli::failure::Failure;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List the plugins in quarantine, and what they did.
    List {
        #[command(flatten)]
        site: SiteArguments,
    },
    /// Release plugins, so that they are tried again.
    Clear(ClearArguments),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ClearArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// The digest of one, or its beginning.
    #[arg(required_unless_present = "all")]
    digest: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with = "digest")]
    all: bool,
}

pub(super) fn run(command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List { site } => list(&Site::open(&site)?, format),
        Command::Clear(arguments) => clear(&Site::open(&arguments.site)?, &arguments, format),
    }
}

/// Times are shown as the server's log has them.
fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn list(site: &Site, format: Format) -> Result<(), Failure> {
    let quarantined = site.history.quarantine().map_err(|error| chain(&error))?;
    let mut rows = vec![["Plugin", "SHA-256", "Since", "Why"].map(str::to_owned).to_vec()];
    let mut json = Vec::new();
    for (digest, library) in &quarantined {
        let since = time(library.quarantined.unwrap_or_default());
        let crashes: Vec<_> =
            library.crashes.iter().map(|crash| json!({ "at": time(crash.at), "what": crash.what })).collect();
        json.push(json!({ "plugin": library.plugin, "sha256": digest, "since": since, "crashes": crashes }));
        let last = library.crashes.last().map(|crash| crash.what.clone()).unwrap_or_default();
        let why = format!("{} crashes, last: {last}", library.crashes.len());
        rows.push(vec![library.plugin.clone(), digest.clone(), since, why]);
    }
    print(format, &json!({ "quarantine": json }), || {
        if quarantined.is_empty() { "No plugin is in quarantine.\n".to_owned() } else { table(&rows) }
    })
}

fn clear(site: &Site, arguments: &ClearArguments, format: Format) -> Result<(), Failure> {
    let digest = arguments.digest.as_deref().unwrap_or_default().to_ascii_lowercase();
    if !arguments.all && digest.len() < 8 {
        return Err(Failure::Usage("give at least 8 digits of the digest".to_owned()));
    }
    let released = site.history.release(&digest).map_err(|error| chain(&error))?;
    if released.is_empty() && !arguments.all {
        return Err(Failure::NotFound(format!(
            "no plugin in quarantine has a SHA-256 that begins with {digest}"
        )));
    }
    print(format, &json!({ "released": released }), || match released.len() {
        0 => "No plugin was in quarantine.\n".to_owned(),
        _ => released.iter().map(|digest| format!("Released {digest}\n")).collect(),
    })
}
