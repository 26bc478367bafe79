//! `docs/plugin-guide.md`, typed by a program as it stands there, by an author who has an empty directory.

use std::{env, fs, net::TcpListener, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    process::{build_workspace, root, target_dir},
    template::Desk,
};

/// The command after which an author has a plugin that conforms.
const CONFORMS: &str = "keyway plugin conform";
/// What the script prints before the seconds so far and the command that has ended.
const MARK: &str = "@@ ";
/// What must have been said at the end.
const SAID: [&str; 4] =
    ["promises kept, 0 broken", "correct-horse", "Now                      my-store 0.1.1", "is signed"];

/// Follows the guide. `is_cold` builds all dependencies, as on an author's first day; otherwise an earlier run has.
pub(crate) fn follow(is_cold: bool) -> Result<()> {
    build_workspace()?;
    let desk = Desk::new("guide")?;
    let guide = fs::read_to_string(root().join("docs/plugin-guide.md")).context("read the guide")?;
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("find a port")?;
    let script = script(&guide.replace("127.0.0.1:8200", &address.to_string()), &address.port().to_string())?;
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(desk.path()).env_remove("CARGO_TARGET_DIR");
    let path = env::var("PATH").context("read PATH")?;
    bash.env("KEYWAY", root()).env("PATH", format!("{}:{path}", target_dir().join("debug").display()));
    if !is_cold {
        // What the workspace has built, with its versions and its profile.
        bash.env("WARM", "yes").env("CARGO_BUILD_BUILD_DIR", target_dir());
        bash.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    }
    let output = bash.output().context("start bash")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("the guide fails:\n{said}{errors}");
    }
    for expected in SAID {
        ensure!(
            said.contains(expected),
            "to an author who follows the guide, nothing says {expected:?}:\n{said}{errors}"
        );
    }
    let ended = said.lines().filter_map(|line| line.strip_prefix(MARK)?.split_once(' '));
    let ended: Vec<(&str, &str)> = ended.collect();
    let conforms = ended.iter().find(|(_, line)| line.starts_with(CONFORMS)).context("nothing conforms")?;
    let last = ended.last().context("nothing was typed")?;
    let kind = if is_cold { "cold" } else { "warm" };
    println!("the guide, {kind}: a plugin that conforms after {} s, its end after {} s", conforms.0, last.0);
    Ok(())
}

/// What the guide tells its reader to type and to save, as one script.
fn script(guide: &str, port: &str) -> Result<String> {
    let mut script =
        "set -eo pipefail\ndesk=$PWD\ntrap '[ -z \"$server\" ] || kill $server' EXIT\n".to_owned();
    let (mut is_run, mut file) = (true, None);
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("<!-- not run:") {
            is_run = false;
        } else if let Some(rest) = line.strip_prefix("<!-- file: ") {
            file = rest.strip_suffix(" -->");
        } else if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if let Some(file) = file.take() {
                script +=
                    &format!("mkdir -p $(dirname {file})\ncat >{file} <<'END'\n{}\nEND\n", text.join("\n"));
            } else if language == "console" && is_run {
                for line in text {
                    let typed = line.strip_prefix("$ ").with_context(|| format!("not a command: {line}"))?;
                    script += &command(typed, port);
                }
            }
            is_run = true;
        }
    }
    Ok(script)
}

/// A line that is typed, and what a reader also does.
fn command(typed: &str, port: &str) -> String {
    let also = if typed.starts_with("keyway plugin new ") {
        "[ -z \"$WARM\" ] || cp \"$KEYWAY/Cargo.lock\" my-store".to_owned()
    } else if typed.ends_with('&') {
        format!(
            "server=$!\nuntil (: >/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do kill -0 $server; sleep 0.1; done"
        )
    } else {
        String::new()
    };
    let line = if typed.starts_with("keyway init") {
        format!("{typed} | tee \"$desk/keys\"")
    } else if typed.starts_with("cargo rustc --release ") {
        // Nothing else here builds a release, and no one measures this one.
        format!(
            "if [ -z \"$WARM\" ]; then {typed}; else cargo rustc --lib --crate-type cdylib; ln -s debug target/release; fi"
        )
    } else if typed == "keyway unseal" {
        "sed -n 's/^Unseal share.* //p' \"$desk/keys\" | keyway unseal".to_owned()
    } else if typed.starts_with("export KEYWAY_TOKEN=") {
        "export KEYWAY_TOKEN=$(sed -n 's/^Root token.* //p' \"$desk/keys\")".to_owned()
    } else {
        typed.to_owned()
    };
    format!("{line}\n{also}\necho \"{MARK}$SECONDS\" '{}'\n", typed.replace('\'', ""))
}
