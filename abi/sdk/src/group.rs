//! Group commit: writes of many callers, made durable together.
//!
//! A store that syncs a file for each write is as slow as the disk syncs. [`GroupCommit`] lets the writes that wait
//! share one sync: the first caller commits for all that came meanwhile. It is for methods that may block
//! ([`BlockingBackend`](crate::BlockingBackend), [`OpenContext::blocking`](crate::OpenContext::blocking)).

use std::{
    collections::VecDeque,
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use keyway_abi::{Error, ErrorCode};

use crate::Result;

/// What makes a group of writes durable: the only writer of the store.
pub trait Committer: Send {
    /// A write, with all that it needs.
    type Request: Send;
    /// What a write answers.
    type Answer: Send;

    /// Does the writes in their order, makes them durable, and answers each, in the same order. One that fails does not
    /// stop the others, unless the store as a whole has failed.
    ///
    /// A write without an answer fails with an unknown outcome.
    fn commit(&mut self, requests: Vec<Self::Request>) -> Vec<Result<Self::Answer>>;
}

/// Commits the writes of many callers in groups.
///
/// ```
/// use keyway_sdk::{Result, group::{Committer, GroupCommit}};
/// use std::{fs::File, io::{self, Write}};
///
/// /// Appends lines to a file.
/// struct Lines(File);
///
/// impl Committer for Lines {
///     type Request = String;
///     type Answer = ();
///
///     fn commit(&mut self, lines: Vec<String>) -> Vec<Result<()>> {
///         let text = lines.concat();
///         let done = self.0.write_all(text.as_bytes()).and_then(|()| self.0.sync_data());
///         lines.iter().map(|_| done.as_ref().map(|()| ()).map_err(|error| io::Error::from(error.kind()).into())).collect()
///     }
/// }
///
/// # let directory = std::env::temp_dir().join(format!("keyway-group-{}", std::process::id()));
/// # let file = File::create(&directory).unwrap();
/// let writer = GroupCommit::new(Lines(file), 64);
/// // From many threads: as many lines as wait share one sync.
/// writer.submit("a line\n".to_owned()).unwrap();
/// # std::fs::remove_file(&directory).unwrap();
/// ```
pub struct GroupCommit<C: Committer> {
    most_requests: usize,
    state: Mutex<State<C>>,
    /// Notified when the committer comes back.
    returned: Condvar,
}

struct State<C: Committer> {
    committer: Place<C>,
    waiting: VecDeque<Waiting<C>>,
}

/// Where the committer is.
enum Place<C> {
    Here(C),
    Taken,
    /// A panic has lost it.
    Lost,
}

struct Waiting<C: Committer> {
    request: C::Request,
    answer: Arc<Slot<C::Answer>>,
}

/// The answer of one write, once it is there.
type Slot<T> = Mutex<Option<Result<T>>>;

impl<C: Committer> GroupCommit<C> {
    /// Over a committer, with groups of at most `most_requests` writes.
    pub fn new(committer: C, most_requests: usize) -> Self {
        let state = State { committer: Place::Here(committer), waiting: VecDeque::new() };
        Self { most_requests: most_requests.max(1), state: Mutex::new(state), returned: Condvar::new() }
    }

    /// Waits until the write is durable, or has failed. This thread may meanwhile commit for others.
    ///
    /// # Errors
    ///
    /// The committer's; `Internal` with an unknown outcome if a panic lost the answer, and `Internal` if an earlier
    /// panic has lost the committer.
    pub fn submit(&self, request: C::Request) -> Result<C::Answer> {
        let answer = Arc::new(Slot::default());
        let mut state = self.lock();
        state.waiting.push_back(Waiting { request, answer: Arc::clone(&answer) });
        loop {
            if let Some(result) = take(&answer) {
                return result;
            }
            match std::mem::replace(&mut state.committer, Place::Taken) {
                Place::Here(committer) => {
                    let most = self.most_requests.min(state.waiting.len());
                    let group: Vec<_> = state.waiting.drain(..most).collect();
                    drop(state);
                    Exclusive { group_commit: self, committer: Some(committer) }.commit(group);
                    state = self.lock();
                }
                Place::Taken => state = self.wait(state),
                Place::Lost => {
                    state.committer = Place::Lost;
                    // Either it was in the group that was lost, or it still waits and was not begun.
                    let waited = state.waiting.len();
                    state.waiting.retain(|waiting| !Arc::ptr_eq(&waiting.answer, &answer));
                    let error = lost();
                    let is_begun = state.waiting.len() == waited;
                    return Err(if is_begun { error.with_unknown_outcome() } else { error });
                }
            }
        }
    }

    /// Waits for the committer, and has it alone until the guard is dropped: for a transaction, a compaction or a
    /// restore. The guard may go to another thread.
    ///
    /// Writes wait meanwhile, each on the thread of its caller: bound that time, or the threads that reads need are all
    /// taken. A write by the holder of the guard waits for ever.
    ///
    /// # Errors
    ///
    /// `Internal` if a panic has lost the committer.
    pub fn exclusive(self: &Arc<Self>) -> Result<Exclusive<C>> {
        let mut state = self.lock();
        loop {
            match std::mem::replace(&mut state.committer, Place::Taken) {
                Place::Here(committer) => {
                    return Ok(Exclusive { group_commit: Arc::clone(self), committer: Some(committer) });
                }
                Place::Taken => state = self.wait(state),
                Place::Lost => {
                    state.committer = Place::Lost;
                    return Err(lost());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<C>>) -> MutexGuard<'a, State<C>> {
        self.returned.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The committer, alone. Dropped, it lets the writes go on. If it is dropped by a panic, the committer is lost, because
/// no one knows what state it is in: later writes fail until the store is opened again.
pub struct Exclusive<C: Committer, G: Deref<Target = GroupCommit<C>> = Arc<GroupCommit<C>>> {
    group_commit: G,
    /// None only while it is dropped.
    committer: Option<C>,
}

impl<C: Committer> Exclusive<C, &GroupCommit<C>> {
    fn commit(mut self, group: Vec<Waiting<C>>) {
        let (requests, answers): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.request, waiting.answer)).unzip();
        let mut results = self.deref_mut().commit(requests).into_iter();
        for answer in answers {
            let result = results.next().unwrap_or_else(|| {
                let error = Error::new(ErrorCode::INTERNAL, "the committer has not answered this write");
                Err(error.with_unknown_outcome())
            });
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    }
}

impl<C: Committer, G: Deref<Target = GroupCommit<C>>> Deref for Exclusive<C, G> {
    type Target = C;

    fn deref(&self) -> &C {
        self.committer.as_ref().expect("it is there until the guard is dropped")
    }
}

impl<C: Committer, G: Deref<Target = GroupCommit<C>>> DerefMut for Exclusive<C, G> {
    fn deref_mut(&mut self) -> &mut C {
        self.committer.as_mut().expect("it is there until the guard is dropped")
    }
}

impl<C: Committer, G: Deref<Target = GroupCommit<C>>> Drop for Exclusive<C, G> {
    fn drop(&mut self) {
        let place = match self.committer.take() {
            Some(committer) if !std::thread::panicking() => Place::Here(committer),
            _ => Place::Lost,
        };
        self.group_commit.lock().committer = place;
        self.group_commit.returned.notify_all();
    }
}

impl<C: Committer> fmt::Debug for GroupCommit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").field("most_requests", &self.most_requests).finish_non_exhaustive()
    }
}

impl<C: Committer, G: Deref<Target = GroupCommit<C>>> fmt::Debug for Exclusive<C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exclusive").finish_non_exhaustive()
    }
}

fn take<T>(slot: &Slot<T>) -> Option<Result<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn lost() -> Error {
    Error::new(ErrorCode::INTERNAL, "a panic has lost the writer of the store; open the store again")
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use keyway_abi::Outcome;

    use super::*;

    /// Numbers writes, notes the sizes of groups, and has accidents.
    #[derive(Default)]
    struct Numbers {
        last: u64,
        groups: Vec<usize>,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Wanted {
        Number,
        Failure,
        Silence,
        Panic,
    }

    impl Committer for Numbers {
        type Request = Wanted;
        type Answer = u64;

        fn commit(&mut self, requests: Vec<Wanted>) -> Vec<Result<u64>> {
            self.groups.push(requests.len());
            assert!(!requests.contains(&Wanted::Panic), "told to panic");
            if requests.contains(&Wanted::Silence) {
                return Vec::new();
            }
            let number = requests.iter().map(|request| {
                if *request == Wanted::Failure {
                    return Err(Error::new(ErrorCode::UNAVAILABLE, "told to fail"));
                }
                self.last += 1;
                Ok(self.last)
            });
            number.collect()
        }
    }

    #[test]
    fn writes_that_wait_are_committed_together_in_their_order() {
        let writer = Arc::new(GroupCommit::new(Numbers::default(), 4));
        let guard = writer.exclusive().unwrap();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..10)
                .map(|expected| {
                    let thread = scope.spawn(|| writer.submit(Wanted::Number).unwrap());
                    while writer.lock().waiting.len() <= expected {
                        thread::yield_now();
                    }
                    thread
                })
                .collect();
            drop(guard);
            let numbers: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
        });
        assert_eq!(writer.exclusive().unwrap().groups, [4, 4, 2]);
    }

    #[test]
    fn each_write_has_its_own_result() {
        let writer = GroupCommit::new(Numbers::default(), 64);
        assert_eq!(writer.submit(Wanted::Failure).unwrap_err().code(), ErrorCode::UNAVAILABLE);
        assert_eq!(writer.submit(Wanted::Number).unwrap(), 1);
        let unanswered = writer.submit(Wanted::Silence).unwrap_err();
        assert_eq!((unanswered.code(), unanswered.outcome()), (ErrorCode::INTERNAL, Outcome::UNKNOWN));
        assert_eq!(writer.submit(Wanted::Number).unwrap(), 2);
    }

    #[test]
    fn panic_of_the_committer_fails_the_group_and_all_later_writes() {
        let writer = Arc::new(GroupCommit::new(Numbers::default(), 2));
        let (unknown, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let guard = writer.exclusive().unwrap();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (expected, wanted) in
                [Wanted::Panic, Wanted::Number, Wanted::Number, Wanted::Number].into_iter().enumerate()
            {
                let (writer, unknown, refused) = (&writer, &unknown, &refused);
                threads.push(scope.spawn(move || {
                    let error = writer.submit(wanted).unwrap_err();
                    let count = if error.outcome() == Outcome::UNKNOWN { unknown } else { refused };
                    count.fetch_add(1, Ordering::SeqCst);
                }));
                while writer.lock().waiting.len() <= expected {
                    thread::yield_now();
                }
            }
            drop(guard);
            let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
            assert_eq!(panicked, 1, "the thread that committed for the group");
        });
        // The group of two does not know, apart from the thread that has panicked if it is of the group: any thread that waits
        // may commit for it.
        let counts = (unknown.into_inner(), refused.into_inner());
        assert!([(1, 2), (2, 1)].contains(&counts), "{counts:?}");
        assert_eq!(writer.submit(Wanted::Number).unwrap_err().outcome(), Outcome::NOT_APPLIED);
        assert!(writer.exclusive().is_err());
    }

    #[test]
    fn writes_wait_while_one_caller_has_the_committer_alone() {
        let (writer, begun) = (Arc::new(GroupCommit::new(Numbers::default(), 64)), Barrier::new(2));
        let mut guard = writer.exclusive().unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                begun.wait();
                writer.submit(Wanted::Number).unwrap()
            });
            begun.wait();
            while writer.lock().waiting.is_empty() {
                thread::yield_now();
            }
            guard.last = 41;
            // To another thread and back: a transaction's calls come from several.
            scope.spawn(move || drop(guard)).join().unwrap();
            assert_eq!(thread.join().unwrap(), 42);
        });
    }
}
