//! Keys, and the sealing of records. Only these modules see key bytes; only [`envelope`] knows the envelope's
//! bytes.

pub mod envelope;
pub mod key;
pub mod keyring;
pub mod password;
pub mod shares;
