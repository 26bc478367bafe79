//! Who may do what: [`methods`] of authentication, [`policies`] and what they come to ([`capabilities`]), [`leases`] of tokens.

pub(super) mod capabilities;
pub(super) mod leases;
pub(super) mod methods;
pub(super) mod policies;
