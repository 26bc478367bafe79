//! Access: auth [`methods`], [`policies`] and the resulting [`capabilities`], [`leases`] of tokens.

pub(super) mod capabilities;
pub(super) mod leases;
pub(super) mod methods;
pub(super) mod policies;
