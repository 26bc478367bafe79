//! How it is decided whether a library may run.

/// How it is decided whether a library may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Its digest stands in the lock file.
    Lock,
    /// A key of the configuration has signed it.
    Signed,
    /// Only root and this program's user could have written it.
    Owner,
    /// Not at all. For development.
    Unchecked,
}

impl Policy {
    /// The word for it in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Signed => "signed",
            Self::Owner => "owner",
            Self::Unchecked => "none",
        }
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Lock, Self::Signed, Self::Owner, Self::Unchecked]
            .into_iter()
            .find(|policy| policy.name() == name)
    }
}
