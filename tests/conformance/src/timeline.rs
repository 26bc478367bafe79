//! Every call of a run, as a timeline: what was asked, what was answered, when, and what ran at the same time.
//!
//! Each process of a run notes its calls in a file, one line for each beginning and end, so that what was not answered
//! before a crash is there, too. At the end they are put together in the trace event format of Chrome, which
//! <https://ui.perfetto.dev> shows (see "Trace Event Format", Google, 2016).

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keyway_loader::{Generation, trace::Listener};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The recorder of this process, if its run is traced.
static RECORDER: OnceLock<Arc<Recorder>> = OnceLock::new();

/// Notes the calls of this process.
struct Recorder {
    directory: PathBuf,
    file: Mutex<File>,
    /// The time at `begun`, since 1970: the clock may be set in between.
    offset: Duration,
    begun: Instant,
}

/// A line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    Begin { call: u64, at_us: u64, operation: String, request: String, thread: String },
    End { call: u64, at_us: u64, answer: String },
}

/// Notes all calls of this process from now on; `name` is what the process does.
pub(crate) fn record(directory: &Path, name: &str) -> io::Result<()> {
    let path = directory.join(format!("{name}-{}", std::process::id()));
    let file = Mutex::new(OpenOptions::new().create(true).append(true).open(path)?);
    let offset = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let recorder = Recorder { directory: directory.to_owned(), file, offset, begun: Instant::now() };
    // A process has one task.
    RECORDER.get_or_init(|| Arc::new(recorder));
    Ok(())
}

/// Where this process notes its calls; none if it does not.
pub(crate) fn directory() -> Option<&'static Path> {
    RECORDER.get().map(|recorder| recorder.directory.as_path())
}

/// The same store, whose calls are noted if those of this process are.
pub(crate) fn noted(store: Generation) -> Generation {
    match RECORDER.get() {
        Some(recorder) => store.heard_by(Arc::<Recorder>::clone(recorder)),
        None => store,
    }
}

impl Recorder {
    fn note(&self, event: impl FnOnce(u64) -> Event) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at_us = u64::try_from((self.offset + self.begun.elapsed()).as_micros()).unwrap_or(u64::MAX);
        let mut line = serde_json::to_vec(&event(at_us)).unwrap_or_default();
        line.push(b'\n');
        // A full disk costs the trace its end, and the case nothing.
        let _unheard = file.write_all(&line);
    }
}

impl Listener for Recorder {
    fn begins(&self, call: u64, operation: &'static str, request: String) {
        let thread = thread::current();
        let thread = thread.name().map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
        self.note(|at_us| Event::Begin { call, at_us, operation: operation.to_owned(), request, thread });
    }

    fn ends(&self, call: u64, answer: String) {
        self.note(|at_us| Event::End { call, at_us, answer });
    }
}

/// Puts together what the processes of a run have noted in `directory`.
pub(crate) fn write(directory: &Path, path: &Path) -> io::Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.sort();
    let mut events = Vec::new();
    for (process, file) in files.iter().enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        events.push(json!({ "name": "process_name", "ph": "M", "pid": process, "args": { "name": name } }));
        let bytes = fs::read(file)?;
        let text = String::from_utf8_lossy(&bytes);
        // A killed process may have written half a line.
        let noted: Vec<Event> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        events.extend(bars(process, &noted));
    }
    fs::write(path, serde_json::to_vec(&json!({ "displayTimeUnit": "ms", "traceEvents": events }))?)
}

/// One bar for each call, in as many rows as calls ran at the same time.
fn bars(process: usize, noted: &[Event]) -> Vec<Value> {
    let end_us = noted.iter().map(Event::at_us).max().unwrap_or_default();
    let mut ends: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
    for event in noted {
        if let Event::End { call, at_us, answer } = event {
            ends.insert(*call, (*at_us, answer));
        }
    }
    let mut rows: Vec<u64> = Vec::new();
    let mut bars = Vec::new();
    for event in noted {
        let Event::Begin { call, at_us, operation, request, thread } = event else { continue };
        let (ended_us, answer) =
            ends.get(call).copied().unwrap_or((end_us, "no answer before the process ended"));
        let row = rows.iter().position(|free_us| free_us <= at_us).unwrap_or(rows.len());
        match rows.get_mut(row) {
            // The next bar in this row begins after this one.
            Some(free_us) => *free_us = ended_us + 1,
            None => rows.push(ended_us + 1),
        }
        bars.push(json!({
            "name": operation, "cat": "call", "ph": "X", "pid": process, "tid": row, "ts": at_us,
            "dur": ended_us - at_us,
            "args": { "call": call, "request": request, "answer": answer, "thread": thread },
        }));
    }
    bars
}

impl Event {
    fn at_us(&self) -> u64 {
        match self {
            Self::Begin { at_us, .. } | Self::End { at_us, .. } => *at_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(call: u64, at_us: u64) -> Event {
        let (operation, request, thread) = ("put".to_owned(), "k".to_owned(), "main".to_owned());
        Event::Begin { call, at_us, operation, request, thread }
    }

    #[test]
    fn calls_at_the_same_time_have_different_rows_and_the_unanswered_one_lasts_to_the_end() {
        let end = |call, at_us| Event::End { call, at_us, answer: "done".to_owned() };
        let noted =
            [begin(1, 10), begin(2, 20), end(1, 30), begin(3, 31), end(3, 40), begin(4, 50), end(4, 60)];
        let bars = bars(0, &noted);
        let of = |field: &str| bars.iter().map(|bar| bar[field].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(of("tid"), [0, 1, 0, 0]);
        assert_eq!(of("dur"), [20, 40, 9, 10]);
        assert!(bars[1]["args"]["answer"].as_str().unwrap().contains("no answer"));
    }
}
