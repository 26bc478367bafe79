//! A version is never used twice for a key, by any kind of write.

use std::{collections::HashSet, path::Path};

use keyway_loader::{
    BatchMode, Capabilities, CommittedKey, DropKeyspace, Durability, Features, Op, Put, Version,
};

use crate::{
    Case,
    harness::{Broken, Harness, call, certain, wait, write_id},
    verdict::{Outcomes, Stop},
};

const ROUNDS: usize = 50;

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "versions_of_a_key_never_repeat",
        "a version is unique for its key, also across deletes, re-creations and drops of keyspaces",
        never_repeat,
    ),
    Case::new(
        "versions_never_repeat_across_openings",
        "a version is unique for its key within the store, also after it was closed and opened again",
        across_openings,
    )
    .when(|capabilities| is_durable(capabilities) || detects_rewind(capabilities)),
    Case::new(
        "store_that_was_set_back_is_a_new_incarnation",
        "a store that was set back to an earlier copy gives no version a second time (DETECTS_REWIND)",
        set_back,
    )
    .when(|capabilities| is_durable(capabilities) && detects_rewind(capabilities)),
];

fn is_durable(capabilities: &Capabilities) -> bool {
    capabilities.durability > Durability::VOLATILE
}

fn detects_rewind(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::DETECTS_REWIND)
}

fn set_back(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"before")?;
    h.close()?;
    let directory = h.data_dir();
    let copy = directory.with_extension("copy");
    let failed = |error: std::io::Error| Stop::Unproved(format!("copy the data directory: {error}"));
    copy_files(directory, &copy).map_err(failed)?;
    // The same steps from the same files: a store that does not notice gives the same versions again.
    let write = || -> Result<HashSet<Version>, Stop> {
        h.reopen()?;
        if h.value(b"k")? != b"before" {
            return Err(Stop::Unproved("the store does not lie in its data directory".into()));
        }
        let versions = (0..20).map(|_| Ok(h.put(b"k", b"same")?)).collect();
        h.close()?;
        versions
    };
    let first = write()?;
    std::fs::remove_dir_all(directory).and_then(|()| copy_files(&copy, directory)).map_err(failed)?;
    let second = write()?;
    let repeated = first.intersection(&second).next();
    certain!(repeated.is_none(), "after the store was set back, {repeated:?} was given a second time");
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn across_openings(h: &Harness<'_>) -> Outcomes {
    let mut seen = HashSet::new();
    for _ in 0..h.rounds(5, 100) {
        for _ in 0..20 {
            let version = h.put(b"k", b"same")?;
            certain!(
                seen.insert(version),
                "after the store was opened again, {version:?} was given a second time"
            );
            h.delete(b"k")?;
        }
        h.reopen()?;
    }
    Ok(())
}

fn never_repeat(h: &Harness<'_>) -> Outcomes {
    let mut seen = HashSet::new();
    let mut fresh = |version: Version, by: &str| -> Outcomes {
        certain!(seen.insert(version), "{by} gave the version {version:?} a second time");
        Ok(())
    };
    for _ in 0..h.rounds(ROUNDS, 40 * ROUNDS) {
        fresh(h.put(b"k", b"same")?, "a put")?;
        h.delete(b"k")?;
        if super::claims::is_atomic(&h.capabilities()) {
            let ops = [Op::put(h.key(b"k"), b"same")];
            let results = h.apply(&ops, BatchMode::Atomic)?;
            let version = results.iter().find_map(Result::ok).map(|result| result.version());
            fresh(version.ok_or_else(|| Broken("a batch of one put answered nothing".into()))?, "a batch")?;
            h.delete(b"k")?;
        }
        if super::claims::has_transactions(&h.capabilities()) {
            // A version that a transaction saw of its own write is never given again, even if it was rolled
            // back.
            let undone = h.begin(h.capabilities().isolation)?;
            wait(undone.put(&call(), Put::new(h.key(b"k"), b"undone")))?;
            let seen = wait(undone.get(&call(), h.key(b"k")))?.map(|record| record.version());
            wait(undone.rollback(&call()))?;
            fresh(
                seen.ok_or_else(|| Broken("a transaction does not see its own put".into()))?,
                "a rolled back put",
            )?;
            let transaction = h.begin(h.capabilities().isolation)?;
            wait(transaction.put(&call(), Put::new(h.key(b"k"), b"same")))?;
            let committed = wait(transaction.commit(&call(), write_id()))?;
            let version = committed.keys().first().map(CommittedKey::version);
            fresh(
                version.ok_or_else(|| Broken("a commit of one put answered no version".into()))?,
                "a commit",
            )?;
        }
        wait(h.store().drop_keyspace(&call(), DropKeyspace::new(h.keyspace(), write_id())))?;
    }
    Ok(())
}
