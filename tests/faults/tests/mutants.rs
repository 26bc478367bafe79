//! Defects that show only when the store beneath is in trouble: the conformance suite must find them, by the
//! case that is meant for each.
#![expect(clippy::print_stdout, reason = "a test program speaks to its user")]

use std::{env, process::ExitCode, sync::Arc};

use keyway_conformance::{FaultsIn, Options, Program, Subject, Suite, Verdict, suite::child};
use keyway_faults::{Offered, store};
use keyway_loader::{Chain, Plugin};
use keyway_mutants::Mutant;
use keyway_sqlite_backend::Sqlite;
use serde_json::{Value, json};

/// The argument by which this program knows that it is to run one case.
const CHILD: &str = "child";

/// A defect of the backend, the store beneath it, the case that must find it, and words of the failure.
struct Wrong {
    defect: &'static str,
    faults: FaultsIn,
    case: &'static str,
    words: &'static str,
}

const ALL: [Wrong; 3] = [
    Wrong {
        defect: "none",
        faults: Offered::without_sync,
        case: "durable_writes_survive_loss_of_power",
        words: "after a loss of power, round",
    },
    Wrong {
        defect: "batch_in_two_commits",
        faults: Offered::in_directory,
        case: "durable_writes_survive_loss_of_power",
        words: "is half there",
    },
    Wrong {
        defect: "health_lies",
        faults: Offered::in_directory,
        case: "health_says_when_the_store_is_gone_and_when_it_is_back",
        words: "health says that it is ready",
    },
];

fn subject(number: &Value) -> Result<Subject, String> {
    let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
    let wrong = number.and_then(|number| ALL.get(number)).ok_or("there is no such mutant")?;
    let plugin = Plugin::linked(keyway_sdk::linked::<Mutant<Sqlite>>()).map_err(|error| error.to_string())?;
    let config = json!({ "defect": wrong.defect, "base": { "path": store::FILE } });
    Ok(Subject { faults: Some(wrong.faults), ..Subject::new(plugin, config) })
}

/// Why the suite missed the defect of a mutant; none if it found the defect.
fn missed(number: usize, wrong: &Wrong) -> Result<Option<String>, String> {
    let program = Program::this(vec![CHILD.into()]).map_err(|error| error.to_string())?;
    let options = Options { only: vec![wrong.case.to_owned()], ..Options::default() };
    let suite = Suite { program, subject: Value::from(number), options, stop: Arc::default() };
    let report = suite.run(|_| ()).map_err(|error| Chain(&error).to_string())?;
    let verdict = report.cases.first().map(|finding| &finding.verdict);
    Ok(match verdict {
        Some(Verdict::Broken(seen)) if seen.contains(wrong.words) => None,
        other => Some(format!("{} should say {:?}, and it is {other:?}", wrong.case, wrong.words)),
    })
}

fn main() -> ExitCode {
    if env::args().nth(1).is_some_and(|first| first == CHILD) {
        return child::main(subject);
    }
    let mut code = ExitCode::SUCCESS;
    for (number, wrong) in ALL.iter().enumerate() {
        match missed(number, wrong) {
            Ok(None) => println!("found      {} ({})", wrong.case, wrong.defect),
            Ok(Some(problem)) | Err(problem) => {
                println!("NOT FOUND  {problem}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
