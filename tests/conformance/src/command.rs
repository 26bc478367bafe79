//! A whole test program around the suite, for a backend's own tests.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;

use crate::{Effort, Options, Program, Subject, Suite, suite::child};

/// The argument by which the program knows that it is to run one case.
const CHILD: &str = "keyway-conformance-child";

/// The variable that names a directory in which each subject's report is kept, as JSON.
const REPORTS: &str = "KEYWAY_CONFORMANCE_REPORTS";

const USAGE: &str = "usage: [OPTIONS] [WORD ...]

  WORD          only cases whose name contains one of these
  --seed N      the random numbers' seed (default 0)
  --full        all rounds: hours rather than minutes
  --list        the names of all cases

KEYWAY_CONFORMANCE_REPORTS=DIRECTORY in the environment keeps each subject's report there, as JSON.
";

/// A subject by its name.
pub type Named = (&'static str, fn() -> Result<Subject, String>);

/// The `main` of a test program with `harness = false`: runs the suite on each subject, and fails where a promise is broken.
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
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        return child::main(|order| {
            let found = subjects.iter().find(|(name, _)| order.as_str() == Some(name));
            found.ok_or_else(|| format!("there is no subject {order}")).and_then(|(_, subject)| subject())
        });
    }
    match parse(&arguments) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(options)) => run(subjects, &options, env::var_os(REPORTS).map(PathBuf::from).as_deref()),
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// None where nothing is to be run.
fn parse(arguments: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--full" => options.effort = Effort::Full,
            "--seed" => {
                let seed = rest.next().and_then(|seed| seed.parse().ok());
                options.seed = seed.ok_or("--seed wants a number")?;
            }
            "--list" => {
                for case in crate::cases() {
                    println!("{}: {}", case.name, case.promise);
                }
                return Ok(None);
            }
            // What `cargo test -- --nocapture` and the like give to every test program.
            "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" | "--include-ignored" => {}
            flag if flag.starts_with('-') => return Err(format!("{flag} is not an option")),
            word => options.only.push(word.to_owned()),
        }
    }
    Ok(Some(options))
}

fn run(subjects: &[Named], options: &Options, reports: Option<&Path>) -> ExitCode {
    // A word that is meant for other test programs of the workspace.
    if let Err(word) = options.select() {
        println!("no case has {word:?} in its name");
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
        let suite = Suite { program: program.clone(), subject: Value::from(*name), options: options.clone() };
        match suite.run(|finding| println!("{finding}")) {
            Ok(report) => {
                println!("{}", report.summary());
                if let Some(directory) = reports
                    && let Err(error) = fs::write(directory.join(format!("{name}.json")), report.to_json())
                {
                    eprintln!("keep the report in {}: {error}", directory.display());
                    code = ExitCode::FAILURE;
                }
                if report.broken().next().is_some() {
                    code = ExitCode::FAILURE;
                }
            }
            Err(error) => {
                eprintln!("{name}: {}", keyway_loader::Chain(&error));
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
