//! For whoever watches the server: [`health`], [`backends`], [`metrics`].

pub(super) mod backends;
pub(super) mod health;
pub(super) mod metrics;
