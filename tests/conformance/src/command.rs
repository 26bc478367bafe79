//! A whole test program around the suite, for a backend's own tests.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use crate::{Effort, Found, Options, Program, Subject, Suite, SuiteError, suite::child};

/// The argument by which the program knows that it is to run one case.
const CHILD: &str = "keyway-conformance-child";

/// The variable that names a directory in which each subject's report is kept, as JSON.
const REPORTS: &str = "KEYWAY_CONFORMANCE_REPORTS";

/// Flags of the standard library's test programs that mean nothing here.
const IGNORED: [&str; 12] = [
    "--nocapture",
    "--no-capture",
    "--show-output",
    "--quiet",
    "-q",
    "--include-ignored",
    "--exact",
    "--test-threads",
    "--skip",
    "--color",
    "--report-time",
    "--ensure-time",
];

const USAGE: &str = "usage: [OPTIONS] [WORD ...]

  WORD          only cases whose name contains one of these; also --only WORD
  --seed N      the random numbers' seed (default 0)
  --full        all rounds: a quarter of an hour and more, rather than a minute
  --strict      a promise that could not be tested here is a failure, too
  --deadline N  how long each case may take, in seconds
  --clear       remove everything that is in the store before the run
  --reproduce SEED:CASE  one case again, with the same random choices
  --trace FILE  a timeline of all calls, which https://ui.perfetto.dev shows
  --list        the names of all cases

KEYWAY_CONFORMANCE_REPORTS=DIRECTORY in the environment keeps each subject's report there, as JSON.
";

/// A subject by its name.
pub type Named = (&'static str, fn() -> Result<Subject, String>);

/// The `main` of a test program with `harness = false`: runs the suite on each subject, and fails if a
/// promise is broken.
///
/// Started again by itself, it runs single cases.
///
/// ```no_run
/// # use keyway_memory_backend::Memory as Example;
/// use keyway_conformance::Subject;
///
/// fn example() -> Result<Subject, String> {
///     let plugin = keyway_loader::Plugin::linked(keyway_sdk::linked::<Example>());
///     Ok(Subject::new(plugin.map_err(|error| error.to_string())?, serde_json::json!({})))
/// }
///
/// fn main() -> std::process::ExitCode {
///     keyway_conformance::main(&[("example", example)])
/// }
/// ```
pub fn main(subjects: &[Named]) -> ExitCode {
    main_for(subjects, &[])
}

/// As [`main`], for a program with a few cases: they run if the command line names none.
pub fn main_for(subjects: &[Named], words: &[&str]) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        return child::main(|order| {
            let found = subjects.iter().find(|(name, _)| order.as_str() == Some(name));
            found.ok_or_else(|| format!("there is no subject {order}")).and_then(|(_, subject)| subject())
        });
    }
    match parse(&arguments) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(mut options)) => {
            if options.only.is_empty() && options.exactly.is_none() {
                options.only = words.iter().map(|word| (*word).to_owned()).collect();
            }
            run(subjects, &options, env::var_os(REPORTS).map(PathBuf::from).as_deref())
        }
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// None if there is nothing to run.
fn parse(arguments: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let (mut lists, mut has_seed, mut reproduced) = (None, false, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (flag, value) = argument.split_once('=').unwrap_or((argument, ""));
        match flag {
            "--full" => options.effort = Effort::Full,
            "--clear" => options.found = Found::Removed,
            "--strict" => options.is_strict = true,
            "--seed" => {
                options.seed = number(flag, value, &mut rest)?;
                has_seed = true;
            }
            "--only" => {
                options.only.push(text(value, &mut rest).to_owned());
            }
            "--deadline" => {
                let seconds = number(flag, value, &mut rest)?.max(1);
                options.deadline = Some(Duration::from_secs(seconds));
            }
            "--reproduce" => reproduced = Some(text(value, &mut rest)),
            "--trace" => options.trace = Some(text(value, &mut rest).into()),
            "--list" => lists = lists.or(Some(false)),
            // What `cargo test -- …` and other runners give to every test program.
            "--format" => {
                if text(value, &mut rest) == "terse" {
                    lists = lists.map(|_| true);
                }
            }
            "--test-threads" | "--skip" | "--color" | "--logfile" | "-Z" if value.is_empty() => {
                rest.next();
            }
            "--ignored" => return Ok(None),
            flag if flag.starts_with('-') && !IGNORED.contains(&flag) => {
                return Err(format!("{flag} is not an option"));
            }
            flag if flag.starts_with('-') => {}
            word => options.only.push(word.to_owned()),
        }
    }
    if options.trace.as_deref() == Some(Path::new("")) {
        return Err("--trace wants a file".to_owned());
    }
    if let Some(named) = reproduced {
        if has_seed || !options.only.is_empty() {
            return Err(
                "--reproduce names the seed and the case: --seed and words do not go with it".to_owned()
            );
        }
        options = options.reproduce(named)?;
    }
    let Some(is_terse) = lists else { return Ok(Some(options)) };
    for case in crate::cases() {
        if is_terse {
            println!("{}: test", case.name);
        } else {
            println!("{}: {}", case.name, case.promise);
        }
    }
    Ok(None)
}

/// The value of a flag: after an equals sign, or the next argument.
fn text<'a>(value: &'a str, rest: &mut impl Iterator<Item = &'a String>) -> &'a str {
    if value.is_empty() { rest.next().map_or("", String::as_str) } else { value }
}

fn number<'a>(
    flag: &str,
    value: &'a str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<u64, String> {
    text(value, rest).parse().map_err(|_| format!("{flag} wants a number"))
}

/// Of several subjects, each has a file with its name.
fn trace_of(name: &str, subjects: usize, options: &Options) -> Option<PathBuf> {
    let path = options.trace.clone()?;
    if subjects == 1 {
        return Some(path);
    }
    let mut file = path.file_name().unwrap_or_default().to_owned();
    file.push(format!(".{name}"));
    Some(path.with_file_name(file))
}

fn run(subjects: &[Named], options: &Options, reports: Option<&Path>) -> ExitCode {
    let mut options = options.clone();
    // Words may be meant for other test programs of the workspace.
    let given = options.only.len();
    options.only.retain(|word| crate::cases().iter().any(|case| case.name.contains(word.as_str())));
    if given > 0 && options.only.is_empty() {
        println!("no case has any of these words in its name");
        return ExitCode::SUCCESS;
    }
    let program = match Program::this(vec![CHILD.into()]) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("find this program: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for (name, _) in subjects {
        println!("\n{name}");
        let suite = Suite {
            program: program.clone(),
            subject: Value::from(*name),
            options: Options { trace: trace_of(name, subjects.len(), &options), ..options.clone() },
            stop: Arc::default(),
        };
        match suite.run(|finding| println!("{finding}")) {
            Ok(report) => {
                println!("{}", report.summary());
                if let Some(directory) = reports
                    && let Err(error) = fs::write(directory.join(format!("{name}.json")), report.to_json())
                {
                    eprintln!("keep the report in {}: {error}", directory.display());
                    code = ExitCode::FAILURE;
                }
                let not_tested = report.unproved().count();
                if not_tested > 0 {
                    println!("NOT TESTED: {not_tested} promises; the lines with UNPROVED say why");
                }
                if let Some(broken) = report.broken().next() {
                    println!(
                        "to see one again, with a timeline of its calls, run this program with --reproduce {}:{} --trace trace.json",
                        report.seed, broken.name
                    );
                }
                if report.fails(&options) {
                    code = ExitCode::FAILURE;
                }
            }
            Err(SuiteError::Trace { path, source, report }) => {
                println!("{}", report.summary());
                eprintln!("write the timeline to {}: {source}", path.display());
                code = ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("{name}: {}", keyway_loader::Chain(&error));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
