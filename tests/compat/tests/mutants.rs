//! The conformance suite against backends with one defect each. For every defect, the case that is meant for
//! it must fail, in words that name the defect.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use keyway_compat::{Workbench, plugin};
use keyway_conformance::{Options, Report, Verdict};
use serde_json::{Value, json};

/// A defect, the case that is meant for it, and words that its failure must have.
type Mutant = (&'static str, &'static str, &'static str);

const OVER_MEMORY: &[Mutant] = &[
    ("loses_every_thousandth_write", "put_many_values_keeps_every_one", "the key \"0000999\" is missing"),
    ("folds_case", "key_is_not_folded", "the key \"key\" holds what was written to \"Key\""),
    ("trims_trailing_blanks", "key_is_not_folded", "holds what was written to \"key"),
    ("joins_keyspace_and_key", "key_and_keyspace_never_meet_another_pair", "was written to it"),
    ("key_ends_at_nul", "key_of_any_bytes_is_its_own", "holds what was written to"),
    ("key_is_cut_off", "key_of_one_and_of_1024_bytes_is_kept", "holds what was written to"),
    ("folds_keyspaces", "keyspaces_that_look_alike_are_isolated", "holds what was written to"),
    ("empty_value_is_absent", "put_empty_value_is_not_absence", "the key \"k\" is missing"),
    ("value_ends_at_nul", "put_value_of_any_bytes_comes_back", "came back with 0"),
    ("stale_reads", "get_after_acknowledged_write_sees_it", "was acknowledged, get answered"),
    ("version_is_digest", "put_of_equal_bytes_changes_the_version", "of the same bytes answered the version"),
    ("version_restarts_after_delete", "versions_of_a_key_never_repeat", "a second time"),
    (
        "absent_is_checked_beforehand",
        "put_absent_by_many_has_one_winner",
        "of 16 racers created the same absent key",
    ),
    ("version_is_checked_beforehand", "put_version_by_many_loses_no_increment", "increments came to"),
    ("refused_write_is_done", "put_stale_version_changes_nothing", "a refused put changed the value"),
    (
        "condition_on_missing_key_creates",
        "put_version_of_missing_key_never_creates",
        "of a missing key on a version succeeded",
    ),
    ("wrong_error_code", "put_absent_on_existing_key_already_exists", "not with AlreadyExists"),
    (
        "unknown_outcome_of_refusal",
        "put_absent_on_existing_key_already_exists",
        "an outcome that is not NotApplied",
    ),
    ("delete_says_existed", "delete_is_idempotent_and_truthful", "a deleted key was said to exist"),
    (
        "delete_ignores_condition",
        "delete_with_stale_version_changes_nothing",
        "a delete on a stale version succeeded",
    ),
    ("get_many_sorts", "get_many_answers_in_order", "get_many answered"),
    ("forgets_expiry", "expired_record_is_absent_everywhere", "get sees an expired record"),
    ("keeps_old_expiry", "expiry_in_the_future_is_kept", "a write without expiry kept the old one"),
    ("cursor_skips", "scan_answers_each_key_once", "keys are there, and a scan answered"),
    ("cursor_repeats", "scan_answers_each_key_once", "keys are there, and a scan answered"),
    ("range_includes_end", "scan_of_edges_is_exact", "lie there"),
    ("orders_bytes_as_signed", "scan_pages_equal_model", "and the model has"),
    ("forgets_common_prefixes", "scan_with_delimiter_equals_model", "of common prefixes"),
    ("ignores_reverse", "scan_pages_equal_model", "reverse: true"),
    (
        "scan_ends_with_its_page",
        "scan_union_of_pages_is_one_page_for_every_limit",
        "in pages of 1 a scan answered 1 keys",
    ),
    ("keys_only_brings_values", "scan_keys_only_has_no_values", "brought a value"),
    ("scan_skips_under_churn", "scan_under_churn_meets_stable_keys_once", "were not met"),
    ("batch_stops_halfway", "apply_atomic_is_all_or_nothing", "a refused atomic batch"),
    ("batch_is_seen_half", "apply_atomic_is_never_seen_half", "one half of a batch"),
    ("independent_batch_stops", "apply_independent_answers_per_item", "AlreadyExists"),
    (
        "batch_error_has_no_index",
        "apply_atomic_is_all_or_nothing",
        "the failing operation was said to be None",
    ),
    ("snapshot_is_live", "transaction_reads_its_snapshot", "a snapshot saw a later put"),
    ("snapshot_is_taken_key_by_key", "transaction_auditors_see_constant_total", "in accounts that hold 400"),
    ("writes_before_commit", "transaction_is_invisible_before_commit", "saw what was not committed"),
    (
        "writes_before_commit",
        "transaction_intermediate_and_aborted_writes_are_never_read",
        "which no transaction committed",
    ),
    ("loses_updates", "transaction_loses_no_update", "80 increments in transactions came to"),
    ("allows_write_skew", "transaction_has_no_write_skew", "that each keep one of two on call left 0"),
    ("allows_write_skew", "history_of_transactions_has_no_anomaly", "G2-item"),
    ("allows_phantoms", "transaction_has_no_phantom", "left phantoms: "),
    (
        "allows_phantoms",
        "transaction_of_two_that_scan_where_the_other_adds_one_commits",
        "each scanned where the other added a key",
    ),
    ("scan_misses_own_writes", "transaction_scan_merges_own_writes", "a transaction's scan answered"),
    (
        "drop_commits",
        "transaction_rolled_back_or_dropped_leaves_nothing",
        "that was dropped changed something",
    ),
    ("leaks_a_lock", "transaction_rolled_back_or_dropped_leaves_nothing", "a transaction holds the lock"),
    (
        "conflict_is_internal",
        "transaction_of_two_that_change_one_key_one_commits",
        "was not told Conflict: an operation that must succeed failed: Internal",
    ),
    ("commit_is_not_atomic", "transaction_auditors_see_constant_total", "in accounts that hold 400"),
    ("commit_answers_other_versions", "transaction_sees_own_writes", "another version than get has"),
    ("lists_unsorted", "keyspaces_are_listed_in_order_a_page_at_a_time", "are not in order"),
    ("lists_a_page", "keyspaces_are_listed_in_order_a_page_at_a_time", "and 100 are listed"),
    ("drop_keeps_one", "keyspace_is_listed_and_dropped_whole", "a dropped keyspace"),
    ("claims_many_hosts", "put_version_by_two_processes_loses_no_increment", "the counter is missing"),
    ("claims_durability", "store_of_one_opener_refuses_a_second", "was opened by a second one"),
    (
        "claims_durability",
        "durable_writes_survive_closing_and_opening",
        "after closing and opening it 1 times",
    ),
    (
        "restores_in_place",
        "restore_replaces_everything_or_nothing",
        "a restore was seen before it was finished",
    ),
    ("restore_keeps_old", "restore_replaces_everything_or_nothing", "left a record that it does not hold"),
    ("backup_is_fuzzy", "backup_is_one_point_in_time", "a backup of 30 records held 31"),
    (
        "unknown_extension_answers",
        "extension_that_is_unknown_is_not_found",
        "an extension that does not exist succeeded",
    ),
    ("upgrade_answers_nonsense", "upgrade_of_current_format_changes_nothing", "and the capabilities say"),
    ("inline_get_is_pending", "get_declared_inline_is_ready_at_once", "answered with a future"),
    (
        "ignores_deadline",
        "deadline_is_kept_behind_an_open_transaction",
        "a put that was given 1 ms answered after 6",
    ),
    ("timeout_is_applied", "deadline_is_kept_behind_an_open_transaction", "and its value is there"),
    ("cancelled_call_leaks", "cancelled_calls_hold_nothing", "all places are taken"),
    ("leaks_memory_at_close", "boundary_a_thousand_openings_leave_nothing", "the process grew from"),
    ("leaks_a_file_at_close", "boundary_a_thousand_openings_leave_nothing", "the open files grew from"),
    ("blocks_its_thread", "call_that_waits_blocks_no_thread", "a poll of put kept its thread waiting"),
    ("blocks_the_call", "call_that_waits_blocks_no_thread", "the call of put kept its thread waiting"),
    ("refusal_spreads", "put_that_is_refused_fails_no_other", "while puts are refused, another put failed"),
    ("confuses_threads", "boundary_calls_from_64_threads_are_answered", "to its own key and read"),
    ("panics_on_long_keys", "boundary_any_argument_is_an_answer", "a put failed with Panicked"),
    ("aborts", "put_then_get_returns_value_and_version", "it took its process down: SIGABRT"),
    ("hangs", "get_missing_key_is_none", "it did not come to an end within 5 s"),
];

const OVER_SQLITE: &[Mutant] = &[
    ("acknowledges_early", "durable_writes_survive_kill", "after kill -9, round"),
    ("batch_in_two_commits", "durable_writes_survive_kill", "is half there"),
    ("restores_in_place", "durable_restore_killed_midway_is_old_or_new", "after kill -9 in a restore"),
    (
        "claims_to_detect_rewind",
        "store_that_was_set_back_is_a_new_incarnation",
        "after the store was set back",
    ),
    ("version_restarts_at_open", "versions_never_repeat_across_openings", "was given a second time"),
];

/// Defects that the SDK prevents. A library without the SDK can have them.
const WITHOUT_THE_SDK: &[Mutant] = &[
    ("ignores_limits", "limit_of_key_is_exact", "a put of a key beyond the limit succeeded"),
    ("ignores_limits", "limit_of_value_is_exact", "a put of a value beyond the limit succeeded"),
    ("ignores_limits", "limit_of_batch_operations_is_exact", "a batch of one operation too many succeeded"),
    ("ignores_limits", "limit_of_batch_bytes_is_exact", "a batch of one byte too many succeeded"),
    (
        "ignores_limits",
        "limit_of_transaction_writes_is_exact",
        "one write too many in a transaction succeeded",
    ),
    ("ignores_limits", "limit_of_transaction_bytes_is_exact", "one byte too many in a transaction succeeded"),
    (
        "ignores_limits",
        "limit_of_transaction_age_is_kept",
        "a write in a transaction beyond its age succeeded",
    ),
    (
        "ignores_limits",
        "limit_of_open_transactions_is_exact",
        "a transaction beyond the declared number succeeded",
    ),
    ("limit_is_one_less", "limit_of_key_is_exact", "the key is as long as the limit"),
    ("too_large_leaves_a_trace", "limit_of_key_is_exact", "was refused, and left 1 records"),
    (
        "does_what_it_does_not_declare",
        "expiry_not_declared_is_unsupported",
        "an expiry that is not declared succeeded",
    ),
    (
        "does_what_it_does_not_declare",
        "apply_atomic_not_declared_is_unsupported",
        "is not declared succeeded",
    ),
    (
        "does_what_it_does_not_declare",
        "scan_in_reverse_not_declared_is_unsupported",
        "is not declared succeeded",
    ),
    (
        "does_what_it_does_not_declare",
        "transaction_isolation_not_declared_is_unsupported",
        "is not declared succeeded",
    ),
    (
        "does_what_it_does_not_declare",
        "backup_not_declared_is_unsupported",
        "a backup that is not declared succeeded",
    ),
    (
        "does_what_it_does_not_declare",
        "restore_not_declared_is_unsupported",
        "a restore that is not declared succeeded",
    ),
    (
        "cursor_is_not_checked",
        "scan_cursor_altered_or_foreign_is_refused",
        "a cursor whose byte 0 was altered succeeded",
    ),
    (
        "works_after_shutdown",
        "shutdown_twice_is_once_and_later_calls_are_closed",
        "a get after the shutdown succeeded",
    ),
    ("panics_across_the_boundary", "get_missing_key_is_none", "Attempted to panic across the ffi boundary"),
    ("takes_a_key_twice", "apply_key_named_twice_is_invalid", "a batch that names a key twice succeeded"),
    ("commits_twice", "transaction_finished_refuses_calls", "a second commit succeeded"),
];

fn bench(over: &str) -> Workbench {
    let bench = Workbench::new();
    bench.put("mutant", &fs::read(plugin(&format!("mutant-{over}"))).unwrap());
    bench
}

fn base(over: &str) -> Value {
    if over == "sqlite" { json!({ "path": "k.db" }) } else { json!({}) }
}

fn run(bench: &Workbench, over: &str, defect: &str, only: &[&str]) -> Report {
    // A hang is a finding too, and it is waited for.
    let deadline = (defect == "hangs").then_some(Duration::from_secs(5));
    let only = only.iter().map(|case| (*case).to_owned()).collect();
    bench.conform(
        "mutant",
        json!({ "defect": defect, "base": base(over) }),
        Options { only, deadline, ..Options::default() },
    )
}

/// Why the suite missed the defect of a mutant; none if it found the defect.
fn missed(bench: &Workbench, over: &str, (defect, case, words): &Mutant) -> Option<String> {
    let report = run(bench, over, defect, &[case]);
    let finding = report.cases.iter().find(|finding| finding.name == *case);
    match finding.map(|finding| &finding.verdict) {
        Some(Verdict::Broken(seen)) if seen.contains(words) => None,
        other => Some(format!("{defect} over {over}: {case} should say {words:?}, and it is {other:?}")),
    }
}

fn all_are_found(over: &str, mutants: &[Mutant]) {
    let (bench, next, found) = (bench(over), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    found.lock().unwrap().extend(missed(&bench, over, mutant));
                }
            });
        }
    });
    let missed = found.into_inner().unwrap();
    assert!(
        missed.is_empty(),
        "{} of {} were not found:\n{}",
        missed.len(),
        mutants.len(),
        missed.join("\n")
    );
}

/// Without a defect, the same layers keep every promise that a mutant breaks, so each finding comes from its
/// defect. `unclaimed` are cases whose promise only a mutant makes, or only one that makes fewer.
fn none_is_found(over: &str, defect: &str, mutants: &[Mutant], unclaimed: &[&str]) {
    let cases: BTreeSet<&str> = mutants.iter().map(|(_, case, _)| *case).collect();
    let cases: Vec<&str> = cases.into_iter().collect();
    let report = run(&bench(over), over, defect, &cases);
    let not_kept: Vec<&str> = report
        .cases
        .iter()
        .filter(|finding| cases.contains(&finding.name.as_str()) && finding.verdict != Verdict::Kept)
        .map(|finding| finding.name.as_str())
        .collect();
    assert_eq!(not_kept, unclaimed, "{report}");
}

#[test]
fn mutants_of_memory_are_found_by_the_case_meant_for_them() {
    all_are_found("memory", OVER_MEMORY);
}

#[test]
fn mutants_of_sqlite_are_found_by_the_case_meant_for_them() {
    all_are_found("sqlite", OVER_SQLITE);
}

#[test]
fn mutants_without_the_sdk_are_found_by_the_case_meant_for_them() {
    all_are_found("raw", WITHOUT_THE_SDK);
}

#[test]
fn mutant_without_a_defect_keeps_all_promises() {
    none_is_found(
        "memory",
        "none",
        OVER_MEMORY,
        &[
            "put_version_by_two_processes_loses_no_increment",
            "durable_writes_survive_closing_and_opening",
            "store_of_one_opener_refuses_a_second",
        ],
    );
    none_is_found("sqlite", "none", OVER_SQLITE, &["store_that_was_set_back_is_a_new_incarnation"]);
    none_is_found(
        "raw",
        "none",
        WITHOUT_THE_SDK,
        &[
            "expiry_not_declared_is_unsupported",
            "scan_in_reverse_not_declared_is_unsupported",
            "apply_atomic_not_declared_is_unsupported",
            "transaction_isolation_not_declared_is_unsupported",
            "backup_not_declared_is_unsupported",
            "restore_not_declared_is_unsupported",
        ],
    );
    let transactions: Vec<Mutant> =
        OVER_MEMORY.iter().filter(|(_, case, _)| case.contains("transaction")).copied().collect();
    none_is_found("memory", "sound_transactions", &transactions, &[]);
}
