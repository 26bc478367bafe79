//! Watches a child process: its time, its memory, what it writes.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// What begins each line that the child writes for its parent.
pub(super) const MARK: &str = "keyway-probe:";

/// How often the child is looked at.
const INTERVAL: Duration = Duration::from_millis(2);
/// How long its output is waited for once it has ended; a grandchild may hold the other end.
const DRAIN: Duration = Duration::from_millis(500);
/// The lines that are kept of its output: the last ones, and as many of the first, because a panic begins
/// there.
const KEPT_LINES: usize = 4;
/// The bytes that are kept of a line.
const KEPT_BYTES: usize = 240;
/// Most bytes that are read of each stream; a child that writes more is stopped by its deadline.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How a child has ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) timed_out: bool,
    pub(super) over_memory: bool,
    /// The lines of its standard output.
    pub(super) output: Vec<String>,
    /// The last lines of its standard error.
    pub(super) log: Vec<String>,
}

/// Runs a command to its end, at most for `deadline` and with at most `memory` bytes.
pub(super) fn watch(mut command: Command, deadline: Duration, memory: u64) -> io::Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A separate process group, so that all processes that it starts end with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let output = child.stdout.take().map(|stream| last_lines(stream, usize::MAX));
    let log = child.stderr.take().map(|stream| last_lines(stream, KEPT_LINES));
    let begun = Instant::now();
    let (mut timed_out, mut over_memory) = (false, false);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        timed_out = begun.elapsed() > deadline;
        over_memory = resident(&child).is_some_and(|bytes| bytes > memory);
        if timed_out || over_memory {
            child.kill()?;
            break child.wait()?;
        }
        thread::sleep(INTERVAL);
    };
    end_group(&child);
    let gather = |lines: Option<mpsc::Receiver<Vec<String>>>| {
        lines.and_then(|lines| lines.recv_timeout(DRAIN).ok()).unwrap_or_default()
    };
    Ok(Ended { status, timed_out, over_memory, output: gather(output), log: gather(log) })
}

/// Ends the processes that the child has started and left running.
#[cfg(unix)]
fn end_group(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Usually no process is left to end, and then this fails.
    let _none_left = group.map(|group| kill_process_group(group, Signal::KILL));
}

#[cfg(not(unix))]
fn end_group(_child: &Child) {}

/// The bytes of memory that the child has in use, if the system tells: `statm` of proc(5), in pages.
#[cfg(target_os = "linux")]
fn resident(child: &Child) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
fn resident(_child: &Child) -> Option<u64> {
    None
}

/// Whether it is a line of Rust's backtraces, or empty: they say nothing to an operator.
fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    let is_numbered = line
        .split_once(": ")
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    line.is_empty() || is_numbered || line.starts_with("at ") || line == "stack backtrace:"
}

/// Reads a stream to its end on a separate thread, and hands over its first and last lines.
fn last_lines(stream: impl Read + Send + 'static, most: usize) -> mpsc::Receiver<Vec<String>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let (mut first, mut lines) = (Vec::new(), VecDeque::new());
        for line in BufReader::new(stream.take(MAX_BYTES)).split(b'\n') {
            let Ok(line) = line else { break };
            let is_told = line.starts_with(MARK.as_bytes());
            let kept = if is_told { line.len() } else { line.len().min(KEPT_BYTES) };
            let text = String::from_utf8_lossy(line.get(..kept).unwrap_or_default());
            // What a stranger's file writes must not paint on an operator's terminal.
            let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
            if is_frame(&text) {
                continue;
            }
            if first.len() < most {
                first.push(text);
                continue;
            }
            if lines.len() == most {
                lines.pop_front();
            }
            lines.push_back(text);
        }
        first.extend(lines);
        // The send fails only if the receiver has given up.
        let _gone = send.send(first);
    });
    receive
}
