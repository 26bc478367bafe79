//! Sequences of requests by area: status, headers and bodies are compared after each.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use crate::{
    bao,
    differences::{Matched, Seen},
    pair::Pair,
    request::Reply,
    run::Run,
    table::{Case, Step, parse},
};

/// How many tables run at the same time.
const AT_ONCE: usize = 3;

#[test]
fn answers_of_tables_differ_only_as_intended() {
    let Some(program) = bao::program() else { return };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tables");
    let wanted = std::env::var("KEYWAY_PARITY_TABLE").ok();
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|file| {
        wanted.as_ref().is_none_or(|wanted| file.file_stem().is_some_and(|stem| stem == wanted.as_str()))
    });
    assert!(!files.is_empty(), "there are no tables");
    let (matched, left, problems) = (Matched::default(), Mutex::new(files), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(file) = { left.lock().unwrap().pop() } {
                    let found = run(&program, &file, &matched);
                    problems.lock().unwrap().extend(found);
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{} problems:\n\n{}", problems.len(), problems.join("\n"));
    if wanted.is_none() {
        let stale = matched.stale(Seen::Tables);
        assert!(stale.is_empty(), "lines of differences.toml that match no difference any more: {stale:#?}");
    }
}

/// The problems of a table.
fn run(program: &Path, file: &Path, matched: &Matched) -> Vec<String> {
    let pair = Pair::start(program);
    let mut problems = Vec::new();
    for case in parse(&fs::read_to_string(file).unwrap()) {
        let found = run_case(&pair, &case, matched);
        let at = file.file_name().unwrap().to_string_lossy();
        problems.extend(
            found.into_iter().map(|(number, text)| format!("{at}:{number} ({}): {text}", case.title)),
        );
    }
    problems
}

/// The problems of a case, with the numbers of their lines.
fn run_case(pair: &Pair, case: &Case, matched: &Matched) -> Vec<(usize, String)> {
    let (mut run, mut problems) = (Run::new(pair, &[]), Vec::new());
    for step in &case.steps {
        match step {
            Step::Wait(time) => thread::sleep(*time),
            Step::Send(line) => {
                let Some(outcome) = run.send(line, matched) else {
                    let text = format!(
                        "{} {}: not sent, because a value it needs is missing",
                        line.method, line.path
                    );
                    problems.push((line.number, text));
                    continue;
                };
                let Reply { status, body, .. } = &outcome.replies[0];
                if (*status >= 400) != line.refused {
                    let text = format!(
                        "{} {}: the table is wrong: OpenBao answers {status} {body}",
                        line.method, line.path
                    );
                    problems.push((line.number, text));
                }
                problems.extend(outcome.problems.into_iter().map(|text| (line.number, text)));
            }
        }
    }
    problems
}
