//! Tokens: 256 random bits, found in the store by their HMAC, so that the store names no token.
//!
//! [`entry`] is what is known of one, [`life`] how long it lives, [`plan`](mod@plan) what a new one may be, [`role`] what an administrator says of those made by a role;
//! [`store`] looks them up, makes, renews, spends and revokes them, [`tidy`] removes what is dead. A token is as good as its
//! ancestors: revoking one is one write, and its children find their ancestor missing.

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

pub use self::{
    entry::{Entry, Kin},
    error::{TokenError, TokenRefusal},
    name::{Token, TokenName},
    networks::{is_bound_to, network_texts, networks},
    root::{SealedRecord, forget_unopenable},
    store::{Live, Tokens},
    tidy::Tidied,
};
