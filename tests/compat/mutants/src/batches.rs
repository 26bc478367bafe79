//! Batches that are not atomic, or not independent.

use std::{sync::Arc, thread, time::Duration};

use keyway_sdk::{
    Backend, Batch, BatchMode, BatchResult, CallContext, Delete, Error, Op, OpKind, OpResult, Put, Record,
    Result, backend::check_condition,
};

use crate::{
    defect::Defect,
    mutant::{Mutant, now},
};

/// The result if the defect has one; none if the batch is done correctly.
pub(crate) fn apply<B: Backend>(
    mutant: &Arc<Mutant<B>>,
    call: &CallContext<'_>,
    batch: &Batch<'_>,
) -> Option<Result<BatchResult>> {
    let is_atomic = batch.mode() == BatchMode::Atomic;
    match mutant.defect {
        Defect::BatchStopsHalfway if is_atomic => Some(one_by_one(mutant, call, batch, Duration::ZERO)),
        Defect::BatchIsSeenHalf if is_atomic => Some(
            check_all(mutant, call, batch)
                .and_then(|()| one_by_one(mutant, call, batch, Duration::from_micros(200))),
        ),
        Defect::IndependentBatchStops if !is_atomic => Some(one_by_one(mutant, call, batch, Duration::ZERO)),
        Defect::BatchErrorHasNoIndex => {
            let beneath = now(mutant.inner.apply(call, *batch));
            Some(beneath.map_err(|error| Error::new(error.code(), error.message())))
        }
        Defect::BatchInTwoCommits if is_atomic && batch.ops().len() > 1 => {
            let (first, second) = batch.ops().split_at(batch.ops().len() / 2);
            let half =
                |ops| now(mutant.inner.apply(call, Batch::new(ops, BatchMode::Atomic, batch.write_id())));
            Some(half(first).and_then(|first| {
                // Long enough to be killed in between.
                thread::sleep(Duration::from_millis(2));
                let second = half(second)?;
                Ok(first
                    .iter()
                    .chain(second.iter())
                    .map(|result| result.copied().map_err(Clone::clone))
                    .collect())
            }))
        }
        _ => None,
    }
}

fn check_all<B: Backend>(mutant: &Arc<Mutant<B>>, call: &CallContext<'_>, batch: &Batch<'_>) -> Result<()> {
    for (index, op) in batch.ops().iter().enumerate() {
        let current = mutant.now(call, op.key())?.map(|record| record.version());
        check_condition(op.condition(), current).map_err(|error| error.with_index(index))?;
    }
    Ok(())
}

fn one_by_one<B: Backend>(
    mutant: &Arc<Mutant<B>>,
    call: &CallContext<'_>,
    batch: &Batch<'_>,
    pause: Duration,
) -> Result<BatchResult> {
    let mut results = Vec::new();
    for (index, op) in batch.ops().iter().enumerate() {
        let done = one(mutant, call, op, batch).map_err(|error| error.with_index(index));
        results.push(Ok(done?));
        thread::sleep(pause);
    }
    Ok(results.into_iter().collect())
}

fn one<B: Backend>(
    mutant: &Arc<Mutant<B>>,
    call: &CallContext<'_>,
    op: &Op<'_>,
    batch: &Batch<'_>,
) -> Result<OpResult> {
    let existed = mutant.now(call, op.key())?;
    match op.kind() {
        OpKind::Put => {
            let put = Put::new(op.key(), op.value()).when(op.condition()).with_write_id(batch.write_id());
            now(mutant.inner.put(call, put)).map(|version| OpResult::written(version, existed.is_some()))
        }
        OpKind::Delete => {
            let delete = Delete::new(op.key()).when(op.condition()).with_write_id(batch.write_id());
            now(mutant.inner.delete(call, delete)).map(OpResult::unversioned)
        }
        OpKind::Check => {
            check_condition(op.condition(), existed.as_ref().map(Record::version))?;
            Ok(OpResult::unversioned(existed.is_some()))
        }
    }
}
