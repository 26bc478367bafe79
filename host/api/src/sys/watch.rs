//! For operators and their programs: [`health`], [`host`], [`metrics`].

pub(super) mod health;
pub(super) mod host;
pub(super) mod metrics;
