//! The time from discovery to an open backend, for 1 and for 100 plugins of 4 MiB each: with nothing of them
//! in memory, at a first start (which probes each in a child process), and at a later one. Each figure comes
//! from a separate process, because a library that is mapped once stays so; digests are computed every time.
//!
//! The baseline is the work that cannot be avoided: the same bytes read, hashed and written to another file.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, Digest, History, Loader, LockFile, Origin, Prober, Requirement, SearchPath, Trust, Wanted,
    describe::describe, discover::file_name, stage::stage,
};
use serde_json::json;

/// The size to which each plugin is filled up.
const BYTES: usize = 4 * 1024 * 1024;
/// Processes for each figure; the median counts.
const ROUNDS: usize = 5;
/// The word that makes this program one of them.
pub(crate) const CHILD: &str = "loading-child";
/// The word that makes it a probe.
pub(crate) const PROBE: &str = "probe";

/// The state before a start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Nothing is in memory, and nothing was ever probed.
    Cold,
    /// The files are in memory, and nothing was ever probed.
    First,
    /// The files are in memory, and the verdicts of probes are known.
    Later,
}

pub(crate) fn run() -> Result<()> {
    println!("loading: from discovery to open, {} MiB each, medians of {ROUNDS} processes", BYTES >> 20);
    for count in [1, 100] {
        let directory = tempfile::tempdir()?;
        make(directory.path(), count)?;
        let avoidable = median(|| baseline(directory.path(), count))?;
        println!("  {count:>3} plugins: read, hashed and written alone {:>8.1} ms", ms(avoidable));
        for (name, start) in
            [("cold, probed", Start::Cold), ("warm, probed", Start::First), ("warm, known", Start::Later)]
        {
            let time = median(|| start_once(directory.path(), count, start))?;
            let ratio = time.as_secs_f64() / avoidable.as_secs_f64();
            println!("  {count:>3} plugins: {name:<13} {:>8.1} ms  {ratio:.2} of that", ms(time));
        }
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn median(measure: impl Fn() -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    times.sort();
    times.get(ROUNDS / 2).copied().context("no rounds")
}

fn plugin_directory(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("plugins-{number:03}"))
}

/// Makes `count` plugins with different digests, all locked.
fn make(directory: &Path, count: usize) -> Result<()> {
    let program = env::current_exe()?;
    let mut library = fs::read(program.with_file_name(file_name("memory")))?;
    ensure!(library.len() < BYTES, "the plugin has {} bytes", library.len());
    let mut lock = LockFile::default();
    for number in 0..count {
        // The dynamic linker ignores bytes after the last section.
        library.resize(BYTES - 8, 0);
        library.extend((number as u64).to_le_bytes());
        let plugins = plugin_directory(directory, number);
        fs::create_dir_all(&plugins)?;
        let file = plugins.join(file_name("memory"));
        fs::write(&file, &library)?;
        library.truncate(BYTES - 8);
        let mut other = LockFile::default();
        other.insert(&describe(stage(&file, &directory.join("locking"))?)?);
        lock.plugin.extend(other.plugin);
    }
    fs::write(directory.join("keyway.lock"), lock.to_text())?;
    Ok(())
}

fn baseline(directory: &Path, count: usize) -> Result<Duration> {
    let to = tempfile::tempdir_in(directory)?;
    let begun = Instant::now();
    for number in 0..count {
        let bytes = fs::read(plugin_directory(directory, number).join(file_name("memory")))?;
        let digest = Digest::of(&bytes);
        fs::write(to.path().join(digest.to_string()), bytes)?;
    }
    Ok(begun.elapsed())
}

fn start_once(directory: &Path, count: usize, start: Start) -> Result<Duration> {
    let staged = directory.join("staged");
    if start != Start::Later && staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    if start == Start::Cold {
        forget(directory, count)?;
    }
    let output =
        Command::new(env::current_exe()?).arg(CHILD).arg(directory).arg(count.to_string()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let micros: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Duration::from_micros(micros))
}

/// Asks the system to drop what it has in memory of the files.
fn forget(directory: &Path, count: usize) -> Result<()> {
    for number in 0..count {
        let file = fs::File::open(plugin_directory(directory, number).join(file_name("memory")))?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// One start: prints its microseconds.
pub(crate) fn child(arguments: &[String]) -> Result<()> {
    let [directory, count] = arguments else { anyhow::bail!("a directory and a number are needed") };
    let (directory, count): (PathBuf, usize) = (directory.into(), count.parse()?);
    let begun = Instant::now();
    let staging_dir = directory.join("staged");
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        let loader = Loader {
            search: vec![SearchPath {
                directory: plugin_directory(&directory, number),
                origin: Origin::Configuration,
            }],
            trust: Trust::lock(directory.join("keyway.lock")),
            libraries: Vec::new(),
            prober: Some(Prober::this_program(vec![PROBE.into()])?),
            history: History::new(staging_dir.clone()),
            staging_dir: staging_dir.clone(),
            host: env!("CARGO_PKG_VERSION").to_owned(),
            most_images: usize::MAX,
        };
        let plugin = Requirement::parse("memory").map_err(|error| anyhow!(error))?;
        let backend = format!("backend{number}");
        let config = BackendConfig { name: backend.clone(), config: json!({}), data_dir: directory.clone() };
        let (plugin, fallback) = loader.choose(&Wanted { plugin, fallback: false }, &config)?;
        let _mark = loader.mark_opening(&plugin, &backend);
        open.push(block_on(loader.open_store(&plugin, fallback, &config))?);
    }
    println!("{}", begun.elapsed().as_micros());
    Ok(())
}
