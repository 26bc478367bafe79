//! The keys: [`seal`] (init, unseal, seal, rotate), [`password`], [`reencryption`], [`ceremonies`] of the
//! holders of the shares.

pub(super) mod ceremonies;
pub(super) mod password;
pub(super) mod reencryption;
pub(super) mod seal;
