//! The conformance suite's cases that need a server in trouble: stopped, full, read-only, without power. The
//! others are run on the library as it ships.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

use keyway_conformance::{Faults, Subject, Trouble, Unoffered};
use keyway_loader::Plugin;
use keyway_private_postgres::{Control, Options, Remote, Server};
use serde_json::json;

/// Where the children of this program find the server.
const URL: &str = "KEYWAY_PRIVATE_POSTGRES_URL";
const CONTROL: &str = "KEYWAY_PRIVATE_POSTGRES_CONTROL";
/// The cases.
const ONLY: [&str; 3] = ["survive_loss_of_power", "health_says_when", "store_that_is_"];

struct Offered(Remote);

impl Offered {
    fn ask(&self, line: &str) -> Result<String, Unoffered> {
        self.0.ask(line).map_err(|error| Unoffered(format!("{error:#}")))
    }
}

impl Faults for Offered {
    fn lose_power_at(&self, call: u64) -> Result<(), Unoffered> {
        self.ask(&format!("power {call}")).map(drop)
    }

    fn is_dark(&self) -> bool {
        self.ask("dark").is_ok_and(|answer| answer == "true")
    }

    fn settle(&self, seed: u64) -> Result<(), Unoffered> {
        self.ask(&format!("settle {seed}")).map(drop)
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Unoffered> {
        let word = match trouble {
            Some(Trouble::Gone) => "gone",
            Some(Trouble::Full) => "full",
            Some(Trouble::ReadOnly) => "read-only",
            None => "well",
        };
        self.ask(word).map(drop)
    }
}

fn offered(_data_dir: &Path) -> Result<Box<dyn Faults>, Unoffered> {
    let socket = env::var_os(CONTROL).ok_or_else(|| Unoffered(format!("{CONTROL} is not set")))?;
    Ok(Box::new(Offered(Remote::new(socket.as_ref()))))
}

fn postgres() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_postgres_backend::Postgres>());
    let subject = Subject::new(plugin.map_err(|error| error.to_string())?, json!({ "url_env": URL }));
    Ok(Subject { faults: Some(offered), ..subject })
}

fn main() -> ExitCode {
    if env::var_os(URL).is_some() {
        return keyway_conformance::main_for(&[("postgres-over-faults", postgres)], &ONLY);
    }
    match with_server() {
        Ok(code) => code,
        Err(error) => {
            keyway_private_postgres::skip("the conformance cases with PostgreSQL in trouble", &error)
        }
    }
}

/// The same program with a server.
fn with_server() -> anyhow::Result<ExitCode> {
    let settings = ["autovacuum=off", "max_wal_size=64MB"];
    let options = Options {
        settings: &settings,
        can_lose_power: true,
        can_be_full: keyway_private_postgres::is_root(),
        ..Options::default()
    };
    let server = Server::start(&options)?;
    let url = server.url();
    let control = Control::serve(server)?;
    let mut program = Command::new(env::current_exe()?);
    let status = program.args(env::args_os().skip(1)).env(URL, url).env(CONTROL, control.socket()).status();
    control.end()?;
    Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
