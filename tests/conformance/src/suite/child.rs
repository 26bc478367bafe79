//! The child's side: one case, or one piece of work.

use std::{
    io::{self, Read as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
};

use futures_executor::block_on;
use keyway_loader::{CallContext, Error};
use serde_json::Value;

use super::order::{Answer, Order, Surveyed, Task};
use crate::{
    Case, Subject, Verdict,
    case::Outcomes,
    cases,
    cases::works,
    harness::{Ground, Harness},
    report::Facts,
    subject::clear,
};

/// Reads an order from standard input and carries it out. `subject_of` makes the subject of what
/// [`Suite::subject`](super::Suite) holds.
pub fn main(subject_of: impl FnOnce(&Value) -> Result<Subject, String>) -> ExitCode {
    // Whoever stops the run, with Ctrl-C or worse, does not leave its cases behind.
    #[cfg(target_os = "linux")]
    if rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_err() {
        return ExitCode::from(2);
    }
    let mut text = Vec::new();
    let order =
        io::stdin().read_to_end(&mut text).ok().and_then(|_| serde_json::from_slice::<Order>(&text).ok());
    let Some(order) = order else { return ExitCode::from(2) };
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
        program: Some(&order.program),
    };
    match &order.task {
        Task::Survey => {
            let surveyed = survey(&subject, &order.data_dir);
            answer(&order, &surveyed.map_or_else(Answer::Failed, |found| Answer::Surveyed(Box::new(found))))
        }
        Task::Clear => {
            let cleared = subject.open(&order.data_dir).and_then(|store| {
                clear(&store)?;
                block_on(store.shutdown(&CallContext::background())).map_err(|error| error.to_string())
            });
            answer(&order, &Answer::Failed(cleared.err().unwrap_or_default()))
        }
        Task::Case(name) => match cases().into_iter().find(|case| case.name == *name) {
            Some(case) => answer(&order, &Answer::Verdict(run_case(ground, &case))),
            None => ExitCode::from(2),
        },
        Task::Work { name, number } => works::run(name, *number, &ground, &order.answer),
    }
}

fn answer(order: &Order, answer: &Answer) -> ExitCode {
    if answer.write(&order.answer).is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) }
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
    let run = || -> Outcomes {
        let harness = Harness::open(ground, case)?;
        let done = (case.run)(&harness);
        done.and_then(|()| harness.close())
    };
    // The suite's own: a backend's are contained by the SDK.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcomes) => outcomes.into(),
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied());
            Verdict::Broken(format!("a panic reached the host: {}", text.unwrap_or("without a text")))
        }
    }
}
