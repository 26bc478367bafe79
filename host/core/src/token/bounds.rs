//! The bounds of a token: ancestors, metadata, policies.

/// The most ancestors of a token.
pub(super) const MAX_ANCESTORS: usize = 64;
/// The most metadata entries of a token or a secret id.
pub(super) const MAX_META: usize = 64;
/// The most bytes of their names and values together.
pub(super) const MAX_META_BYTES: usize = 8_192;
/// The most policies of a token.
pub(super) const MAX_POLICIES: usize = 256;
