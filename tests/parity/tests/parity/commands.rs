//! The `bao` command line: the same commands against OpenBao and against Keyway; exit codes and standard
//! output are compared.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::Path,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{
    bao::{self, isolated},
    compare::{Difference, compare},
    differences::{Matched, Seen},
    names::{Names, is_random},
    pair::Pair,
    request::Reply,
};

/// A line of `commands.txt`: `[! ]ARGUMENTS [as TOKEN] [-> NAME=PLACE …]`; indented lines are standard input.
struct Command {
    number: usize,
    refused: bool,
    arguments: Vec<String>,
    token: Option<String>,
    input: String,
    keeps: Vec<(String, String)>,
}

/// What `bao secrets move` says if it was faster than the server.
const WAITING: &str = "Waiting for terminal status in migration";

#[test]
fn command_line_of_bao_is_served_alike() {
    let Some(program) = bao::program() else { return };
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("commands.txt")).unwrap();
    let (commands, matched) = (parse(&text), Matched::default());
    let mut run = Run {
        program: &program,
        pair: Pair::start(&program),
        home: tempfile::TempDir::new().unwrap(),
        names: Names::default(),
        kept: [HashMap::new(), HashMap::new()],
    };
    let problems: Vec<String> = commands.iter().flat_map(|command| run.command(command, &matched)).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let stale = matched.stale(Seen::Clients);
    assert!(stale.is_empty(), "lines of differences.toml that match no difference any more: {stale:#?}");
}

fn parse(text: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(input) = line.strip_prefix("    ") {
            let last = commands.last_mut().expect("a command comes before its input");
            last.input.push_str(input);
            last.input.push('\n');
            continue;
        }
        let (line, refused) = line.strip_prefix("! ").map_or((line, false), |line| (line, true));
        let (line, keeps) = line.split_once(" -> ").unwrap_or((line, ""));
        let (line, token) = match line.rsplit_once(" as ") {
            Some((line, token)) => (line, Some(token.to_owned())),
            None => (line, None),
        };
        let keeps = keeps.split_whitespace().filter_map(|keep| keep.split_once('='));
        commands.push(Command {
            number: index + 1,
            refused,
            arguments: words(line),
            token,
            input: String::new(),
            keeps: keeps.map(|(name, place)| (name.to_owned(), place.to_owned())).collect(),
        });
    }
    commands
}

/// Words, of which those with blanks stand between single quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

struct Run<'p> {
    program: &'p Path,
    pair: Pair,
    home: tempfile::TempDir,
    names: Names,
    kept: [HashMap<String, String>; 2],
}

struct Said {
    code: i32,
    output: String,
    errors: String,
}

impl Run<'_> {
    /// The problems of a command.
    fn command(&mut self, command: &Command, matched: &Matched) -> Vec<String> {
        let shown = command.arguments.join(" ");
        let at = |text: String| format!("commands.txt:{}: bao {shown} {text}", command.number);
        // Both run at the same time.
        let mut said = [0, 1].map(|server| self.start(server, command)).map(finish);
        for (said, directory) in said.iter_mut().zip(&self.pair.directories) {
            said.output = said.output.replace(directory, "<directory>");
        }
        let mut problems = Vec::new();
        if (said[0].code != 0) != command.refused {
            problems.push(at(format!("is wrong: OpenBao exits with {}: {}", said[0].code, said[0].errors)));
        }
        let found = self.differences(&said);
        let is_told = found.iter().any(|difference| difference.place == "exit");
        let found = matched.unintended(&format!("bao {shown}"), found);
        if !found.is_empty() && is_told {
            let errors = said.each_ref().map(|said| said.errors.chars().take(500).collect::<String>());
            problems.push(format!("  openbao: {}\n  keyway:  {}", errors[0], errors[1]));
        }
        problems.extend(found.into_iter().map(|difference| at(difference.to_string())));
        for (name, place) in &command.keeps {
            for (kept, said) in self.kept.iter_mut().zip(&said) {
                let body: Value = serde_json::from_str(&said.output).unwrap_or_default();
                let value =
                    body.pointer(&format!("/{}", place.replace('.', "/"))).cloned().unwrap_or_default();
                kept.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
            }
        }
        problems
    }

    fn start(&self, server: usize, command: &Command) -> Child {
        let home = self.home.path().join(server.to_string());
        fs::create_dir_all(&home).unwrap();
        let mut process = isolated(self.program, &home);
        let token = command
            .token
            .as_ref()
            .map_or(self.pair.roots[server].clone(), |token| self.filled(server, token));
        if token != "-" {
            process.env("BAO_TOKEN", token);
        }
        process.env("BAO_ADDR", &self.pair.clients[server].address).env("BAO_MAX_RETRIES", "0");
        process.args(command.arguments.iter().map(|word| self.filled(server, word)));
        let mut child = process
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run bao");
        // A command that fails at once reads nothing.
        let _unread =
            child.stdin.take().expect("a pipe").write_all(self.filled(server, &command.input).as_bytes());
        child
    }

    fn filled(&self, server: usize, text: &str) -> String {
        let text =
            text.replace("$root", &self.pair.roots[server]).replace("$share", &self.pair.shares[server]);
        let text = text.replace("$dir", &self.pair.directories[server]);
        // The longest name first: one may begin with another.
        let mut kept: Vec<_> = self.kept[server].iter().collect();
        kept.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        kept.into_iter().fold(text, |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    fn differences(&mut self, said: &[Said; 2]) -> Vec<Difference> {
        if said[0].code != said[1].code {
            let values = said.each_ref().map(|said| said.code.to_string());
            return vec![Difference { place: "exit".to_owned(), values }];
        }
        let mut found = Vec::new();
        let parsed = said.each_ref().map(|said| serde_json::from_str::<Value>(&said.output));
        if let [Ok(bao), Ok(keyway)] = parsed {
            let reply = |body| Reply { status: 200, headers: BTreeMap::new(), body };
            found.extend(compare([&reply(bao), &reply(keyway)], &mut self.names));
            return found;
        }
        let lines = said.each_ref().map(|said| {
            let lines = said.output.lines().filter(|line| !line.starts_with(WAITING));
            lines.map(normal).collect::<Vec<String>>()
        });
        for server in [0, 1] {
            let mut others = lines[1 - server].clone();
            for line in &lines[server] {
                if let Some(at) = others.iter().position(|other| other == line) {
                    others.remove(at);
                    continue;
                }
                let mut values = ["-".to_owned(), "-".to_owned()];
                values[server].clone_from(line);
                found.push(Difference { place: "line".to_owned(), values });
            }
        }
        found
    }
}

fn finish(child: Child) -> Said {
    let output = child.wait_with_output().expect("wait for bao");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code().unwrap_or(-1),
        output: text(&output.stdout),
        errors: text(&output.stderr),
    }
}

/// A line with names in place of random or changing values, and one blank between its words.
fn normal(line: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', '.', ':', ']']);
        if is_random(bare) {
            "<id>".to_owned()
        } else if bare.parse::<jiff::Timestamp>().is_ok() || bare.parse().is_ok_and(is_recent) {
            "<time>".to_owned()
        } else if is_duration(bare) {
            "<duration>".to_owned()
        } else {
            word.to_owned()
        }
    };
    let rules = |word: &&str| !word.chars().all(|letter| letter == '-' || letter == '=');
    line.split_whitespace().filter(rules).map(word).collect::<Vec<_>>().join(" ")
}

/// Seconds since 1970 of a time in this run: two servers need not do the same within one second.
fn is_recent(seconds: i64) -> bool {
    (jiff::Timestamp::now().as_second() - seconds).abs() < 3_600
}

/// `1h` or `767h59m58s`, whose seconds pass.
fn is_duration(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_digit())
        && word.ends_with(['h', 'm', 's'])
        && word.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte))
}
