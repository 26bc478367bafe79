//! The keys: [`seal`] (init, unseal, seal, rotate), [`ceremonies`] of the holders of the shares.

pub(super) mod ceremonies;
pub(super) mod seal;
