//! Which version of Vault's protocol is spoken.

/// The level of Vault's protocol: clients switch features on by it. Keyway's own version is another field.
pub(super) const VAULT_LEVEL: &str = "1.15.0";
