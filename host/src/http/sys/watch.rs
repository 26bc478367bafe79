//! For whoever watches the server: [`health`], [`metrics`].

pub(super) mod health;
pub(super) mod metrics;
