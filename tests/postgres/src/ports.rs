//! Ports for servers that are told their port.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::TcpListener,
};

use anyhow::{Result, bail};

/// Below the ports that Linux and macOS give to sockets that ask for any port. So no other process gets one of
/// these by chance between this choice and the start of the server.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port on the loopback address that no process listens at.
///
/// # Errors
///
/// If all are taken.
pub fn free_port() -> Result<u16> {
    let count = PORTS.len();
    // The standard library's random state is the only source of random bits here.
    let first = RandomState::new().hash_one(std::process::id()) as usize % count;
    let all = PORTS.cycle().skip(first).take(count);
    for port in all {
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free")
}
