//! Fields that Vault or OpenBao know and Keyway does not support, by the kind of route: a request that sets one is
//! refused by name, since dropping it would do something else than was asked for.

/// On a policy.
pub(super) const POLICY: &[&str] =
    &["allow_slashes_in_identity_templates", "allow_wildcards_in_identity_templates", "expiration", "ttl"];

/// On a new mount or auth method.
pub(super) const MOUNT: &[&str] = &[
    "config.allowed_managed_keys",
    "config.allowed_response_headers",
    "config.audit_non_hmac_request_keys",
    "config.audit_non_hmac_response_keys",
    "config.delegated_auth_accessors",
    "config.force_no_cache",
    "config.identity_token_key",
    "config.passthrough_request_headers",
    "config.plugin_name",
    "config.plugin_version",
    "config.user_lockout_config",
    "external_entropy_access",
    "force_no_cache",
    "local",
    "plugin_name",
    "plugin_version",
    "seal_wrap",
];

/// When a mount or auth method is tuned.
pub(super) const TUNE: &[&str] = &[
    "allowed_managed_keys",
    "allowed_response_headers",
    "audit_non_hmac_request_keys",
    "audit_non_hmac_response_keys",
    "delegated_auth_accessors",
    "force_no_cache",
    "identity_token_key",
    "passthrough_request_headers",
    "plugin_version",
    "user_lockout_config",
];

/// On a new audit device.
pub(super) const AUDIT: &[&str] = &["local"];

/// When a token is made.
pub(super) const TOKEN: &[&str] = &["entity_alias"];

/// On a role that tokens are made by.
pub(super) const TOKEN_ROLE: &[&str] =
    &["allowed_entity_aliases", "token_max_ttl", "token_policies", "token_strictly_bind_ip", "token_ttl"];

/// On an AppRole.
pub(super) const APPROLE: &[&str] = &["local_secret_ids", "token_strictly_bind_ip"];

/// When a cluster is initialised.
pub(super) const INIT: &[&str] = &[
    "pgp_keys",
    "recovery_pgp_keys",
    "recovery_shares",
    "recovery_threshold",
    "root_token_pgp_key",
    "stored_shares",
];

/// When other unseal shares are asked for.
pub(super) const REKEY: &[&str] = &["backup", "pgp_keys"];

/// When a root token is asked for.
pub(super) const ROOT: &[&str] = &["pgp_key"];

/// On the settings of a mount of KV version 2: OpenBao has it there, and does not look at it.
pub(super) const KV_CONFIG: &[&str] = &["metadata_cas"];

/// On the data of a secret: the version that a read asks for.
pub(super) const DATA: &[&str] = &["version"];

/// When a backend is swapped: nothing is forced.
pub(super) const SWAP: &[&str] = &["force"];
