//! The listener. The server binds it, or takes it from the process that started it and listens already. So no
//! connection is refused while one server ends and the next begins. The protocol is systemd's socket
//! activation: sd_listen_fds(3).

use std::{io, net::SocketAddr};

use listenfd::ListenFd;
use tokio::net::TcpListener;

use crate::ServerError;

/// The listener of an address.
pub(super) async fn listener(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let mut inherited = ListenFd::from_env();
    match inherited.len() {
        0 => TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source }),
        1 => {
            let failed = |error: io::Error| ServerError::HandedOver { reason: error.to_string() };
            let socket = inherited.take_tcp_listener(0).map_err(failed)?;
            let none = || ServerError::HandedOver { reason: "it is no TCP socket".to_owned() };
            let socket = socket.ok_or_else(none)?;
            let bound = socket.local_addr().map_err(failed)?;
            // What the configuration has been checked for, TLS above all, holds for its own address.
            if bound != address {
                return Err(ServerError::HandedOver {
                    reason: format!(
                        "it listens on {bound}, and the configuration says {address}; write the same address"
                    ),
                });
            }
            socket.set_nonblocking(true).map_err(failed)?;
            tracing::info!(%address, "the socket was handed over");
            TcpListener::from_std(socket).map_err(failed)
        }
        sockets => Err(ServerError::HandedOver {
            reason: format!("there are {sockets}; hand over one, for `listen`"),
        }),
    }
}
