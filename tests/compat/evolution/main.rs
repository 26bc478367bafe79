//! A host of the interface version that it is built with: loads the plugins that are named, in this order,
//! into one process, and runs the conformance suite on each while all are open. Prints a line for each; exits
//! with 1 if a promise is broken.
#![expect(clippy::print_stdout, reason = "a command line speaks to its user")]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use futures_executor::block_on;
use keyway_conformance::{Options, Subject, run_here};
use keyway_loader::{
    BackendConfig, Generation, History, INTERFACE_VERSION, Loader, Origin, Policy, Prober, Requirement,
    SearchPath, Trust, configure::configure, discover::file_name, probe,
};
use serde_json::json;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "probe"
    {
        return probe::child::main(rest);
    }
    let libraries: Vec<PathBuf> = arguments.into_iter().map(PathBuf::from).collect();
    match run(&libraries) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("host {INTERFACE_VERSION}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(libraries: &[PathBuf]) -> Result<bool, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    // All are open before the first is used: images of several versions live side by side.
    let mut open = Vec::new();
    for (number, library) in libraries.iter().enumerate() {
        open.push(load(library, &directory.path().join(number.to_string()))?);
    }
    let mut is_good = true;
    // Every operation is called; what only takes time, rounds and ages, is the same in any version.
    let only = [
        "get_",
        "put_",
        "delete_",
        "key",
        "scan_",
        "apply_",
        "expired_record",
        "expiry_in",
        "backup_",
        "restore_",
        "transaction_sees",
        "transaction_scan",
        "transaction_rolled",
        "transaction_condition",
        "transaction_finished",
        "health_of",
        "extension",
        "upgrade",
        "shutdown_twice",
    ];
    let options = Options { only: only.map(str::to_owned).to_vec(), ..Options::default() };
    for generation in &open {
        let interface = &generation.plugin().descriptor().interface;
        let report = run_here(&Subject::new(generation.plugin().clone(), json!({})), &options)?;
        let (kept, failures) = (report.kept().count(), report.broken().count());
        println!("host {INTERFACE_VERSION}, plugin {interface}: {kept} passed, {failures} failed");
        if failures > 0 {
            println!("{report}");
            is_good = false;
        }
    }
    Ok(is_good)
}

fn load(library: &Path, directory: &Path) -> Result<Generation, Box<dyn Error>> {
    let plugins = directory.join("plugins");
    fs::create_dir_all(&plugins)?;
    fs::copy(library, plugins.join(file_name("memory")))?;
    let staging_dir = directory.join("staged");
    let loader = Loader {
        search: vec![SearchPath { directory: plugins, origin: Origin::Configuration }],
        // They come from the build that has started this.
        trust: Trust { policy: Some(Policy::Unchecked), ..Trust::default() },
        libraries: Vec::new(),
        prober: Some(Prober::this_program(vec!["probe".into()])?),
        history: History::new(staging_dir.clone()),
        staging_dir,
        host: INTERFACE_VERSION.to_owned(),
        most_images: usize::MAX,
    };
    let plugin = loader.load(&Requirement::parse("memory")?)?;
    let config = BackendConfig { name: "main".to_owned(), config: json!({}), data_dir: directory.to_owned() };
    Ok(block_on(configure(&plugin, &config))?)
}
