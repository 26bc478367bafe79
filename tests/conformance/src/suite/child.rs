//! The child's side: one case, or one piece of work.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    thread,
};

use futures_executor::block_on;
use keyway_loader::{CallContext, Error, ReadConsistency};
use serde_json::Value;

use crate::{
    Case, Subject, Verdict, cases,
    cases::works,
    facts::Facts,
    ground::Ground,
    harness::{Harness, answered},
    process::{
        order::{Answer, Order, Surveyed, Task},
        watch::OWN_FAILURE,
    },
    subject::clear,
    timeline,
    verdict::{Outcomes, Stop},
};

/// Reads an order from standard input and carries it out. `subject_of` makes the subject of what
/// [`Suite::subject`](super::Suite) holds.
pub fn main(subject_of: impl FnOnce(&Value) -> Result<Subject, String>) -> ExitCode {
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    let order = input.read_line(&mut line).map_err(|error| error.to_string());
    let order = order.and_then(|_| serde_json::from_str::<Order>(&line).map_err(|error| error.to_string()));
    let order = match order {
        Ok(order) => order,
        Err(error) => return own_failure(&format!("the order cannot be read: {error}")),
    };
    // If the run is stopped, with Ctrl-C or worse, its cases end, too.
    thread::spawn(move || {
        // The end of the input or an error: in both cases the parent is gone.
        let _gone = io::copy(&mut input, &mut io::sink());
        std::process::exit(i32::from(OWN_FAILURE));
    });
    if let Some(directory) = &order.timeline
        && let Err(error) = timeline::record(directory, order.task.name())
    {
        return own_failure(&format!("calls cannot be noted: {error}"));
    }
    let subject = match subject_of(&order.subject) {
        Ok(subject) => subject,
        Err(reason) => return answer(&order, &Answer::Failed(reason)),
    };
    let ground = Ground {
        subject: &subject,
        subject_order: &order.subject,
        data_dir: &order.data_dir,
        seed: order.seed,
        effort: order.effort,
        deadline: order.deadline,
        program: Some(&order.program),
    };
    match &order.task {
        Task::Survey => {
            let surveyed = survey(&subject, &order.data_dir);
            answer(&order, &surveyed.map_or_else(Answer::Failed, |found| Answer::Surveyed(Box::new(found))))
        }
        Task::Clear => {
            let cleared = clear_store(&subject, &order.data_dir);
            answer(&order, &cleared.map_or_else(Answer::Failed, |()| Answer::Cleared))
        }
        Task::Case(name) => match cases().into_iter().find(|case| case.name == *name) {
            Some(case) => {
                watch_progress(&order);
                answer(&order, &Answer::Verdict(run_case(ground, &case)))
            }
            None => own_failure(&format!("there is no case {name}")),
        },
        Task::Work { name, number } => works::run(name, *number, &ground, &order.answer),
    }
}

fn answer(order: &Order, answer: &Answer) -> ExitCode {
    match answer.write(&order.answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => own_failure(&format!("the answer cannot be written: {error}")),
    }
}

/// Says why the suite could not do its part, to the log that its parent quotes.
fn own_failure(why: &str) -> ExitCode {
    // The parent may be gone, so an error is ignored.
    let _unheard = writeln!(io::stderr(), "{why}");
    ExitCode::from(OWN_FAILURE)
}

/// Before its deadline, a case whose calls are still answered is slow here, and does not hang: that is
/// another verdict.
fn watch_progress(order: &Order) {
    let (deadline, path) = (order.deadline, order.answer.clone());
    thread::spawn(move || {
        thread::sleep(deadline.mul_f64(0.8));
        let before = answered();
        thread::sleep(deadline.mul_f64(0.1));
        if answered() == before {
            return;
        }
        let why = format!(
            "it was not done within {} s, and its calls were still answered: it is slow here, and needs a longer --deadline",
            deadline.as_secs()
        );
        let told = Answer::Verdict(Verdict::Unproved(why)).write(&path);
        std::process::exit(i32::from(if told.is_ok() { 0 } else { OWN_FAILURE }));
    });
}

/// Removes every keyspace.
pub(super) fn clear_store(subject: &Subject, data_dir: &Path) -> Result<(), String> {
    let store = subject.open(data_dir)?;
    clear(&store)?;
    block_on(store.shutdown(&CallContext::background())).map_err(|error| error.to_string())
}

/// Opens the store once, and says what it claims.
pub(super) fn survey(subject: &Subject, data_dir: &Path) -> Result<Surveyed, String> {
    let store = subject.open(data_dir)?;
    let call = CallContext::background();
    let capabilities = store.capabilities();
    let told = |what: &str| {
        let what = what.to_owned();
        move |error: Error| format!("{what}: {error}")
    };
    let keyspaces = block_on(store.keyspaces(&call, "")).map_err(told("list keyspaces"))?;
    block_on(store.shutdown(&call)).map_err(told("close the store"))?;
    let claimed = cases().into_iter().filter(|case| case.is_claimed(&capabilities));
    Ok(Surveyed {
        facts: Facts::of(&subject.plugin, &capabilities),
        claimed: claimed.map(|case| case.name.to_owned()).collect(),
        keyspaces: keyspaces.into_iter().take(5).collect(),
    })
}

/// Runs a case on a freshly opened store, which is closed at its end.
pub(super) fn run_case(ground: Ground<'_>, case: &Case) -> Verdict {
    let mut may_be_stale = false;
    let run = || -> Outcomes {
        let harness = Harness::open(ground, case.name)?;
        may_be_stale = harness.capabilities().read_consistency == ReadConsistency::EVENTUAL;
        let done = (case.run)(&harness);
        done.and_then(|()| harness.close())
    };
    // The suite's own: a backend's are contained by the SDK.
    match catch_unwind(AssertUnwindSafe(run)) {
        // The suite reads back at once. What is not about a read is broken all the same: an operation that is
        // declared and not there, a wrong code, a second opener.
        Ok(Err(Stop::Misread(seen) | Stop::Conflict(seen))) if may_be_stale => Verdict::Unproved(format!(
            "reads may be of an earlier state (read consistency: eventual), and this may be: {seen}"
        )),
        Ok(outcomes) => outcomes.into(),
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied());
            Verdict::Broken(format!("the suite panicked: {}", text.unwrap_or("without a text")))
        }
    }
}
