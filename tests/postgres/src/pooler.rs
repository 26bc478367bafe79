//! A private PgBouncer before a private server.

use std::{
    env, fmt, fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    server::Server,
    user::{give_away, unprivileged},
};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where distributions put programs of the system, which may be missing from the path.
const PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// There is no PgBouncer on this machine.
#[derive(Debug)]
pub struct NoPooler;

impl fmt::Display for NoPooler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no PgBouncer (install the package pgbouncer)")
    }
}

impl std::error::Error for NoPooler {}

/// A pooler that runs. Dropped, it ends and its files are removed.
pub struct Pooler {
    directory: TempDir,
    port: u16,
    process: Child,
}

impl Pooler {
    /// The program, in the path or in the system's directories.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn find() -> Result<PathBuf, NoPooler> {
        let in_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
        let places = in_path.unwrap_or_default().into_iter().chain(PLACES.map(PathBuf::from));
        places.map(|place| place.join("pgbouncer")).find(|program| program.is_file()).ok_or(NoPooler)
    }

    /// Starts one before `server`, for its database and its superuser, by a Unix socket. `mode` is its
    /// `pool_mode`, and `round_robin` whether it takes the session that has waited longest.
    ///
    /// # Errors
    ///
    /// If there is no PgBouncer ([`NoPooler`]), or it cannot be started.
    pub fn before(server: &Server, mode: &str, round_robin: bool) -> Result<Self> {
        let program = Self::find()?;
        let directory = TempDir::with_prefix("keyway-pooler-").context("make a directory")?;
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        give_away(path)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let file = path.join("pgbouncer.ini");
        let text = format!(
            "[databases]\npostgres = host={} port={} user=admin\n[pgbouncer]\nlisten_addr =\nlisten_port = {port}\n\
             unix_socket_dir = {}\nauth_type = any\npool_mode = {mode}\nserver_round_robin = {}\ndefault_pool_size = 64\n\
             max_client_conn = 200\n",
            server.socket().display(),
            server.port(),
            path.display(),
            u8::from(round_robin),
        );
        fs::write(&file, text).context("write pgbouncer.ini")?;
        give_away(&file)?;
        let log = fs::File::create(path.join("log")).context("make the log")?;
        let mut command = unprivileged(&program, path);
        command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().context("start pgbouncer")?;
        let mut pooler = Self { directory, port, process };
        pooler.await_ready(server)?;
        Ok(pooler)
    }

    fn await_ready(&mut self, server: &Server) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut ready = Command::new(server.binaries().program("pg_isready"));
            ready.arg("-q").arg("-h").arg(self.socket()).args(["-p", &self.port.to_string(), "-t", "5"]);
            if ready.status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("pgbouncer ended with {status}: {}", self.log());
            }
            if begun.elapsed() > PATIENCE {
                bail!("pgbouncer is not ready after {} s: {}", PATIENCE.as_secs(), self.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> &Path {
        self.directory.path()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.socket().join("log")).unwrap_or_default()
    }

    /// The URL of the server's database by way of the pooler.
    pub fn url(&self) -> String {
        let socket = self.socket().display().to_string().replace('/', "%2F");
        format!("postgres://admin@{socket}:{}/postgres", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // One that has ended already is only waited for.
        let _ended = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// A pooler for a test; none, with a visible line, if there is no PgBouncer on a machine that may do without.
///
/// # Panics
///
/// If the pooler does not start, or nothing may be skipped.
#[expect(clippy::print_stderr, clippy::panic, reason = "for tests, which fail by panicking")]
pub fn pooler(server: &Server, mode: &str, round_robin: bool) -> Option<Pooler> {
    match Pooler::before(server, mode, round_robin) {
        Ok(pooler) => Some(pooler),
        Err(error) if error.is::<NoPooler>() && !crate::is_ci() => {
            eprintln!("SKIPPED: {error:#}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}
