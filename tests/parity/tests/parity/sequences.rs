//! Generated sequences: requests over tokens, policies, roles, mounts and secrets, compared after each,
//! shrunk to the shortest sequence that differs. A sequence is printed in the format of the tables.

mod requests;

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
};

use proptest::{collection::vec, test_runner::TestError};
use serde_json::{Value, json};

use self::requests::request;
use crate::{
    bao,
    differences::Matched,
    pair::Pair,
    run::Run,
    seed::{hint, is_long, runner, seed},
    table::{Step, parse},
};

/// Sequences of each thread.
const SEQUENCES: u32 = 250;
/// As many in the long form.
const LONG: u32 = 10_000;
const THREADS: u64 = 2;
/// Requests of a sequence.
const LENGTH: std::ops::Range<usize> = 1..40;
/// What each sequence begins with.
const BEFORE: &str = "POST auth/token/create {\"policies\": [\"$q-pa\", \"default\"]} -> ta=auth.client_token aa=auth.accessor\n\
     POST sys/policies/acl/$q-pa {\"policy\": \"path \\\"kvtwo/*\\\" { capabilities = [\\\"create\\\", \\\"read\\\", \\\"update\\\", \\\"list\\\"] }\"}\n";

#[test]
fn generated_sequences_are_answered_alike() {
    let Some(program) = bao::program() else { return };
    let seed = seed();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let program = &program;
            // Apart from the seeds of other runs that follow.
            scope.spawn(move || play(program, seed, seed.wrapping_add(thread << 32)));
        }
    });
}

fn play(program: &Path, seed: u64, own_seed: u64) {
    let pair = Pair::start(program);
    pair.prepare("POST", "sys/mounts/kvone", &json!({"type": "kv", "options": {"version": "1"}}));
    pair.prepare("POST", "sys/mounts/kvtwo", &json!({"type": "kv", "options": {"version": "2"}}));
    pair.prepare("POST", "sys/auth/approle", &json!({"type": "approle"}));
    pair.prepare("POST", "kvtwo/data/ready", &json!({"data": {}}));
    let count = AtomicU32::new(0);
    let mut runner = runner(own_seed, if is_long() { LONG } else { SEQUENCES }, 2_000);
    let result = runner.run(&vec(request(), LENGTH), |requests| {
        let unique = format!("q{}", count.fetch_add(1, Relaxed));
        let differs = first_difference(&pair, &unique, &requests);
        clean(&pair, &unique);
        proptest::prop_assert!(differs.is_none(), "{}", differs.unwrap_or_default());
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, requests)) => {
            panic!("{reason}\nafter\n{BEFORE}{}\n{}", requests.join("\n"), hint(seed))
        }
        Err(error) => panic!("{error}\n{}", hint(seed)),
    }
}

/// The first request that is answered differently; requests that need what no answer had are left out.
fn first_difference(pair: &Pair, unique: &str, requests: &[String]) -> Option<String> {
    let table = format!("## generated\n{BEFORE}{}\n", requests.join("\n"));
    let cases = parse(&table);
    let (mut run, matched) = (Run::new(pair, &[("q", unique)]), Matched::default());
    cases[0].steps.iter().find_map(|step| {
        let Step::Send(line) = step else { return None };
        let problems = run.send(line, &matched)?.problems;
        (!problems.is_empty()).then(|| problems.join("\n"))
    })
}

/// Takes away what a sequence may have left.
fn clean(pair: &Pair, unique: &str) {
    for server in [0, 1] {
        for path in ["sys/mounts/$q-m", "sys/mounts/$q-n", "sys/auth/$q-a", "auth/token/roles/$q-ra"] {
            pair.send_as_root(server, "DELETE", &path.replace("$q", unique), &Value::Null);
        }
        for policy in ["pa", "pb"] {
            pair.send_as_root(server, "DELETE", &format!("sys/policies/acl/{unique}-{policy}"), &Value::Null);
        }
    }
}
