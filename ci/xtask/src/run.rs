//! `cargo xtask run`: a server to try out, with everything as it ships, except that one share unseals it and
//! is kept next to it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process::{cargo, output, run as run_command, target_dir};

const ADDRESS: &str = "127.0.0.1:8200";

/// Set by Ctrl-C and SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn run() -> Result<()> {
    run_command(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "keyway",
        "-p",
        "keyway-sqlite-plugin",
        "-p",
        "keyway-memory-plugin",
    ]))?;
    let keyway = Keyway::prepare()?;
    let mut server = keyway.start()?;
    let used = keyway.unseal_and_explain();
    if used.is_err() {
        stop(&server)?;
    }
    let status = server.wait().context("wait for the server")?;
    used?;
    ensure!(status.success() || INTERRUPTED.load(Ordering::Relaxed), "the server ended with {status}");
    println!("The server has stopped. The next `cargo xtask run` finds its data again.");
    Ok(())
}

/// The program and where it runs.
struct Keyway {
    program: PathBuf,
    directory: PathBuf,
}

impl Keyway {
    /// Writes the configuration, if there is none yet, and the lock file for the libraries just built.
    fn prepare() -> Result<Self> {
        let built = target_dir().join("release");
        let directory = target_dir().join("run");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let keyway = Self { program: built.join("keyway"), directory };
        if !keyway.config().exists() {
            fs::write(keyway.config(), config(&built)?).context("write the configuration")?;
        }
        output(keyway.command(&["plugin", "lock", "--config"]).arg(keyway.config()))?;
        Ok(keyway)
    }

    fn config(&self) -> PathBuf {
        self.directory.join("keyway.toml")
    }

    /// What was made at the first start: the share and the root token.
    fn keys(&self) -> PathBuf {
        self.directory.join("keys-for-trying-out.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    fn client(&self, arguments: &[&str]) -> Result<String> {
        output(self.command(arguments).args(["--address", &format!("http://{ADDRESS}")]).stdin(Stdio::null()))
    }

    /// Starts the server and waits until it says that it is ready.
    fn start(&self) -> Result<Child> {
        let mut command = self.command(&["server", "--config"]);
        let mut server =
            command.arg(self.config()).stdout(Stdio::piped()).spawn().context("start the server")?;
        let pid = server.id();
        // Ctrl-C reaches the server too, from the terminal; SIGTERM does not.
        ctrlc::set_handler(move || {
            INTERRUPTED.store(true, Ordering::Relaxed);
            if let Err(error) = terminate(pid) {
                eprintln!("xtask: stop the server: {error:#}");
            }
        })?;
        let mut line = String::new();
        let out = server.stdout.take().context("the server's standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        if !line.contains("ready") {
            let status = server.wait()?;
            bail!("the server did not start ({status}); its message is above");
        }
        Ok(server)
    }

    fn unseal_and_explain(&self) -> Result<()> {
        let (keys, first) = self.keys_of_cluster()?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("the file of keys is damaged");
        let share = keys.get("keys").and_then(|keys| keys.get(0)).context("the file of keys is damaged")?;
        let token = text(keys.get("root_token").context("the file of keys is damaged")?)?;
        self.client(&["unseal", &text(share)?])?;
        explain(&self.keys(), &self.program, &token, first);
        Ok(())
    }

    /// The keys of the cluster, which is made if there is none, and whether it was.
    fn keys_of_cluster(&self) -> Result<(Value, bool)> {
        let path = self.keys();
        if path.exists() {
            return Ok((serde_json::from_str(&fs::read_to_string(&path)?)?, false));
        }
        let made =
            self.client(&["init", "--shares", "1", "--threshold", "1", "--format", "json"]).with_context(
                || format!("{} is missing, and the store has keys that only it knew", path.display()),
            )?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(made.as_bytes())?;
        file.sync_all()?;
        Ok((serde_json::from_str(&made)?, true))
    }
}

fn config(built: &Path) -> Result<String> {
    let plugins = built.to_str().context("the path of the target directory is not Unicode")?;
    Ok(format!(
        "# Written by `cargo xtask run`, for trying Keyway out.\n\
         listen = \"{ADDRESS}\"\n\
         data_dir = \"data\"\n\
         plugin_dirs = [{plugins:?}]\n\
         system_backend = \"main\"\n\n\
         [trust]\n\
         policy = \"lock\"\n\n\
         [backends.main]\n\
         plugin = \"sqlite\"\n\
         config = {{ path = \"keyway.db\" }}\n\n\
         [mounts.secret]\n\
         backend = \"main\"\n"
    ))
}

fn explain(keys: &Path, program: &Path, token: &str, first: bool) {
    let (program, keys) = (program.display(), keys.display());
    let cluster = if first { "A new cluster was made" } else { "The data of the last run is here again" };
    println!(
        "\n\
         =========================================================================================\n\
         FOR TRYING OUT ONLY. One share unseals this server, and it lies, with the root token, in\n\
         {keys}\n\
         Anyone who can read that file can read every secret.\n\
         =========================================================================================\n\n\
         {cluster}. Keyway serves at http://{ADDRESS}, with its secrets in SQLite.\n\n\
         Root token: {token}\n\n\
         Try, in another terminal:\n\n\
         \x20 export KEYWAY_TOKEN={token}\n\
         \x20 {program} kv put secret/app/db user=app password=correct-horse\n\
         \x20 {program} kv get secret/app/db\n\n\
         Ctrl-C stops it.\n"
    );
}

fn stop(server: &Child) -> Result<()> {
    terminate(server.id())
}

fn terminate(pid: u32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the server's process id")?;
    match kill_process(pid, Signal::TERM) {
        // It is gone already: Ctrl-C reached it first.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
