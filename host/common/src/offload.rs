//! Long steps run off the runtime's threads, so that a large request delays no small one.
//!
//! A request counts the bytes that it has read: its body, records, names. Once they are more than
//! [`INLINE_BYTES`], every further step of it (a poll of its future: parsing, decrypting, merging, hashing,
//! rendering) runs in `block_in_place`: the runtime gives its other tasks to another thread first. At most
//! half of the cores run such steps at a time; the others wait in order, and hold no thread while they wait.

mod heap;

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::LazyLock,
    task::ready,
    thread,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{AcquireError, Semaphore, SemaphorePermit},
    task,
};

/// What takes less than about a millisecond to parse, seal or hash.
pub const INLINE_BYTES: usize = 64 * 1024;

/// How many long steps run at a time: the other cores serve small requests.
static STEPS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((cores / 2).max(1))
});

type Waiting = Pin<Box<dyn Future<Output = Result<SemaphorePermit<'static>, AcquireError>> + Send>>;

tokio::task_local! {
    /// How many bytes the present request has read.
    static READ_BYTES: Cell<usize>;
}

/// Prepares the heap for large requests, if the C library lets it. Call it first, before there are other threads.
pub fn prepare_heap() -> bool {
    heap::set_up()
}

/// Runs `work`, whose steps run off the runtime's threads once it has read much. A scope within another one
/// is part of that.
pub fn scope<F: Future>(work: F) -> impl Future<Output = F::Output> {
    // Every function that takes a future holds it twice: one that holds a whole request is on the heap, once.
    let work = Box::pin(work);
    async {
        if READ_BYTES.try_with(|_| ()).is_ok() {
            return work.await;
        }
        READ_BYTES.scope(Cell::new(0), step_by_step(work)).await
    }
}

/// Spawns a task for work that must end even if the present task is cancelled. The bytes that the present
/// task has read count for the new one, too.
pub fn spawn<F>(work: F) -> task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let read_bytes = READ_BYTES.try_with(Cell::get).unwrap_or_default();
    tokio::spawn(READ_BYTES.scope(Cell::new(read_bytes), step_by_step(Box::pin(work))))
}

/// Counts what was read. Call it before the work on these bytes begins: after it, that work runs where it
/// delays no one.
pub async fn count(bytes: usize) {
    let has_become_large = READ_BYTES.try_with(|read| {
        let was_large = is_large(read.get());
        read.set(read.get().saturating_add(bytes));
        !was_large && is_large(read.get())
    });
    // The next step is a long one.
    if has_become_large == Ok(true) {
        task::yield_now().await;
    }
}

fn is_large(read_bytes: usize) -> bool {
    read_bytes > INLINE_BYTES
}

async fn step_by_step<F: Future>(mut work: Pin<Box<F>>) -> F::Output {
    let mut waiting = None::<Waiting>;
    poll_fn(|context| {
        if !READ_BYTES.with(|read| is_large(read.get())) {
            return work.as_mut().poll(context);
        }
        let acquired = waiting.get_or_insert_with(|| Box::pin(STEPS.acquire()));
        // Held for this step alone: a request that waits for its store holds nothing.
        let _permit = ready!(acquired.as_mut().poll(context)).expect("the semaphore is never closed");
        waiting = None;
        // A runtime of one thread, as in tests, has no other to give its tasks to.
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => task::block_in_place(|| work.as_mut().poll(context)),
            _ => work.as_mut().poll(context),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn long_step_of_a_large_request_lets_the_only_worker_serve_a_small_one() {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (answered, wait_for_small) = mpsc::channel::<()>();
        let large = tokio::spawn(scope(async move {
            count(INLINE_BYTES + 1).await;
            begun.send(()).unwrap();
            // Returns after the small request was served: on the worker's own thread it never would be.
            wait_for_small.recv().unwrap();
        }));
        let small = tokio::spawn(scope(async move {
            has_begun.await.unwrap();
            count(INLINE_BYTES).await;
            answered.send(()).unwrap();
        }));
        small.await.unwrap();
        large.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn as_many_long_steps_run_as_there_are_permits_and_waiting_ones_hold_none() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        let permits = STEPS.available_permits();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let large = |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(scope(async move {
                count(INLINE_BYTES + 1).await;
                for _ in 0..100 {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    // A task that waits for something else gives its place to the next.
                    task::yield_now().await;
                }
            }))
        };
        let all: Vec<_> = (0..20 * permits).map(large).collect();
        for one in all {
            one.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= permits, "{most:?} of {permits}");
    }

    #[tokio::test]
    async fn scope_within_a_scope_is_part_of_it() {
        let answer = scope(async {
            count(INLINE_BYTES + 1).await;
            // With a second permit it would wait for the one that the outer scope holds.
            scope(async {
                count(INLINE_BYTES + 1).await;
                7
            })
            .await
        });
        assert_eq!(answer.await, 7);
    }
}
