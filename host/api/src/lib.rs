//! Vault's protocol over the core.
//!
//! The way of a request: [`service`] receives it within the limits of [`edge`] and [`limit`]. [`call`] parses
//! its head (the [`path`], the [`action`], the [`trace`]). [`target`] finds its [`route`] by a [`search`] in
//! the tables. [`gate`] decides who asks and whether they may. [`body`] reads the body.
//!
//! The endpoints are [`sys`], [`auth`], [`kv1`], [`kv2`] and [`cubbyhole`], each with a table of its routes.
//! [`audit`] records requests and responses. [`answer`] is Vault's envelope, [`error`] its error bodies, and
//! only these two know status codes.
//!
//! [`given`] has the types of fields as clients send them, [`fields`] refuses or reports fields that no
//! endpoint reads, [`unnamed`] answers for paths that name no secret, [`wrapping`] keeps an answer for the
//! client that has its token, [`in_flight`] lists the requests in flight, and [`metrics`] measures them.

mod action;
mod answer;
mod audit;
mod auth;
mod body;
mod call;
mod cubbyhole;
mod edge;
mod error;
mod fields;
mod gate;
mod given;
mod in_flight;
mod kv1;
mod kv2;
mod limit;
mod metrics;
mod path;
pub mod route;
mod search;
mod service;
mod sys;
mod target;
mod trace;
mod unnamed;
mod unread;
mod unsupported;
mod wrapping;

pub use self::{
    action::Action,
    call::{Peer, PeerCertificate},
    edge::{Edge, EdgeSettings, OpenRoutes},
    limit::RequestLimits,
    service::router,
    target::tables,
};
