//! Runs the suite on a library, and writes its reports.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use keyway_conformance::{
    Effort, Finding, Found, Library, Options, Program, Report, Suite, SuiteError, suite::child,
};
use keyway_loader::{Chain, Fix, discover::plugin_name, loader::StageFailure};
use serde_json::{Value, json};

use crate::settings;
use keyway_terminal::{
    Failure,
    files::{read, write_whole},
    output::{Format, pairs, print, say},
};

/// The argument by which this program knows that it is to run one case.
pub(crate) const CHILD_COMMAND: &str = "conform-plugin";

/// Puts a plugin file through the conformance suite: each promise that it makes is tested in a separate
/// process. Exit codes: 0 kept, 1 error, 2 usage, 4 not found, 5 a promise is broken, or with --strict unproved.
#[derive(Debug, Parser)]
#[command(name = "keyway-conform", version)]
pub(crate) struct Arguments {
    /// The library file. Its code is run, whatever the trust policy.
    #[arg(required_unless_present = "list")]
    file: Option<PathBuf>,
    /// The backend's settings as JSON; @FILE reads them from a file, @- from standard input: use these where
    /// they hold a password, which other users see on a command line. Give it a separate store: the suite
    /// removes everything in it. Relative paths lie in a temporary directory of each case; to test a certain
    /// disk, give an absolute one.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    config: String,
    /// Only cases whose name contains this. May be repeated.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// The seed of all random choices: the same one makes the same choices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Runs one case again, as a failure names it: the same random choices, though not the same times.
    #[arg(long, value_name = "SEED:CASE", conflicts_with_all = ["only", "seed"])]
    reproduce: Option<String>,
    /// Write a timeline of all calls, with keys and without values, for <https://ui.perfetto.dev>.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// All rounds: a quarter of an hour and more, rather than a minute.
    #[arg(long)]
    full: bool,
    /// A promise that could not be tested here is a failure, too.
    #[arg(long)]
    strict: bool,
    /// How long each case may take; without it, what the case says: a minute or more. With much less, a sound
    /// backend that is waited for may look as if it hung.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: Option<u64>,
    /// Remove everything that is in the store before the run begins; without it, a store with data is refused.
    #[arg(long)]
    clear: bool,
    /// Print the report as JSON: the same as --format json.
    #[arg(long)]
    json: bool,
    /// How to print the report.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Also write the report in JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also keep the report: as FILE, or else next to the library, with .conformance.json after its name.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    report: Option<Option<PathBuf>>,
    /// List all cases with what they test, and run none.
    #[arg(long)]
    list: bool,
}

/// Runs one case in this process.
pub(crate) fn child_main() -> ExitCode {
    child::main(Library::load)
}

pub(crate) fn conform(arguments: &Arguments) -> Result<(), Failure> {
    let format = if arguments.json { Format::Json } else { arguments.format };
    let mut options = Options {
        only: arguments.only.clone(),
        exactly: None,
        seed: arguments.seed,
        effort: if arguments.full { Effort::Full } else { Effort::Short },
        found: if arguments.clear { Found::Removed } else { Found::Refused },
        deadline: arguments.deadline.map(Duration::from_secs),
        is_strict: arguments.strict,
        trace: arguments.trace.clone(),
    };
    if let Some(named) = &arguments.reproduce {
        options = options.reproduce(named).map_err(Failure::Usage)?;
    }
    let file = match &arguments.file {
        Some(file) if !arguments.list => file,
        _ => return list(&options, format),
    };
    let config = settings::read(&arguments.config)?;
    let (described, _staging) = read(file)?;
    let name = plugin_name(file).unwrap_or_else(|| described.descriptor.name.clone());
    keyway_loader::check::check(&described, &name, &[]).map_err(|error| {
        let failure = StageFailure::Check(error);
        Failure::Refused(format!("{failure}; {}", failure.fix()))
    })?;
    let program = Program::this(vec![CHILD_COMMAND.into()])
        .map_err(|error| Failure::Other(format!("find this program's own file: {error}")))?;
    let kept = arguments.report.as_ref().map(|path| path.clone().unwrap_or_else(|| beside(file)));
    let read = [Some(file.as_path()), arguments.config.strip_prefix('@').map(Path::new)];
    let written: Vec<&PathBuf> = [&arguments.junit, &kept, &arguments.trace].into_iter().flatten().collect();
    for (number, path) in written.iter().enumerate() {
        can_be_written(path, &read)?;
        if written.iter().skip(number + 1).any(|other| other == path) {
            return Err(Failure::Usage(format!("two reports name the file {}", path.display())));
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let subject = Library::new(&described.staged, config).to_value().map_err(Failure::Other)?;
    let suite = Suite { program, subject, options, stop: Arc::clone(&stop) };
    let (report, traced) = match suite.run(|finding| tell(finding, format)) {
        Ok(report) => (report, Ok(())),
        Err(SuiteError::Trace { path, source, report }) => {
            (*report, Err(Failure::file("write the timeline to", &path, &source)))
        }
        Err(error) => return Err(failed(error)),
    };
    print(format, &report, || format!("\n{}{}\n", unproved(&report, arguments), report.summary()))?;
    let written = write_reports(&report, arguments.junit.as_deref(), kept.as_deref());
    if let (Some(path), Ok(()), Format::Table) = (&kept, &written, format) {
        say(&format!("report: {}\n", path.display()))?;
    }
    // A broken promise is reported first, even if the report files cannot be written.
    verdict(&report, file, arguments).and(written).and(traced)?;
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::Other("the run was stopped before its end".to_owned()));
    }
    Ok(())
}

/// Before the work, and not after it: a report takes the place of an earlier one, and of nothing else.
fn can_be_written(path: &Path, read: &[Option<&Path>]) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = fs::read_dir(directory) {
        return Err(Failure::file("write a report into", directory, &error));
    }
    let refused =
        |why: &str| Err(Failure::Usage(format!("a report cannot be written to {}: {why}", path.display())));
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return refused("it is there, and no ordinary file"),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::file("write a report to", path, &error)),
    }
    let same = |other: &Path| fs::canonicalize(other).ok() == fs::canonicalize(path).ok();
    if read.iter().flatten().any(|other| same(other)) { refused("the run reads it") } else { Ok(()) }
}

fn write_reports(report: &Report, junit: Option<&Path>, kept: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = junit {
        write_whole(path, report.to_junit().map_err(Failure::Other)?.as_bytes())?;
    }
    kept.map_or(Ok(()), |path| write_whole(path, report.to_json().as_bytes()))
}

/// The first Ctrl-C ends the run in order: cases are stopped, files removed, and what was found is told. The
/// second ends it.
pub(crate) fn stop_on_signals(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let stop = Arc::clone(stop);
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            // As a shell says it of SIGINT; cases end with this process.
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::Other(format!("listen to signals: {error}")))?;
    Ok(())
}

/// As soon as it is known: the whole takes minutes.
fn tell(finding: &Finding, format: Format) {
    if format == Format::Table {
        // If standard output is closed, the exit code still tells the result.
        let _unheard = say(&format!("{finding}\n"));
    }
}

fn verdict(report: &Report, file: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let broken: Vec<&str> = report.broken().map(|finding| finding.name.as_str()).collect();
    let Some(first) = broken.first() else {
        let unproved = report.unproved().count();
        if unproved > 0 && arguments.strict {
            let message =
                format!("{} not be tested here, and --strict demands all", promises_could(unproved));
            return Err(Failure::Refused(message));
        }
        return Ok(());
    };
    let (count, file) = (broken.len(), file.display());
    // Settings that stand on the command line may hold a password; a file's name does not.
    let config = match arguments.config.as_str() {
        "{}" => String::new(),
        named if named.starts_with('@') => format!(" --config {named}"),
        _ => " --config …".to_owned(),
    };
    let deadline = arguments.deadline.map(|seconds| format!(" --deadline {seconds}")).unwrap_or_default();
    let promises = if count == 1 { "1 promise is".to_owned() } else { format!("{count} promises are") };
    let full = if arguments.full { " --full" } else { "" };
    Err(Failure::Refused(format!(
        "{promises} broken; to see one again, with a timeline of its calls: \
         keyway plugin conform {file}{config} --reproduce {}:{first}{full}{deadline} --trace trace.json",
        report.seed
    )))
}

/// What a reader must not take for kept, once more at the end. Each has its reason in its line above.
fn unproved(report: &Report, arguments: &Arguments) -> String {
    let names: Vec<&str> = report.unproved().map(|finding| finding.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    let hint = if arguments.strict { "" } else { "; --strict makes this a failure" };
    format!(
        "NOT TESTED: {} not be tested here{hint}:\n  {}\n",
        promises_could(names.len()),
        names.join("\n  ")
    )
}

fn promises_could(count: usize) -> String {
    if count == 1 {
        "1 promise that the backend makes could".to_owned()
    } else {
        format!("{count} promises that the backend makes could")
    }
}

fn list(options: &Options, format: Format) -> Result<(), Failure> {
    let cases = options.select().map_err(|word| failed(SuiteError::NoSuchCase { word }))?;
    let json: Vec<Value> =
        cases.iter().map(|case| json!({ "name": case.name, "promise": case.promise })).collect();
    print(format, &json, || {
        pairs(&cases.iter().map(|case| (case.name, case.promise.to_owned())).collect::<Vec<_>>())
    })
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".conformance.json");
    file.with_file_name(name)
}

fn failed(error: SuiteError) -> Failure {
    let message = Chain(&error).to_string();
    match error {
        SuiteError::NoSuchCase { .. } => Failure::Usage(message),
        SuiteError::NotEmpty { .. }
        | SuiteError::Trace { .. }
        | SuiteError::TraceHere
        | SuiteError::Directory { .. }
        | SuiteError::Start { .. }
        | SuiteError::Open { .. } => Failure::Other(message),
    }
}
