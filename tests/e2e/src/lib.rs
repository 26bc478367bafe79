//! What the tests share: a real server process in a temporary directory, its client, its command line.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "for tests, which fail by panicking"
)]

mod answer;
pub mod disks;
pub mod load;
pub mod plugins;
pub mod tls;
pub mod unread;

pub use keyway_private_postgres::free_port;

pub use self::answer::Answer;
use std::{
    cell::RefCell,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The directory of the binaries and libraries that the workspace has built.
pub fn built() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let directory = test.parent().and_then(Path::parent).expect("a test is in target/PROFILE/deps");
    let program = directory.join("keyway");
    if !program.exists() {
        panic!(
            "{} is missing: run `cargo build --workspace` first, or `cargo xtask test`",
            program.display()
        );
    }
    directory.to_owned()
}

/// A configured place for a server; it may be started and stopped in it many times.
pub struct Site {
    directory: TempDir,
    /// The certificate of the authority that clients trust.
    authority: RefCell<Option<PathBuf>>,
}

/// What an initialisation printed.
pub struct Keys {
    /// The unseal shares in hexadecimal.
    pub shares: Vec<String>,
    /// The root token.
    pub root_token: String,
}

/// A running server. Killed when it is dropped.
pub struct Server {
    process: Child,
    /// Such as `http://127.0.0.1:45678`.
    pub address: String,
    authority: Option<PathBuf>,
    /// Its log, which is shown if it does not answer. None if it was not kept.
    log: Option<PathBuf>,
}

impl Site {
    /// A site whose storage is this plugin, with its plugins locked.
    pub fn new(plugin: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let site = Self { directory, authority: RefCell::default() };
        site.configure(&config(plugin));
        let locked = site.run(&["plugin", "lock", "--config", site.config().to_str().unwrap()]);
        assert!(locked.status.success(), "{}", String::from_utf8_lossy(&locked.stderr));
        site
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        fs::write(self.config(), text).expect("write the configuration");
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("keyway.toml")
    }

    /// The server's log of all its runs.
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The prefix that runs a command as an unprivileged user, who then owns the site. It is empty if the
    /// tests do not run as root.
    pub fn as_unprivileged(&self) -> &'static [&'static str] {
        const UNPRIVILEGED: u32 = 65_534;

        fn give(path: &Path) {
            chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("give a file away");
            if path.is_dir() {
                for entry in fs::read_dir(path).expect("read a directory") {
                    give(&entry.expect("read a directory").path());
                }
            }
        }

        if !geteuid().is_root() {
            return &[];
        }
        give(self.directory.path());
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    }

    /// The server's log, as far as it is written.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Clients of servers that are started from now on trust this authority.
    pub fn trust(&self, certificate: &Path) {
        self.authority.replace(Some(certificate.to_owned()));
    }

    /// A file or directory of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the command line to its end, with nothing on standard input.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_under(&[], arguments)
    }

    /// As [`run`](Self::run), with a program before it that changes the world it lives in.
    pub fn run_under(&self, wrapper: &[&str], arguments: &[&str]) -> Output {
        command_under(wrapper, arguments)
            .current_dir(self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("home"))
            .stdin(Stdio::null())
            .output()
            .expect("run keyway")
    }

    /// Starts the server, which must become ready.
    pub fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// Starts the server with further arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Server {
        self.start_under(&[], arguments)
    }

    /// As [`start_with`](Self::start_with), with a program before it that changes the world it lives in.
    pub fn start_under(&self, wrapper: &[&str], arguments: &[&str]) -> Server {
        let config = self.config();
        let arguments: Vec<&str> = ["server", "--config", config.to_str().expect("a Unicode path")]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        self.spawn(command_under(wrapper, &arguments))
    }

    /// Starts a server by these words, of which the first is the program.
    pub fn start_command(&self, words: &[&str]) -> Server {
        let (program, arguments) = words.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command.args(arguments);
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Server {
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("open the log");
        let mut process = command
            .current_dir(self.directory.path())
            .env("RUST_LOG", "debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("start keyway");
        let mut line = String::new();
        let out = process.stdout.take().expect("standard output is a pipe");
        BufReader::new(out).read_line(&mut line).expect("read standard output");
        let Some(address) = line.trim().strip_prefix("Keyway is ready at ") else {
            panic!("the server did not start: {}", fs::read_to_string(self.log()).unwrap_or_default());
        };
        let authority = self.authority.borrow().clone();
        Server { process, address: address.to_owned(), authority, log: Some(self.log()) }
    }
}

/// The output of a program of the distribution. If the program is missing and this is not CI, it prints a
/// line and returns none.
pub fn needed(program: &str, result: io::Result<Output>) -> Option<Output> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            assert!(env::var("CI").as_deref() != Ok("true"), "{program} is missing");
            eprintln!("SKIPPED: there is no {program}");
            None
        }
        result => Some(result.expect("run a program")),
    }
}

/// As many open files for this test as the operating system allows.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("raise a limit");
}

/// Waits until something is so; fails the test after a generous while.
pub fn within(patience: Duration, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < patience, "not so after {} s", patience.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}

/// An ordinary configuration on a free port.
pub fn config(plugin: &str) -> String {
    let settings = if plugin == "sqlite" { "config = { path = \"keyway.db\" }" } else { "" };
    let plugins = built();
    format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\nplugin_dirs = [{:?}]\nsystem_backend = \"main\"\n\n\
         [trust]\npolicy = \"lock\"\n\n[backends.main]\nplugin = \"{plugin}\"\n{settings}\n\n\
         [mounts.secret]\nbackend = \"main\"\n",
        plugins.to_str().expect("a Unicode path")
    )
}

fn command(arguments: &[&str]) -> Command {
    command_under(&[], arguments)
}

fn command_under(wrapper: &[&str], arguments: &[&str]) -> Command {
    let program = built().join("keyway");
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(arguments);
    for variable in ["KEYWAY_ADDR", "KEYWAY_TOKEN", "KEYWAY_PLUGIN_PATH", "RUST_LOG"] {
        command.env_remove(variable);
    }
    // Settings for other servers, of the user that runs the tests.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("BAO_") || name.starts_with("VAULT_")) {
            command.env_remove(name);
        }
    }
    command
}

impl Server {
    /// Any request; an empty token sends none.
    pub fn request(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> Answer {
        let headers = [("X-Vault-Token", token)];
        self.request_with(method, path, if token.is_empty() { &[] } else { &headers }, body)
    }

    /// Any request with any headers.
    pub fn request_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.last_words()))
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = self.log.as_ref().and_then(|log| fs::read(log).ok()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4096)..]).into_owned()
    }

    /// GET, which may fail.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.try_request("GET", path, &[], None)
    }

    /// POST of JSON, which may fail.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub fn try_post(&self, path: &str, token: &str, body: &Value) -> Result<Answer, Box<ureq::Error>> {
        let answer = self.try_request("POST", path, &[("X-Vault-Token", token)], Some(&body.to_string()));
        answer.map_err(Box::new)
    }

    fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let tls = match &self.authority {
            None => TlsConfig::default(),
            Some(path) => {
                let pem = fs::read(path).expect("read the authority's certificate");
                let certificate = Certificate::from_pem(&pem).expect("a certificate");
                TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build()
            }
        };
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .proxy(None)
            .allow_non_standard_methods(true)
            .build()
            .new_agent();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}/v1/{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => agent.run(request.body(body.to_owned()).expect("a request")),
            None => agent.run(request.body(()).expect("a request")),
        }?;
        let status = response.status().as_u16();
        Ok(Answer { status, text: response.body_mut().read_to_string()? })
    }

    /// GET.
    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.request("GET", path, token, None)
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.request("POST", path, token, Some(&body.to_string()))
    }

    /// Makes a cluster.
    pub fn init(&self, shares: u8, threshold: u8) -> Keys {
        let body = json!({ "secret_shares": shares, "secret_threshold": threshold });
        let answer = self.post("sys/init", "", &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let made = answer.json();
        let shares = made["keys"].as_array().expect("shares");
        Keys {
            shares: shares.iter().map(|share| share.as_str().expect("a share").to_owned()).collect(),
            root_token: made["root_token"].as_str().expect("a token").to_owned(),
        }
    }

    /// Gives one share; answers whether the server is still sealed.
    pub fn unseal(&self, share: &str) -> bool {
        let answer = self.post("sys/unseal", "", &json!({ "key": share }));
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["sealed"].as_bool().expect("sealed")
    }

    /// Makes a cluster of one share and unseals it.
    pub fn init_and_unseal(&self) -> Keys {
        let keys = self.init(1, 1);
        assert!(!self.unseal(&keys.shares[0]));
        keys
    }

    /// Runs the command line against this server.
    pub fn cli(&self, site: &Site, token: &str, arguments: &[&str]) -> Output {
        self.cli_with_input(site, token, arguments, "")
    }

    /// Runs the command line against this server, with something on standard input.
    pub fn cli_with_input(&self, site: &Site, token: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = command(arguments)
            .current_dir(site.directory.path())
            // Where tokens are kept.
            .env("XDG_CONFIG_HOME", site.path("home"))
            .env("KEYWAY_ADDR", &self.address)
            .env("KEYWAY_TOKEN", token)
            .envs(self.authority.as_ref().map(|path| ("KEYWAY_CACERT", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run keyway");
        // A command that fails at once reads nothing.
        let _unread = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("wait for keyway")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(mut self) {
        self.process.kill().expect("kill the server");
        self.process.wait().expect("wait for the server");
    }

    /// Asks the process to end.
    pub fn signal_to_end(&self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("signal the server");
    }

    /// Waits until the process has ended; answers whether it ended well.
    pub fn wait(mut self) -> bool {
        self.process.wait().expect("wait for the server").success()
    }

    /// Asks the process to end, and waits until it has; answers whether it ended well.
    pub fn terminate(self) -> bool {
        self.signal_to_end();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
