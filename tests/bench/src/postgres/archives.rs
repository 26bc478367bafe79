//! Backing up and restoring a million records: the archive that the host writes and reads against `pg_dump`,
//! and `psql` that reads its dump.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use keyway_loader::{
    Generation, RestoreMode,
    archive::{self, Header},
};
use keyway_private_postgres::Server;
use tokio::runtime::Runtime;

/// Prints a line for either way.
pub(super) fn run(
    server: &Server,
    runtime: &Runtime,
    store: &Arc<Generation>,
    records: u64,
    directory: &Path,
) -> Result<()> {
    let (dump, file) = (directory.join("dump.sql"), directory.join("archive"));
    let header = Header {
        backend: "main".to_owned(),
        plugin: "postgres".to_owned(),
        version: store.plugin().descriptor().version.clone(),
        data_format: store.capabilities().data_format,
        made: 0,
    };
    println!("records a second, {records} records");
    let theirs = timed(|| program(server, "pg_dump", &["-n", "keyway", "-f", text(&dump)?, "postgres"]))?;
    let ours = timed(|| {
        let written = runtime.block_on(archive::write(store, &header, &file))?;
        ensure!(written >= records, "{written} of {records} records were archived");
        Ok(())
    })?;
    report("backup", records, theirs, ours);
    program(server, "createdb", &["empty"])?;
    let theirs =
        timed(|| program(server, "psql", &["-q", "-v", "ON_ERROR_STOP=1", "-f", text(&dump)?, "empty"]))?;
    program(server, "dropdb", &["empty"])?;
    let ours = timed(|| {
        let restored = runtime.block_on(archive::restore(store, &file, RestoreMode::REPLACE))?;
        ensure!(restored >= records, "{restored} of {records} records were restored");
        Ok(())
    })?;
    report("restore", records, theirs, ours);
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a Unicode path")
}

/// Runs one of PostgreSQL's own programs.
fn program(server: &Server, name: &str, arguments: &[&str]) -> Result<()> {
    let mut program = Command::new(server.binaries().program(name));
    program.args(["-U", "admin", "-p", &server.port().to_string()]).arg("-h").arg(server.socket());
    let output = program.args(arguments).output().with_context(|| format!("start {name}"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn report(name: &str, records: u64, theirs: Duration, ours: Duration) {
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let (base, own) = (rate(theirs), rate(ours));
    println!("{name:<18} {base:>26.0} {own:>26.0} {:>7.2}", own / base);
}
