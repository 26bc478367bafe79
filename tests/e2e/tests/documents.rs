//! The documents, followed exactly: every command that needs neither root nor systemd is typed as it stands there,
//! with other directories and another port.
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
    process::{Command, Stdio},
};

use keyway_e2e::{Site, built, plugins, tls::Authority};

/// The manual's first page, which links to the others in the order in which an operator follows them.
const OPERATIONS: &str = include_str!("../../../docs/operations.md");
const README: &str = include_str!("../../../README.md");

/// A fenced block: its language, its lines, and whether a comment before it says that it is not run.
struct Block {
    language: String,
    text: String,
    is_run: bool,
}

fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut is_run) = (Vec::new(), true);
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("<!-- not run:") {
            is_run = false;
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let text: Vec<&str> = lines
                .by_ref()
                .take_while(|line| line.trim_start() != "```")
                .map(|line| line.get(indent..).unwrap_or_default())
                .collect();
            blocks.push(Block { language: language.to_owned(), text: text.join("\n") + "\n", is_run });
            is_run = true;
        }
    }
    blocks
}

/// The pages of the manual as one text. `grow.rs` follows the page about several hosts.
fn manual() -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let links = OPERATIONS.split("](operations/").skip(1).map(|link| link.split_once(')').unwrap().0);
    let pages: Vec<&str> = links.filter(|page| *page != "several-hosts.md").collect();
    assert_eq!(pages.len() + 1, fs::read_dir(docs.join("operations")).unwrap().count(), "{pages:?}");
    pages.iter().map(|page| fs::read_to_string(docs.join("operations").join(page)).unwrap() + "\n").collect()
}

/// A reader who types what a document says.
struct Reader {
    site: Site,
    port: u16,
    environment: Vec<(String, String)>,
    shares: Vec<String>,
    token: String,
}

impl Reader {
    fn new() -> Self {
        let port = keyway_e2e::free_port().unwrap();
        // Separate plugins, as a document may install some, which no other test must find.
        let site = plugins::site();
        let path = format!("{}:{}", built().display(), std::env::var("PATH").unwrap());
        let environment = vec![("PATH".to_owned(), path)];
        Self { site, port, environment, shares: Vec::new(), token: String::new() }
    }

    /// The text with this test's directories and port.
    fn here(&self, text: &str) -> String {
        let site = self.site.path("").display().to_string();
        text.replace("/usr/lib/keyway/plugins", &format!("{site}plugins"))
            .replace("/etc/keyway", &format!("{site}etc"))
            .replace("/var/lib/keyway", &format!("{site}var"))
            .replace("/var/log/keyway", &format!("{site}trail"))
            .replace("/usr/local/bin/keyway", built().join("keyway").to_str().unwrap())
            .replace("0.0.0.0:8200", &format!("0.0.0.0:{}", self.port))
            .replace("127.0.0.1:8200", &format!("127.0.0.1:{}", self.port))
            .replace("localhost:8200", &format!("localhost:{}", self.port))
    }

    /// Types a line; it must succeed.
    fn types(&mut self, line: &str) -> String {
        if let Some(assignment) = line.strip_prefix("export ") {
            let (name, value) = assignment.split_once('=').unwrap();
            let value = if value.starts_with("kw.") { self.token.clone() } else { self.here(value) };
            self.environment.push((name.to_owned(), value));
            return String::new();
        }
        let asks = line == "keyway unseal";
        let input = if asks { self.shares.pop().expect("a share is left") } else { String::new() };
        let mut shell = Command::new("bash")
            .args(["-ec", &self.here(line)])
            .current_dir(self.site.path(""))
            .env_clear()
            .envs(self.environment.clone())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        match writeln!(shell.stdin.take().unwrap(), "{input}") {
            // Most commands read nothing, and some have ended by now.
            Err(error) if error.kind() == ErrorKind::BrokenPipe && !asks => {}
            written => written.unwrap(),
        }
        let output = shell.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        if line.starts_with("curl") {
            assert!(!said.contains("\"errors\""), "{line}\n{said}");
        }
        if line.starts_with("keyway init") {
            let words = |prefix: &str| -> Vec<String> {
                let lines = said.lines().filter(|line| line.starts_with(prefix));
                lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
            };
            self.shares = words("Unseal share");
            self.token = words("Root token").remove(0);
            assert_eq!(self.shares.len(), 5);
        }
        said
    }

    /// Whether the programs that the documents use are here.
    fn is_equipped() -> bool {
        keyway_e2e::needed("curl", Command::new("curl").arg("--version").output()).is_some()
    }

    /// Types all lines of a block that begin with a prompt.
    fn follows(&mut self, block: &Block) -> Vec<String> {
        let lines: Vec<&str> = block.text.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        assert!(!lines.is_empty(), "a console without a command:\n{}", block.text);
        lines.into_iter().map(|line| self.types(line)).collect()
    }
}

#[test]
fn operations_lead_to_a_protected_monitored_server() {
    if !Reader::is_equipped() {
        return;
    }
    let blocks = blocks(&manual());
    let of = |language: &'static str| blocks.iter().filter(move |block| block.language == language);
    let mut reader = Reader::new();
    let (etc, var) = (reader.site.path("etc"), reader.site.path("var"));
    fs::create_dir_all(&etc).unwrap();
    fs::create_dir_all(&var).unwrap();
    fs::create_dir_all(reader.site.path("trail")).unwrap();
    let authority = Authority::new();
    authority.write_server(&etc);
    authority.write(&etc);
    let config = reader.here(&of("toml").next().unwrap().text);
    fs::write(etc.join("keyway.toml"), config).unwrap();
    let mut units = of("ini");
    let (unit, socket) = (&units.next().unwrap().text, &units.next().unwrap().text);
    check_unit(unit, reader.site.path("keyway.service"));
    check_unit(socket, reader.site.path("keyway.socket"));
    let given = reader.site.path("libkeyway_sqlite.so");
    fs::write(given, plugins::version("sqlite", "1.1.0")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut consoles = of("console").filter(|block| block.is_run);
    // Locked and checked, then started as systemd would.
    reader.follows(consoles.next().unwrap());
    let start = reader.here(start);
    let words: Vec<&str> = start.split(' ').collect();
    let server = reader.site.start_command(&words);
    assert!(server.address.starts_with("https://"));
    let said: Vec<String> = consoles.flat_map(|block| reader.follows(block)).collect();
    let said = said.join("\n");
    for expected in [
        "correct-horse",
        "\"sealed\":false",
        "keyway_unsealed 1",
        "team/kv is mounted",
        "The policy app is in force",
        "hmac-sha256:",
        "Verified",
        "ready",
        "Sealed       false",
        "outcome=\"swapped\"} 1",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    // Shipped, rolled back, and swapped to by hand.
    let versions: Vec<&str> = ["1.0.0", "1.1.0", "1.0.0", "1.1.0"].into();
    let listed = said.lines().filter(|line| line.contains("main") && line.contains("power loss"));
    let listed: Vec<_> = listed.filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(listed, versions, "{said}");
    assert!(server.terminate());
}

/// As systemd reads it, if it is installed.
fn check_unit(unit: &str, path: impl AsRef<Path>) {
    let unit = unit.replace("/usr/local/bin/keyway", "/bin/true");
    fs::write(path.as_ref(), unit).unwrap();
    let checked = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path.as_ref()).output();
    match checked {
        Ok(checked) => {
            let said = String::from_utf8_lossy(&checked.stderr);
            let ours: Vec<&str> = said
                .lines()
                .filter(|line| line.contains("keyway.service:") || line.contains("keyway.socket:"))
                .collect();
            assert!(ours.is_empty(), "{ours:#?}");
        }
        Err(error) => eprintln!("SKIPPED: the unit is not verified: systemd-analyze: {error}"),
    }
}

#[test]
fn five_minutes_of_the_readme() {
    if !Reader::is_equipped() {
        return;
    }
    let blocks = blocks(README);
    let mut reader = Reader::new();
    let site = reader.site.path("");
    let config = blocks.iter().find(|block| block.language == "toml").unwrap();
    let config = reader.here(&config.text) + "";
    let listen = format!("listen = \"127.0.0.1:{}\"\n", reader.port);
    fs::write(site.join("keyway.toml"), listen + &config).unwrap();
    fs::write(site.join("password.txt"), "correct-horse").unwrap();
    fs::write(site.join("app.env"), "A=1\n").unwrap();
    reader.types("keyway plugin lock --config keyway.toml");
    reader.types("keyway plugin list --config keyway.toml");
    let server = reader.site.start();
    let address = server.address.clone();
    reader.environment.push(("KEYWAY_ADDR".to_owned(), address));
    reader.types("keyway init");
    for _ in 0..3 {
        reader.types("keyway unseal");
    }
    let uses =
        blocks.iter().find(|block| block.language == "console" && block.text.contains("curl")).unwrap();
    let said = reader.follows(uses).join("\n");
    assert!(said.contains("correct-horse") && said.contains("\"request_id\""), "{said}");
}
