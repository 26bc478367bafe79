//! The operations of a backend, by their names in the interface.

/// An operation of a backend, and whether it may change the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// Its name in the interface, in metrics and in errors.
    pub(crate) name: &'static str,
    /// Whether the outcome is unknown if no answer comes.
    pub(crate) writes: bool,
}

impl Operation {
    pub(crate) const GET: Self = Self::read("get");
    pub(crate) const GET_MANY: Self = Self::read("get_many");
    pub(crate) const SCAN: Self = Self::read("scan");
    pub(crate) const PUT: Self = Self::write("put");
    pub(crate) const DELETE: Self = Self::write("delete");
    pub(crate) const APPLY: Self = Self::write("apply");
    pub(crate) const DROP_KEYSPACE: Self = Self::write("drop_keyspace");
    /// In errors alone: the loader answers it from the present opening.
    pub(crate) const CAPABILITIES: Self = Self::read("capabilities");
    pub(crate) const HEALTH: Self = Self::read("health");
    pub(crate) const SHUTDOWN: Self = Self::write("shutdown");

    const fn read(name: &'static str) -> Self {
        Self { name, writes: false }
    }

    const fn write(name: &'static str) -> Self {
        Self { name, writes: true }
    }
}
