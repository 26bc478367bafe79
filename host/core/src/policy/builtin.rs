//! The built-in policies: `default`, until a client writes another one, and the policy of wrappings.

/// What the token of a wrapping may do.
pub(super) const RESPONSE_WRAPPING_TEXT: &str = r#"path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
"#;

/// What every token may do with itself.
pub(super) const DEFAULT_TEXT: &str = r#"# What every token may do with itself.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}
path "sys/internal/ui/mounts" {
  capabilities = ["read"]
}
path "sys/internal/ui/mounts/*" {
  capabilities = ["read"]
}

# Its leases: the name of a lease proves the right to it.
path "sys/leases/lookup" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/renew" {
  capabilities = ["update"]
}

# What belongs to it alone.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Answers in wrappings.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
"#;
