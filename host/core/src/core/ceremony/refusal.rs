//! The refusals of ceremonies.

use thiserror::Error;

use crate::token::Token;

/// Why a step of a rekeying or of making a root token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CeremonyRefusal {
    /// One rekeying at a time.
    #[error("rekey already in progress")]
    RekeyInProgress,
    /// There is no rekeying.
    #[error("no rekey in progress")]
    NoRekey,
    /// Another rekeying took the place of this one.
    #[error("the rekey was begun again")]
    RekeyRestarted,
    /// The nonce is not the rekeying's.
    #[error("incorrect nonce supplied; the nonce for this rekey operation is told by its start")]
    RekeyNonce,
    /// Enough shares were given; now the new ones are verified.
    #[error("the new shares are made: give them back to rekey/verify")]
    SharesMade,
    /// The write of the new keys has an unknown outcome.
    #[error(
        "the new shares may be in force: give one of them again, which finds out, before you give the rekeying up"
    )]
    PerhapsInForce,
    /// There is nothing to verify again.
    #[error("no rekey configuration found")]
    NoRekeyConfiguration,
    /// There is no verification.
    #[error("no rekey verification in progress")]
    NoVerification,
    /// The nonce is not the verification's.
    #[error("incorrect nonce supplied; the nonce for this verification is told with the new shares")]
    VerificationNonce,
    /// The one-time pad hides every byte of the token.
    #[error("the one-time pad (otp) must have {} bytes", Token::BYTES)]
    PadLength,
    /// One root token at a time.
    #[error("root generation already in progress")]
    RootInProgress,
    /// No root token is being made.
    #[error("no root generation in progress")]
    NoRoot,
    /// The attempt was cancelled while its last share came.
    #[error("the root generation was cancelled")]
    RootCancelled,
    /// The nonce is not the attempt's.
    #[error("incorrect nonce supplied; the nonce for this root generation is told by its start")]
    RootNonce,
}
