//! Which version of Vault's protocol is spoken.

/// The level of Vault's protocol that is spoken: clients switch features on by it. Keyway's own version stands beside it.
pub(super) const VAULT_LEVEL: &str = "1.15.0";
