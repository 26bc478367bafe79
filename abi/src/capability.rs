//! What a backend promises, declared once it is open. What is declared is tested; what is not declared answers
//! `Unsupported` and changes nothing.

use abi_stable::StableAbi;

macro_rules! level {
    ($(#[$doc:meta])* $name:ident { $($(#[$level_doc:meta])* $level:ident = $value:literal $text:literal;)* }) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub struct $name(u32);

        impl $name {
            $($(#[$level_doc])* pub const $level: Self = Self($value);)*

            /// The level in words.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    _ => "unrecognised",
                }
            }
        }
    };
}

level! {
    /// What a read is guaranteed to see.
    ReadConsistency {
        /// Perhaps an earlier state.
        EVENTUAL = 0 "eventual";
        /// Every write that was acknowledged before the read began.
        LINEARIZABLE = 1 "linearizable";
    }
}

level! {
    /// The strongest isolation of transactions.
    Isolation {
        /// No transactions.
        NONE = 0 "none";
        /// No dirty reads.
        READ_COMMITTED = 1 "read committed";
        /// One snapshot; first committer wins.
        SNAPSHOT = 2 "snapshot";
        /// As if one after the other.
        SERIALIZABLE = 3 "serializable";
    }
}

level! {
    /// What an acknowledged write survives.
    Durability {
        /// Nothing: it is gone when the backend closes.
        VOLATILE = 0 "volatile";
        /// A crash of the process.
        PROCESS_CRASH = 1 "process crash";
        /// Loss of power.
        POWER_LOSS = 2 "power loss";
        /// Loss of a machine.
        REPLICATED = 3 "replicated";
    }
}

level! {
    /// The order in which scans return keys.
    ScanOrder {
        /// No promise.
        UNORDERED = 0 "unordered";
        /// As unsigned bytes.
        BYTEWISE = 1 "bytewise";
    }
}

level! {
    /// What a backup is.
    BackupLevel {
        /// No backup.
        NONE = 0 "none";
        /// Each record as it was at some time during the backup.
        FUZZY = 1 "fuzzy";
        /// All records as they were at one time.
        POINT_IN_TIME = 2 "point in time";
    }
}

level! {
    /// Who may open the same store at the same time.
    Sharing {
        /// One opener.
        ONE_OPENER = 0 "one opener";
        /// Many in one process.
        ONE_PROCESS = 1 "many in one process";
        /// Many hosts.
        MANY_HOSTS = 2 "many hosts";
    }
}

/// A set of single abilities.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features(u64);

impl Features {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// `apply` with `Atomic`.
    pub const ATOMIC_BATCH: Self = Self(1);
    /// A write transaction keeps other writers waiting.
    pub const BLOCKS_WRITERS: Self = Self(1 << 1);
    /// Records with an expiry.
    pub const EXPIRY: Self = Self(1 << 2);
    /// Scans in reverse.
    pub const REVERSE_SCAN: Self = Self(1 << 3);
    /// `restore`.
    pub const RESTORE: Self = Self(1 << 4);
    /// A store rewound behind Keyway's back is detected.
    pub const DETECTS_REWIND: Self = Self(1 << 5);
    /// `get` answers inline within 50 µs (p99).
    pub const INLINE_GET: Self = Self(1 << 6);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The bounds that a backend enforces. Beyond them a call fails with `TooLarge` (or `ResourceExhausted` for time)
/// and changes nothing.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key; at least 480.
    pub key_bytes: u64,
    /// Longest value.
    pub value_bytes: u64,
    /// Most operations of a batch.
    pub batch_ops: u64,
    /// Most bytes (keys and values) of a batch.
    pub batch_bytes: u64,
    /// Most writes of a transaction.
    pub transaction_ops: u64,
    /// Most bytes written by a transaction.
    pub transaction_bytes: u64,
    /// Longest life of a transaction, in milliseconds.
    pub transaction_age_ms: u64,
    /// Most transactions at a time.
    pub transactions: u64,
    /// Room for later limits; zero.
    pub reserved: [u64; 8],
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes: 1024,
            value_bytes: 33 * 1024 * 1024,
            batch_ops: 1_000,
            batch_bytes: 64 * 1024 * 1024,
            transaction_ops: 10_000,
            transaction_bytes: 64 * 1024 * 1024,
            transaction_age_ms: 10_000,
            transactions: 64,
            reserved: [0; 8],
        }
    }
}

/// What an open backend promises.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What a read sees.
    pub read_consistency: ReadConsistency,
    /// The strongest isolation of transactions; `NONE` means that `begin` is not supported.
    pub isolation: Isolation,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// The order of scans.
    pub scan_order: ScanOrder,
    /// What a backup is; `NONE` means that `backup` is not supported.
    pub backup: BackupLevel,
    /// Who may open the store at the same time.
    pub sharing: Sharing,
    /// The data format that the store holds: what [`crate::store`]'s `upgrade` brings to the plugin's own. A plugin that
    /// reads older formats opens such a store without changing it; one that finds a newer format refuses to open.
    pub data_format: u32,
    /// Room for a later level; zero.
    pub reserved_level: u32,
    /// Single abilities.
    pub features: Features,
    /// Bounds.
    pub limits: Limits,
    /// Room for later levels; zero.
    pub reserved: [u64; 8],
}
