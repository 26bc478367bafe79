//! Tokens: 256 random bits, found in the store by their HMAC, so that the store names no token.
//!
//! [`entry`] describes a token, [`life`] says how long it lives, [`plan`](mod@plan) checks a new one,
//! [`role`] has an administrator's settings for tokens of a role. [`store`] looks tokens up, makes, renews,
//! spends and revokes them; [`tidy`] removes dead ones.
//!
//! A token is as good as its ancestors: revoking one is one write, and its children find their ancestor
//! missing.

mod bounds;
pub mod entry;
mod error;
pub mod life;
mod name;
mod networks;
pub mod plan;
mod policies;
pub mod role;
mod root;
pub mod store;
mod tidy;

pub(crate) use self::networks::is_bound_to;
pub use self::{
    entry::{Entry, Kin},
    error::{TokenError, TokenRefusal},
    name::{Token, TokenName},
    networks::{network_texts, networks},
    root::{SealedRecord, forget_unopenable},
    store::{Live, Tokens},
    tidy::Tidied,
};
