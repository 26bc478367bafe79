//! A process that works with a case's store, and can be killed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    Program,
    order::{Order, Task},
    watch::Watched,
};
use crate::{
    ground::Ground,
    timeline,
    verdict::{Outcomes, Stop},
};

/// How often a journal is looked at.
const INTERVAL: Duration = Duration::from_millis(2);

/// A process that works with a case's store until it is done or killed, and says in a journal what it does.
/// Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Worker {
    watched: Watched,
    journal: PathBuf,
}

impl Worker {
    pub(crate) fn start(program: &Program, ground: &Ground<'_>, work: &str, number: u64) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let directory = ground.data_dir.parent().unwrap_or(ground.data_dir);
        let start = NEXT.fetch_add(1, Ordering::Relaxed);
        let journal = directory.join(format!("journal-{start}"));
        let order = Order {
            task: Task::Work { name: work.to_owned(), number },
            subject: ground.subject_order.clone(),
            seed: ground.seed,
            effort: ground.effort,
            deadline: ground.deadline,
            data_dir: ground.data_dir.to_owned(),
            answer: journal.clone(),
            timeline: timeline::directory().map(Path::to_owned),
            program: program.clone(),
        };
        let watched = Watched::start(program, &order, &directory.join(format!("log-{start}")))?;
        Ok(Self { watched, journal })
    }

    /// The whole lines of the journal so far.
    pub(crate) fn journal(&self) -> Result<Vec<String>, Stop> {
        let text = match fs::read_to_string(&self.journal) {
            Ok(text) => text,
            // It opens the store before it writes the first line.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Stop::Unproved(format!("read the journal of a process: {error}"))),
        };
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        Ok(whole.lines().map(str::to_owned).collect())
    }

    /// Waits until the journal has `lines` lines.
    pub(crate) fn wait_for(&mut self, lines: usize, deadline: Duration) -> Outcomes {
        let begun = Instant::now();
        while self.journal()?.len() < lines {
            self.is_at_work()?;
            if begun.elapsed() > deadline {
                return Err(self.broken("a process that works with the store does not get on"));
            }
            std::thread::sleep(INTERVAL);
        }
        Ok(())
    }

    /// Waits until it is done.
    pub(crate) fn finish(mut self, deadline: Duration) -> Result<Vec<String>, Stop> {
        let ended = self
            .watched
            .wait(deadline, &AtomicBool::new(false))
            .map_err(|error| Stop::Unproved(error.to_string()))?;
        if !ended.is_success() {
            return Err(Stop::Broken(format!(
                "a process that works with the store: {}",
                ended.in_words(deadline)
            )));
        }
        self.journal()
    }

    /// Fails if it has ended by itself.
    fn is_at_work(&mut self) -> Outcomes {
        match self.watched.ended() {
            Ok(None) => Ok(()),
            Ok(Some(ended)) => {
                let words = ended.in_words(Duration::ZERO);
                Err(Stop::Broken(format!("a process that works with the store ended early: {words}")))
            }
            Err(error) => Err(Stop::Unproved(format!("look after a process: {error}"))),
        }
    }

    /// Kills it without warning; what it had said by then.
    pub(crate) fn kill(mut self) -> Result<Vec<String>, Stop> {
        self.is_at_work()?;
        self.watched.kill().map_err(|error| Stop::Unproved(format!("kill a process: {error}")))?;
        self.journal()
    }

    fn broken(&self, what: &str) -> Stop {
        Stop::Broken(format!("{what}; the last that it printed: {}", self.watched.tail()))
    }
}
