//! Puts the server together: reads the [`config`], loads plugins, opens backends, listens, and ends in order.
//!
//! [`Server`] does it, step by step: [`plugins`] says where plugins are, [`opener`] opens the backends,
//! [`listen`] takes the socket, [`serve`] serves connections ([`tls`] if they are encrypted, [`patient`] with
//! slow clients), [`reload`] reads the configuration again. [`log`], [`signals`], [`files`] and
//! [`core_dumps`] set the process up.

pub mod config;
pub mod core_dumps;
mod error;
pub mod files;
mod listen;
pub mod log;
mod opener;
mod options;
mod patient;
mod plugins;
mod reload;
mod serve;
mod server;
pub mod signals;
mod tls;

pub use self::{
    error::ServerError,
    options::StartOptions,
    plugins::{PROBE_COMMAND, loader, search_path},
    server::Server,
    tls::{Tls, TlsError},
};
