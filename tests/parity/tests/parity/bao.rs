//! A real OpenBao of this test's own: its files in a temporary directory, its listener on a free loopback port.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Names the program.
const PROGRAM: &str = "KEYWAY_TEST_BAO";

/// The program; none, with a visible line, on a machine that may do without.
pub(crate) fn program() -> Option<PathBuf> {
    let program = env::var_os(PROGRAM).map(PathBuf::from);
    if program.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{PROGRAM} is not set; run `cargo xtask test`");
        eprintln!("SKIPPED: {PROGRAM} is not set; `cargo xtask test` installs a real OpenBao");
    }
    program
}

/// A running OpenBao. Killed when it is dropped.
pub(crate) struct Bao {
    process: Child,
    pub(crate) address: String,
    directory: TempDir,
}

impl Bao {
    /// Starts a server that is not initialized yet.
    pub(crate) fn start(program: &Path) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        // Another process may take the port before OpenBao does; another port is tried then.
        for _ in 0..10 {
            if let Some((process, address)) = try_start(program, directory.path()) {
                return Self { process, address, directory };
            }
        }
        let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        panic!("OpenBao did not start: {log}")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn try_start(program: &Path, directory: &Path) -> Option<(Child, String)> {
    let port = free_port();
    let address = format!("http://127.0.0.1:{port}");
    // Ceremonies without a token, because Keyway is configured to allow them too.
    let config = format!(
        "storage \"inmem\" {{}}\n\
         listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n  \
         disable_unauthed_rekey_endpoints = false\n  disable_unauthed_generate_root_endpoints = false\n}}\n\
         api_addr = \"{address}\"\n\
         unsafe_allow_api_audit_creation = true\n\
         log_level = \"warn\"\n"
    );
    fs::write(directory.join("bao.hcl"), config).expect("write OpenBao's configuration");
    let log = fs::File::create(directory.join("log")).expect("create the log");
    let mut command = isolated(program, directory);
    command.args(["server", "-config=bao.hcl"]).stdout(Stdio::piped()).stderr(log);
    let mut process = command.spawn().expect("start OpenBao");
    let output = BufReader::new(process.stdout.take().expect("standard output is a pipe"));
    let mut lines = output.lines();
    let started = lines.by_ref().map_while(Result::ok).any(|line| line.contains("server started!"));
    // The rest is read so that the server never waits for its reader.
    thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let answered = started && responds(port);
    if !answered {
        let _ended = process.kill();
        let _reaped = process.wait();
    }
    answered.then_some((process, address))
}

/// The program with this directory as its home, and nothing of this machine's environment that it would read.
pub(crate) fn isolated(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().env("HOME", directory).env("PATH", "/usr/bin:/bin");
    command.env("VAULT_DISABLE_MLOCK", "true").stdin(Stdio::null());
    command
}

fn responds(port: u16) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

pub(crate) fn free_port() -> u16 {
    keyway_e2e::free_port().expect("a free port")
}
