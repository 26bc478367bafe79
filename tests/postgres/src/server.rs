//! One server.

mod standby;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    Binaries, Power, SmallDisk,
    ports::free_port,
    user::{give_away, unprivileged},
};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to set a server up.
#[derive(Default)]
pub struct Options<'a> {
    /// Settings, as `-c` takes them.
    pub settings: &'a [&'a str],
    /// The certificate and the key of TLS, as PEM.
    pub tls: Option<(&'a str, &'a str)>,
    /// Lines of `pg_hba.conf`, in place of trust for the socket and SCRAM for the port.
    pub hba: Option<&'a str>,
    /// Whether the tables lie on a separate small disk that can be filled up. It needs root.
    pub can_be_full: bool,
    /// Whether the server's power can be taken away.
    pub can_lose_power: bool,
}

/// A server that runs, or is stopped for a while. Dropped, it ends and its files are removed.
pub struct Server {
    binaries: Binaries,
    /// None once it is removed.
    directory: Option<TempDir>,
    path: PathBuf,
    data: PathBuf,
    port: u16,
    settings: Vec<String>,
    power: Option<Power>,
    disk: Option<SmallDisk>,
    process: Option<Child>,
}

/// The superuser's name.
const SUPERUSER: &str = "admin";

impl Server {
    /// Makes a data directory and starts a server.
    ///
    /// # Errors
    ///
    /// If there is no PostgreSQL ([`Missing`](crate::Missing)), or it cannot be started.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        let binaries = Binaries::find()?;
        let directory = TempDir::with_prefix("keyway-pg-").context("make a directory")?;
        let disk =
            options.can_be_full.then(|| SmallDisk::mount(&directory.path().join("disk"))).transpose()?;
        let data = disk.as_ref().map_or(directory.path(), SmallDisk::path).join("data");
        fs::create_dir(&data).context("make the data directory")?;
        for path in [directory.path(), &data] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .context("set the mode of a directory")?;
            give_away(path)?;
        }
        let mut initdb = unprivileged(&binaries.program("initdb"), directory.path());
        initdb.arg("-D").arg(&data).args([
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--no-locale",
            "-k",
        ]);
        if disk.is_some() {
            // If the WAL finds no room, the server ends. If a table finds none, the write fails.
            initdb.arg("--waldir").arg(directory.path().join("wal"));
        }
        let made = initdb.stdin(Stdio::null()).output().context("start initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let hba = options.hba.unwrap_or(
            "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        );
        fs::write(data.join("pg_hba.conf"), hba).context("write pg_hba.conf")?;
        let mut settings: Vec<String> =
            options.settings.iter().map(|setting| (*setting).to_owned()).collect();
        if let Some((certificate, key)) = options.tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = data.join(name);
                fs::write(&path, text).with_context(|| format!("write {name}"))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                give_away(&path)?;
            }
            settings.push("ssl=on".to_owned());
        }
        let power = options.can_lose_power.then(|| Power::prepare(directory.path(), &data)).transpose()?;
        let path = directory.path().to_owned();
        let mut server = Self {
            binaries,
            directory: Some(directory),
            path,
            data,
            port: free_port()?,
            settings,
            power,
            disk,
            process: None,
        };
        server.resume_life()?;
        Ok(server)
    }

    /// The programs that it is made of.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The directory of its Unix socket.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// Its port on the loopback interface; the socket is named after it too.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its database by the Unix socket, as that user.
    pub fn url_as(&self, user: &str) -> String {
        let socket = self.socket().display().to_string().replace('/', "%2F");
        format!("postgres://{user}@{socket}:{}/postgres", self.port)
    }

    /// The URL of its database by the Unix socket, as its superuser.
    pub fn url(&self) -> String {
        self.url_as(SUPERUSER)
    }

    /// Runs SQL as the superuser; what it prints, without headings.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.binaries.program("psql"));
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", "postgres", "-c", sql]);
        psql.arg("-h").arg(self.socket()).args(["-p", &self.port.to_string()]).env("PGCONNECT_TIMEOUT", "10");
        // This one may write even if the others may only read.
        psql.env("PGOPTIONS", "-c default_transaction_read_only=off");
        let output = psql.stdin(Stdio::null()).output().context("start psql")?;
        ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Starts it again if it is stopped.
    ///
    /// # Errors
    ///
    /// If it does not start; the end of its log is in the text.
    pub fn resume_life(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let log =
            fs::File::options().create(true).append(true).open(self.log_path()).context("open the log")?;
        let mut command = unprivileged(&self.binaries.program("postgres"), &self.path);
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.path);
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        if let Some(power) = &self.power {
            command.envs(power.environment());
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start postgres")?;
        let begun = Instant::now();
        loop {
            if self.is_ready() {
                self.process = Some(process);
                return Ok(());
            }
            if let Some(status) = process.try_wait()? {
                bail!("postgres ended with {status}: {}", last_lines(&self.log()));
            }
            if begun.elapsed() > PATIENCE {
                process.kill()?;
                process.wait()?;
                bail!("postgres is not ready after {} s: {}", PATIENCE.as_secs(), last_lines(&self.log()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        let mut ready = Command::new(self.binaries.program("pg_isready"));
        ready.arg("-q").arg("-h").arg(&self.path).args(["-p", &self.port.to_string(), "-t", "5"]);
        ready.status().is_ok_and(|status| status.success())
    }

    /// Stops it as an administrator does: sessions are ended, everything is written (fast shutdown).
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::INT)
    }

    /// Stops it at once, as a crash would (immediate shutdown): it recovers when it starts.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn crash(&mut self) -> Result<()> {
        self.end(Signal::QUIT)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // One that is paused would not hear it.
        let _resumed = self.signal_all(Signal::CONT, process.id());
        if let Some(pid) = pid(process.id()) {
            // One that has ended already cannot be told to.
            let _ended = kill_process(pid, signal);
        }
        let begun = Instant::now();
        while process.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                process.kill()?;
                process.wait()?;
                bail!("postgres did not end");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Pauses all its processes, until [`Server::unpause`]: it takes connections and does not answer.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pause(&self) -> Result<()> {
        let process = self.process.as_ref().context("the server is stopped")?;
        self.signal_all(Signal::STOP, process.id())
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn unpause(&self) -> Result<()> {
        let process = self.process.as_ref().context("the server is stopped")?;
        self.signal_all(Signal::CONT, process.id())
    }

    /// To the postmaster first, so that it starts no more children.
    fn signal_all(&self, signal: Signal, postmaster: u32) -> Result<()> {
        for process in std::iter::once(postmaster).chain(children(postmaster)) {
            if let Some(pid) = pid(process) {
                // A child may have ended meanwhile.
                let _gone = kill_process(pid, signal);
            }
        }
        Ok(())
    }

    /// The switch of its power, if it was started with one.
    pub fn power(&self) -> Option<&Power> {
        self.power.as_ref()
    }

    /// The small disk, if it was started with one.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// After its power has gone: what was not synced is lost, by a seed; then it starts again.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn settle(&mut self, seed: u64) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            let left = children(process.id());
            process.kill()?;
            process.wait()?;
            for child in left {
                if let Some(pid) = pid(child) {
                    let _gone = kill_process(pid, Signal::KILL);
                    await_end(child)?;
                }
            }
        }
        if let Some(power) = &self.power {
            power.lose(seed)?;
        }
        // What a crash leaves and a start would wonder at.
        let _none = fs::remove_file(self.data.join("postmaster.pid"));
        self.resume_life()
    }
}

impl Server {
    /// Ends it and removes its files.
    pub(crate) fn remove(&mut self) -> Result<()> {
        let ended = self.end(Signal::QUIT);
        self.disk = None;
        self.directory = None;
        ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            report(&error);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a drop cannot return an error")]
fn report(error: &anyhow::Error) {
    eprintln!("a private PostgreSQL server: {error:#}");
}

fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}

fn await_end(process: u32) -> Result<()> {
    let begun = Instant::now();
    while Path::new(&format!("/proc/{process}")).exists() && !is_zombie(process) {
        ensure!(begun.elapsed() < PATIENCE, "process {process} does not end");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn is_zombie(process: u32) -> bool {
    stat(process).is_some_and(|(state, _)| state == "Z")
}

/// The state and the parent of a process.
fn stat(process: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The fields after the name, which may hold any character.
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten();
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|process| stat(*process).is_some_and(|(_, of)| of == parent)).collect()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
