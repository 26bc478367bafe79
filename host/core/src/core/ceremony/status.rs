//! The status of a rekey.

use keyway_crypto::shares::Share;
use uuid::Uuid;

/// How far a rekeying is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RekeyStatus {
    /// The name of the attempt; none if none has begun.
    pub nonce: Option<Uuid>,
    /// How many of the new shares will unseal, and how many there will be.
    pub next: (u8, u8),
    /// How many shares were given.
    pub progress: usize,
    /// How many are needed.
    pub required: u8,
    /// Whether the new shares must be given back before they count.
    pub verifies: bool,
    /// The name of the giving back; none if there is nothing to be given back.
    pub verification: Option<Uuid>,
    /// How many were given back.
    pub given_back: usize,
}

/// Who begins a ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginner {
    /// A token with `sudo`.
    Administrator,
    /// Any other client with the right to begin.
    Anybody,
}

/// What a share has led to.
pub enum Rekeyed {
    /// More are needed.
    Going(RekeyStatus),
    /// The new shares, for their holders; the name of their giving back, if that is needed before they count.
    Made {
        /// The name of the attempt.
        nonce: Uuid,
        /// The shares.
        shares: Vec<Share>,
        /// The name of the giving back.
        verification: Option<Uuid>,
    },
    /// The new shares are in force.
    InForce(Uuid),
}
