//! What a backend promises, declared once it is open. The conformance suite tests each declared promise. An
//! operation that is not declared answers `Unsupported` and changes nothing.

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

            /// The level of that name.
            pub fn parse(name: &str) -> Option<Self> {
                [$(Self::$level),*].into_iter().find(|level| level.name() == name)
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
    /// Each with its name, as descriptors and `sys/backends` have it.
    pub const NAMED: [(&str, Self); 7] = [
        ("atomic_batch", Self::ATOMIC_BATCH),
        ("blocks_writers", Self::BLOCKS_WRITERS),
        ("expiry", Self::EXPIRY),
        ("reverse_scan", Self::REVERSE_SCAN),
        ("restore", Self::RESTORE),
        ("detects_rewind", Self::DETECTS_REWIND),
        ("inline_get", Self::INLINE_GET),
    ];

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
    /// The backend detects that its store was rewound by other means than Keyway.
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

    /// The names of the features in the set.
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMED.iter().filter(|(_, feature)| self.contains(*feature)).map(|(name, _)| *name).collect()
    }
}

/// The bounds of a backend. Beyond them a call fails with `TooLarge` (or `ResourceExhausted` for time) and changes
/// nothing. The SDK enforces each before the backend is called: a backend declares what its store can hold.
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

impl Limits {
    /// The usual ones: keys of 1 KiB, values of 33 MiB, batches of 1,000 operations and 64 MiB, transactions of 10,000
    /// writes, 64 MiB and 10 s, 64 at a time.
    pub const USUAL: Self = Self {
        key_bytes: 1024,
        value_bytes: 33 * 1024 * 1024,
        batch_ops: 1_000,
        batch_bytes: 64 * 1024 * 1024,
        transaction_ops: 10_000,
        transaction_bytes: 64 * 1024 * 1024,
        transaction_age_ms: 10_000,
        transactions: 64,
        reserved: [0; 8],
    };

    /// Each with its name, as descriptors have it.
    pub const fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("key_bytes", self.key_bytes),
            ("value_bytes", self.value_bytes),
            ("batch_ops", self.batch_ops),
            ("batch_bytes", self.batch_bytes),
            ("transaction_ops", self.transaction_ops),
            ("transaction_bytes", self.transaction_bytes),
            ("transaction_age_ms", self.transaction_age_ms),
            ("transactions", self.transactions),
        ]
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
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
    /// The data format that the store holds: what `Backend::upgrade` brings to the plugin's own. A
    /// plugin that reads older formats opens such a store without changing it; one that finds a newer format
    /// refuses to open.
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

impl Capabilities {
    /// The least that a backend can promise, within the usual limits.
    pub const LEAST: Self = Self {
        read_consistency: ReadConsistency::EVENTUAL,
        isolation: Isolation::NONE,
        durability: Durability::VOLATILE,
        scan_order: ScanOrder::UNORDERED,
        backup: BackupLevel::NONE,
        sharing: Sharing::ONE_OPENER,
        data_format: 0,
        reserved_level: 0,
        features: Features::EMPTY,
        limits: Limits::USUAL,
        reserved: [0; 8],
    };

    /// The levels with their names, as descriptors have them.
    pub const fn levels(&self) -> [(&'static str, &'static str); 6] {
        [
            ("read_consistency", self.read_consistency.name()),
            ("isolation", self.isolation.name()),
            ("durability", self.durability.name()),
            ("scan_order", self.scan_order.name()),
            ("backup", self.backup.name()),
            ("sharing", self.sharing.name()),
        ]
    }

    /// The first thing that is promised here and not in `most`; none if all of it is.
    pub fn beyond(&self, most: &Self) -> Option<&'static str> {
        let levels = [
            self.read_consistency <= most.read_consistency,
            self.isolation <= most.isolation,
            self.durability <= most.durability,
            self.scan_order <= most.scan_order,
            self.backup <= most.backup,
            self.sharing <= most.sharing,
        ];
        let level =
            self.levels().into_iter().zip(levels).find(|(_, within)| !within).map(|((name, _), _)| name);
        let feature = || {
            let beyond = |(_, feature): &&(&'static str, Features)| {
                self.features.contains(*feature) && !most.features.contains(*feature)
            };
            Features::NAMED.iter().find(beyond).map(|(name, _)| *name)
        };
        let limit = || {
            let pairs = self.limits.named().into_iter().zip(most.limits.named());
            pairs.into_iter().find(|((_, own), (_, most))| own > most).map(|((name, _), _)| name)
        };
        level.or_else(feature).or_else(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_beyond_another_is_named() {
        let least = Capabilities::LEAST;
        assert_eq!(least, Capabilities::default());
        assert_eq!(least.beyond(&least), None);
        let durable = Capabilities { durability: Durability::POWER_LOSS, ..least };
        assert_eq!((least.beyond(&durable), durable.beyond(&least)), (None, Some("durability")));
        let expiring = Capabilities { features: Features::EXPIRY.union(Features::RESTORE), ..least };
        assert_eq!(expiring.beyond(&durable), Some("expiry"));
        let larger = Capabilities { limits: Limits { value_bytes: u64::MAX, ..Limits::USUAL }, ..least };
        assert_eq!(larger.beyond(&expiring), Some("value_bytes"));
        assert_eq!(Durability::parse("power loss"), Some(Durability::POWER_LOSS));
        assert_eq!(Durability::parse("unrecognised"), None);
    }
}
