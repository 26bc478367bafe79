//! Runs the test programs of the workspace, several at a time: many of them wait more than they compute.

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::{
    process::{cargo, output, run, target_dir, without_own_package},
    skipped,
};

/// Programs that take long, which begin first: with one of them last, the others' processors would wait for it.
const LONG: [&str; 6] = ["parity", "swap", "postgres", "hostile", "evolution", "conformance"];

/// A test program.
struct Program {
    /// Its package and target.
    name: String,
    executable: PathBuf,
    /// The directory of its package, in which it runs.
    directory: PathBuf,
}

/// What became of a program.
struct Ended {
    program: Program,
    took: Duration,
    /// Why it did not start, if it did not.
    output: std::result::Result<Output, String>,
}

/// Runs all test programs and examples in documents. All of them run, whichever fail.
pub(crate) fn test(environment: &[(&str, OsString)]) -> Result<()> {
    let programs = programs()?;
    let at_a_time = thread::available_parallelism().map_or(2, usize::from).max(2);
    println!("{} test programs, {at_a_time} at a time", programs.len());
    let libraries = libraries()?;
    let (waiting, ended) = (Mutex::new(VecDeque::from(programs)), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some(program) = next else { return };
                        println!("begins           {}", program.name);
                        let done = run_one(program, environment, &libraries);
                        tell(&done);
                        ended.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a thread that runs tests panicked")))
    })?;
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let documents =
        run(cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]).envs(environment.iter().cloned()));
    let failed: Vec<&Ended> = ended.iter().filter(|ended| !ended.has_passed()).collect();
    if !failed.is_empty() {
        let names: Vec<&str> = failed.iter().map(|ended| ended.program.name.as_str()).collect();
        bail!("{} test programs failed: {}", names.len(), names.join(", "));
    }
    documents
}

/// The test programs, those that take long first.
fn programs() -> Result<Vec<Program>> {
    let told =
        output(&mut cargo(&["test", "--workspace", "--no-run", "--quiet", "--message-format", "json"]))?;
    let mut programs = Vec::new();
    for line in told.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        let text = |path: &str| message.pointer(path).and_then(Value::as_str);
        let is_test = message.pointer("/profile/test") == Some(&Value::Bool(true));
        let (Some(executable), Some(manifest), Some(target)) =
            (text("/executable"), text("/manifest_path"), text("/target/name"))
        else {
            continue;
        };
        if !is_test {
            continue;
        }
        let directory = Path::new(manifest).parent().unwrap_or(Path::new(".")).to_owned();
        let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        programs.push(Program {
            name: format!("{package}/{target}"),
            executable: executable.into(),
            directory,
        });
    }
    let rank = |program: &Program| {
        let target = program.name.rsplit('/').next().unwrap_or_default();
        LONG.iter().position(|long| *long == target).unwrap_or(LONG.len())
    };
    programs.sort_by_key(rank);
    Ok(programs)
}

fn run_one(program: Program, environment: &[(&str, OsString)], libraries: &OsStr) -> Ended {
    let begun = Instant::now();
    let mut command = Command::new(&program.executable);
    without_own_package(&mut command);
    command.current_dir(&program.directory).envs(environment.iter().cloned());
    command.env("CARGO_MANIFEST_DIR", &program.directory).env("LD_LIBRARY_PATH", libraries);
    // Tests that are skipped say so, which passing tests otherwise keep for themselves.
    command.arg("--show-output");
    let output = command.output().map_err(|error| format!("start {}: {error}", program.executable.display()));
    Ended { program, took: begun.elapsed(), output }
}

/// Where the dynamic linker finds the libraries of the workspace.
fn libraries() -> Result<OsString> {
    let built = target_dir().join("debug");
    let mut paths = vec![built.join("deps"), built];
    paths.extend(env::var_os("LD_LIBRARY_PATH").iter().flat_map(env::split_paths));
    env::join_paths(paths).context("the search path of libraries")
}

impl Ended {
    fn has_passed(&self) -> bool {
        self.output.as_ref().is_ok_and(|output| output.status.success())
    }
}

/// One line for each program, and what it says of tests that were skipped.
fn tell(ended: &Ended) {
    let word = if ended.has_passed() { "ok" } else { "FAILED" };
    let text = |bytes: fn(&Output) -> &[u8]| {
        ended
            .output
            .as_ref()
            .map(|output| String::from_utf8_lossy(bytes(output)).into_owned())
            .unwrap_or_default()
    };
    let (out, errors) = (text(|output| &output.stdout), text(|output| &output.stderr));
    let summary = out.lines().rev().find_map(|line| line.strip_prefix("test result: ")).unwrap_or_default();
    let summary = summary.split(" finished in").next().unwrap_or_default().trim_end_matches(';');
    println!("{word:<7} {:>5.0} s  {:<34} {summary}", ended.took.as_secs_f64(), ended.program.name);
    // At once: the others may take long, or never end.
    match &ended.output {
        Ok(output) if !output.status.success() => {
            println!("\n==== {} failed with {} ====\n{out}{errors}", ended.program.name, output.status);
        }
        Ok(_) => {}
        Err(reason) => println!("\n==== {}: {reason} ====", ended.program.name),
    }
    // Many tests of one program often lack the same thing.
    let mut parts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, part) in out.lines().chain(errors.lines()).filter_map(|line| line.split_once("SKIPPED: ")) {
        *parts.entry(part).or_default() += 1;
    }
    for (part, tests) in parts {
        let line = format!("{part} ({tests} {})", if tests == 1 { "test" } else { "tests" });
        println!("        SKIPPED: {line}");
        skipped::note(&format!("{}: {line}", ended.program.name));
    }
}
