//! The output and failures of the command line, as one transcript, and commands that need no server.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod terminal;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use keyway_e2e::{Keys, Server, Site, built};

/// Commands with their output and exit codes, with what differs from run to run taken out.
struct Transcript<'a> {
    site: &'a Site,
    server: &'a Server,
    token: &'a str,
    text: String,
}

impl Transcript<'_> {
    fn run(&mut self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&mut self, arguments: &[&str], input: &str) -> Output {
        let output = self.server.cli_with_input(self.site, self.token, arguments, input);
        let shown: Vec<String> = arguments
            .iter()
            .map(
                |argument| {
                    if argument.contains(' ') { format!("'{argument}'") } else { (*argument).to_owned() }
                },
            )
            .collect();
        self.text.push_str(&format!("$ keyway {}\n", shown.join(" ")));
        for part in [&output.stdout, &output.stderr] {
            self.text.push_str(&self.neutral(&String::from_utf8_lossy(part)));
        }
        let code = output.status.code().unwrap();
        self.text.push_str(&if code == 0 { "\n".to_owned() } else { format!("[{code}]\n\n") });
        output
    }

    fn neutral(&self, text: &str) -> String {
        let mut text = text.replace(&self.server.address, "ADDRESS");
        text = text.replace(self.site.path("").to_str().unwrap(), "SITE/");
        let is_time =
            |word: &str| word.len() >= 20 && word.as_bytes().get(10) == Some(&b'T') && word.ends_with('Z');
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                let words: Vec<&str> = line
                    .split(' ')
                    .map(|word| {
                        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                        let is_digest = bare.len() == 64 && bare.chars().all(|c| c.is_ascii_hexdigit());
                        if is_time(bare) {
                            "TIME"
                        } else if is_digest {
                            "SHA-256"
                        } else {
                            word
                        }
                    })
                    .collect();
                // Columns are as wide as what was taken out, which differs.
                let mut line = words.join(" ");
                while line.contains("   ") {
                    line = line.replace("   ", "  ");
                }
                line.trim_end().to_owned()
            })
            .collect();
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn start(site: &Site) -> (Server, Keys) {
    let server = site.start();
    let keys = server.init_and_unseal();
    (server, keys)
}

#[test]
fn a_day_on_the_command_line() {
    let site = Site::new("sqlite");
    let (server, keys) = start(&site);
    let mut day = Transcript { site: &site, server: &server, token: &keys.root_token, text: String::new() };
    for arguments in [
        &["kv", "put", "secret/app/db", "user=app", "port=5432"] as &[&str],
        &["kv", "put", "secret/app/db", "user=app", "port=5433", "--cas", "1"],
        &["kv", "put", "secret/app/db", "user=x", "--cas", "1"],
        &["kv", "patch", "secret/app/db", "host=db.internal", "--remove", "port"],
        &["kv", "patch", "secret/none", "a=b"],
        &["kv", "get", "secret/app/db"],
        &["kv", "get", "secret/app/db", "--field", "user"],
        &["kv", "get", "secret/app/db", "--field", "none"],
        &["kv", "get", "secret/app/db", "--version", "9"],
        &["kv", "diff", "secret/app/db"],
        &["kv", "diff", "secret/app/db", "--from", "1", "--values"],
        &["kv", "delete", "secret/app/db"],
        &["kv", "get", "secret/app/db"],
        &["kv", "undelete", "secret/app/db", "--versions", "3"],
        &["kv", "delete", "secret/app/db", "--versions", "1"],
        &["kv", "destroy", "secret/app/db", "--versions", "1,2"],
        &["kv", "get", "secret/app/db", "--version", "2"],
        &[
            "kv",
            "metadata",
            "put",
            "secret/app/db",
            "--max-versions",
            "5",
            "--custom",
            "owner=ops",
            "--custom",
            "a=b",
        ],
        &["kv", "metadata", "patch", "secret/app/db", "--delete-version-after", "48h", "--remove", "a"],
        &["kv", "metadata", "patch", "secret/app/db"],
        &["kv", "metadata", "patch", "secret/app/db", "--delete-version-after", "soon"],
        &["kv", "list", "secret"],
        &["kv", "list", "secret/none"],
        &["kv", "metadata", "delete", "secret/app/db"],
        &["kv", "get", "nowhere/x"],
        &["mount", "create", "team/kv", "--description", "a team's"],
        &["mount", "create", "team/kv"],
        &["mount", "create", "x", "--backend", "none"],
        &["mount", "list"],
        &["mount", "remove", "team/kv", "--confirm", "team"],
        &["mount", "remove", "team/kv", "--confirm", "team/kv"],
        &["backend", "list"],
        &["backend", "health"],
        &["backend", "capabilities", "none"],
        &["rotate"],
        &["status"],
    ] {
        day.run(arguments);
    }
    day.run_with_input(&["kv", "put", "secret/piped", "value=-"], "from a pipe");
    day.run(&["kv", "get", "secret/piped"]);
    day.run(&["kv", "metadata", "get", "secret/piped"]);
    insta::assert_snapshot!("day", day.text);
}

#[test]
fn what_goes_wrong_says_what_to_type_next() {
    let site = Site::new("sqlite");
    let (server, keys) = start(&site);
    let mut wrong = Transcript { site: &site, server: &server, token: "", text: String::new() };
    wrong.run(&["kv", "get", "secret/a"]);
    wrong.token = "kw.unknown";
    wrong.run(&["kv", "get", "secret/a"]);
    wrong.token = &keys.root_token;
    for arguments in [
        &["kv", "put", "secret/a"] as &[&str],
        &["kv", "put", "secret/a", "hunter2"],
        &["kv", "put", "secret/a", "a=@missing"],
        &["kv", "put", "secret/a", "a=-", "b=-"],
        &["kv", "get", ""],
        &["kv", "import", "missing.env", "secret/a"],
        &["kv", "export", "secret/none"],
        &["kv", "destroy", "secret/a"],
        &["frobnicate"],
        &["status", "--address", "ftp://x"],
        &["status", "--address", "http://127.0.0.1:1"],
        &["status", "--ca-cert", "missing.pem"],
        &["server", "--config", "missing.toml"],
    ] {
        wrong.run(arguments);
    }
    server.post("sys/seal", &keys.root_token, &serde_json::json!({}));
    wrong.run(&["kv", "get", "secret/a"]);
    wrong.run(&["status"]);
    insta::assert_snapshot!("wrong", wrong.text);
}

#[test]
fn help_names_every_task_of_the_day() {
    let site = Site::new("memory");
    let help = |arguments: &[&str]| String::from_utf8(site.run(arguments).stdout).unwrap();
    insta::assert_snapshot!("help", help(&["--help"]).replace("[default: table]", ""));
    insta::assert_snapshot!("help-kv", help(&["kv", "--help"]));
}

#[test]
fn export_is_what_import_takes_back_digit_for_digit() {
    let site = Site::new("sqlite");
    let (server, keys) = start(&site);
    let run = |arguments: &[&str]| {
        let output = server.cli(&site, &keys.root_token, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    fs::write(
        site.path("in.json"),
        r#"{"a":{"n":12345678901234567890123},"b/c d/ü":{"x":"y\n","z":[1.10]},"b+&=%":{"e":""},"gone":{"x":1}}"#,
    )
    .unwrap();
    run(&["kv", "import", "in.json", "secret/team"]);
    run(&["kv", "delete", "secret/team/gone"]);
    let said = run(&["kv", "export", "secret/team", "--output", "out.json"]);
    assert!(said.contains("3 secrets") && said.contains("secret/team/gone"), "{said}");
    let mode = fs::metadata(site.path("out.json")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    run(&["kv", "import", "out.json", "secret/copy"]);
    let (one, other) = (run(&["kv", "export", "secret/team"]), run(&["kv", "export", "secret/copy"]));
    assert_eq!(one, other);
    assert!(one.contains("12345678901234567890123") && one.contains("[1.10]"), "{one}");
}

#[test]
fn folder_of_more_names_than_a_page_is_exported_whole() {
    let site = Site::new("memory");
    let (server, keys) = start(&site);
    let many: Vec<String> = (0..2_100).map(|n| format!("\"s{n:04}\":{{\"n\":{n}}}")).collect();
    fs::write(site.path("many.json"), format!("{{{}}}", many.join(","))).unwrap();
    let run = |arguments: &[&str]| server.cli(&site, &keys.root_token, arguments);
    assert!(run(&["kv", "import", "many.json", "secret/many"]).status.success());
    let listed = run(&["kv", "list", "secret/many"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 2_100);
    let exported = run(&["kv", "export", "secret/many"]);
    let exported: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!(exported.len(), 2_100);
    // A cubbyhole answers with all names, however many are asked for.
    fs::write(site.path("page.json"), format!("{{{}}}", many[..1_000].join(","))).unwrap();
    assert!(run(&["kv", "import", "page.json", "cubbyhole/page"]).status.success());
    let listed = run(&["kv", "list", "cubbyhole/page"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 1_000);
    // Output that is no terminal gets neither progress bars nor colours.
    assert!(run(&["kv", "import", "many.json", "secret/again"]).stderr.is_empty());
    assert!(!run(&["mount", "list"]).stdout.contains(&0x1b));
}

#[test]
fn completions_and_manual_pages_are_made_without_a_server() {
    let site = Site::new("memory");
    for shell in ["bash", "zsh", "fish"] {
        let output = site.run(&["completions", shell]);
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("undelete"),
            "{shell}"
        );
    }
    let output = site.run(&["man", "man1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(site.path("man1").join(Path::new("keyway-kv-put.1"))).unwrap();
    assert!(page.contains("cas"), "{page}");
}

/// The command line against an address, with its standard output going elsewhere.
fn keyway(address: &str, token: &str, arguments: &[&str], out: Stdio) -> Output {
    Command::new(built().join("keyway"))
        .args(arguments)
        .env("KEYWAY_ADDR", address)
        .env("KEYWAY_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

#[test]
fn values_come_out_byte_for_byte_and_a_full_disk_is_a_failure() {
    let site = Site::new("memory");
    let (server, keys) = start(&site);
    let odd = "\u{1b}[31mred\u{7f}\u{0}\r\u{8}end";
    let body = serde_json::json!({ "data": { "odd": odd } });
    assert_eq!(server.post("secret/data/odd", &keys.root_token, &body).status, 200);
    let get = ["kv", "get", "secret/odd", "--field", "odd"];
    let read = keyway(&server.address, &keys.root_token, &get, Stdio::piped());
    assert_eq!(read.stdout, odd.as_bytes());
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let lost = keyway(&server.address, &keys.root_token, &["kv", "export", "secret"], Stdio::from(full));
    let said = String::from_utf8_lossy(&lost.stderr);
    assert!(
        lost.status.code() == Some(1) && said.contains("standard output") && !said.contains("red"),
        "{said}"
    );
}
