//! The defects of the mutants.

use keyway_sdk::{
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

/// One defect. The names are those in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(crate = "serde", rename_all = "snake_case")]
#[schemars(crate = "schemars")]
pub enum Defect {
    /// Nothing is.
    #[default]
    None,
    /// Nothing is, and transactions go through the same layer as those with a defect.
    SoundTransactions,
    /// Of every thousand writes one is acknowledged and not done.
    LosesEveryThousandthWrite,
    /// Keys are kept in lower case.
    FoldsCase,
    /// Blanks at a key's end are cut off.
    TrimsTrailingBlanks,
    /// Keyspace and key are joined without anything between them.
    JoinsKeyspaceAndKey,
    /// Keys end at their first NUL.
    KeyEndsAtNul,
    /// Only the first 255 bytes of a key count.
    KeyIsCutOff,
    /// Names of keyspaces are kept in lower case.
    FoldsKeyspaces,
    /// A record with an empty value is taken for none.
    EmptyValueIsAbsent,
    /// Values end at their first NUL.
    ValueEndsAtNul,
    /// Now and then a read answers what was there before the last write.
    StaleReads,
    /// The version of a record is a digest of its value.
    VersionIsDigest,
    /// The versions of a key begin again after it was deleted.
    VersionRestartsAfterDelete,
    /// Versions are counted from one in each opening.
    VersionRestartsAtOpen,
    /// The condition Absent is checked first, and the write comes later.
    AbsentIsCheckedBeforehand,
    /// The condition on a version is checked first, and the write comes later.
    VersionIsCheckedBeforehand,
    /// A write whose condition fails is refused, and done.
    RefusedWriteIsDone,
    /// After a write that is refused, the next one fails, too: they were of one group.
    RefusalSpreads,
    /// A condition on a version holds for a key that does not exist.
    ConditionOnMissingKeyCreates,
    /// A failed condition Absent is PreconditionFailed.
    WrongErrorCode,
    /// A failed condition says that its outcome is unknown.
    UnknownOutcomeOfRefusal,
    /// A delete always says that the key existed.
    DeleteSaysExisted,
    /// Conditions of deletes are not looked at.
    DeleteIgnoresCondition,
    /// get_many answers in the order of keys, not of the question.
    GetManySorts,
    /// Expiry is taken and forgotten.
    ForgetsExpiry,
    /// A write without an expiry keeps the one that was there.
    KeepsOldExpiry,
    /// The cursor of a page lies one key too far.
    CursorSkips,
    /// The cursor of a page lies one key too early.
    CursorRepeats,
    /// The end of a range belongs to it.
    RangeIncludesEnd,
    /// Bytes from 0x80 on come before the others.
    OrdersBytesAsSigned,
    /// A page forgets common prefixes when it has keys too.
    ForgetsCommonPrefixes,
    /// A scan in reverse is one that is not.
    IgnoresReverse,
    /// A scan answers at most as many items as one page has, and says that it is done.
    ScanEndsWithItsPage,
    /// A scan for keys only brings values.
    KeysOnlyBringsValues,
    /// A scan misses keys while something is written.
    ScanSkipsUnderChurn,
    /// An atomic batch is done one operation after the other, until one fails.
    BatchStopsHalfway,
    /// An atomic batch is done one operation after the other, once all conditions were checked.
    BatchIsSeenHalf,
    /// An independent batch ends at its first failure.
    IndependentBatchStops,
    /// An atomic batch's error does not say which operation failed.
    BatchErrorHasNoIndex,
    /// A transaction reads what is there now, and not its snapshot.
    SnapshotIsLive,
    /// A transaction reads each key when it is first asked for.
    SnapshotIsTakenKeyByKey,
    /// A transaction writes at once, and takes it back if it is rolled back.
    WritesBeforeCommit,
    /// A transaction does not look whether what it read has changed.
    LosesUpdates,
    /// A transaction only looks whether what it writes has changed.
    AllowsWriteSkew,
    /// A transaction does not look whether what it scanned has changed.
    AllowsPhantoms,
    /// A transaction does not see its own writes in its scans.
    ScanMissesOwnWrites,
    /// A transaction that is dropped is committed.
    DropCommits,
    /// A transaction that is dropped keeps its place for ever.
    LeaksALock,
    /// A conflict is an internal error.
    ConflictIsInternal,
    /// Half of a transaction's commit is done before the other.
    CommitIsNotAtomic,
    /// The versions of keys that commit answers are not those that they have.
    CommitAnswersOtherVersions,
    /// Keyspaces are listed in no order.
    ListsUnsorted,
    /// Only the first hundred keyspaces are listed.
    ListsAPage,
    /// A keyspace that is dropped keeps one record.
    DropKeepsOne,
    /// Durability is claimed, and there is none.
    ClaimsDurability,
    /// It claims that many hosts may open one store, but each gets a separate store.
    ClaimsManyHosts,
    /// It claims to detect a store that was set back, and does not.
    ClaimsToDetectRewind,
    /// The future of a put sleeps in its poll.
    BlocksItsThread,
    /// A put sleeps before it answers.
    BlocksTheCall,
    /// Writes are acknowledged before they are done.
    AcknowledgesEarly,
    /// An atomic batch is committed in two halves.
    BatchInTwoCommits,
    /// A restore shows its records as they come.
    RestoresInPlace,
    /// A backup reads on while others write.
    BackupIsFuzzy,
    /// A restore leaves what was there before.
    RestoreKeepsOld,
    /// Health is always well.
    HealthLies,
    /// An extension that does not exist answers nothing.
    UnknownExtensionAnswers,
    /// Upgrade answers another format than there is.
    UpgradeAnswersNonsense,
    /// get is declared inline and is not.
    InlineGetIsPending,
    /// A call waits seconds longer than it was given.
    IgnoresDeadline,
    /// A call beyond its deadline says that nothing was changed, and it was.
    TimeoutIsApplied,
    /// A call that is cancelled keeps its place for ever.
    CancelledCallLeaks,
    /// Each opening leaves memory behind.
    LeaksMemoryAtClose,
    /// Each opening leaves a file open.
    LeaksAFileAtClose,
    /// Many threads at a time confuse it.
    ConfusesThreads,
    /// A key of more than 700 bytes panics.
    PanicsOnLongKeys,
    /// It takes its process down.
    Aborts,
    /// It does not come back.
    Hangs,
}
