//! A version is never used twice for a key, whatever wrote it.

use std::collections::HashSet;

use keyway_loader::{Batch, BatchMode, DropKeyspace, Features, Isolation, Op, Put, WriteId};

use crate::{
    Case,
    harness::{Broken, Harness, Outcomes, call, promise, wait},
};

const ROUNDS: usize = 50;

pub(crate) const CASES: &[Case] =
    &[Case { name: "versions_of_a_key_never_repeat", applies: |_| true, run: never_repeat }];

fn never_repeat(h: &Harness) -> Outcomes {
    let mut seen = HashSet::new();
    let mut fresh = |version, by: &str| -> Outcomes {
        promise!(seen.insert(version), "{by} gave the version {version:?} a second time");
        Ok(())
    };
    for _ in 0..ROUNDS {
        fresh(h.put(b"k", b"same")?, "a put")?;
        h.delete(b"k")?;
        if h.capabilities().features.contains(Features::ATOMIC_BATCH) {
            let ops = [Op::put(h.key(b"k"), b"same")];
            let results =
                wait(h.store().apply(&call(), Batch::new(&ops, BatchMode::Atomic, WriteId::default())))?;
            let version = results.iter().find_map(Result::ok).map(|result| result.version());
            fresh(version.ok_or_else(|| Broken("a batch of one put answered nothing".into()))?, "a batch")?;
            h.delete(b"k")?;
        }
        if h.capabilities().isolation > Isolation::NONE {
            // What a transaction saw of its own writes is never anybody else's version, though it was rolled back.
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
            let committed = wait(transaction.commit(&call(), WriteId::default()))?;
            let version = committed.keys().first().map(keyway_loader::CommittedKey::version);
            fresh(
                version.ok_or_else(|| Broken("a commit of one put answered no version".into()))?,
                "a commit",
            )?;
        }
        wait(h.store().drop_keyspace(&call(), DropKeyspace::new(h.keyspace(), WriteId::default())))?;
    }
    Ok(())
}
