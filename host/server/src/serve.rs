//! Serves HTTP on a listener: bounded connections, time to send a head, and an orderly end.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use keyway_api::{Peer, PeerCertificate};
use keyway_common::metrics::{InFlight, Metrics};
use prometheus::IntGauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::{patient::Patient, tls::Tls};

/// How long a client may take for the head of a request, and stay silent between two.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The longest head: request line and headers.
const HEAD_BYTES: usize = 64 * 1024;
/// Most streams of one HTTP/2 connection at a time.
const STREAMS: u32 = 128;
/// How long a client may read nothing of what it is sent.
const STALLED: Duration = Duration::from_secs(30);
/// How long an HTTP/1.1 client may send nothing while its request is served: longer than any request takes.
const SILENT: Duration = Duration::from_secs(3_900);
/// How long an HTTP/2 client may send nothing. It is pinged more often than that, so that only one that has
/// gone, or never began to speak, is this silent.
const SILENT_HTTP2: Duration = Duration::from_secs(60);
/// How often a silent HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How long new connections may still send a first request after the server was told to stop.
const FIRST_WORDS: Duration = Duration::from_millis(200);
/// How long to wait when no connection can be accepted, because there are no file descriptors left.
const BREATH: Duration = Duration::from_millis(100);

/// The listener, its router, and their settings.
pub(super) struct Serving {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Tls>,
    pub(super) router: Router,
    pub(super) metrics: ConnectionMetrics,
    /// Most connections at a time; further ones wait to be accepted.
    pub(super) connections: usize,
    /// How long requests that run may take after the signal to stop.
    pub(super) drain: Duration,
}

/// The metrics of connections.
#[derive(Clone)]
pub(super) struct ConnectionMetrics(IntGauge);

impl ConnectionMetrics {
    /// Registers the measurement.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(metrics.gauge("keyway_http_connections", "Open connections."))
    }

    fn begin(&self) -> InFlight {
        InFlight::begin(&self.0)
    }
}

/// What every connection needs.
struct Shared {
    tls: Option<Tls>,
    router: Router,
    metrics: ConnectionMetrics,
}

impl Serving {
    /// Serves until `shutdown` resolves, then finishes what was accepted, as far as it ends in time.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, router, metrics, connections, drain } = self;
        let shared = Arc::new(Shared { tls, router, metrics });
        let (places, graceful) = (Arc::new(Semaphore::new(connections)), GracefulShutdown::new());
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &places) => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let serving = connection(Arc::clone(&shared), stream, peer, graceful.watcher());
                    tokio::spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // File descriptors are short, or a client has gone again: neither ends the server.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        drop(listener);
        // New connections have not sent a request yet, and would be closed without an answer.
        tokio::time::sleep(FIRST_WORDS).await;
        let open = graceful.count();
        tracing::info!(connections = open, "stopping: finishing what was accepted");
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end within {} s", drain.as_secs());
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
    let _counted = shared.metrics.begin();
    // Answers are whole when they are written.
    let _unsupported = stream.set_nodelay(true);
    let result = match &shared.tls {
        None => {
            let client = Client { peer, certificate: None };
            speak_http1(&shared, Patient::new(stream, STALLED, SILENT), client, watcher).await
        }
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
            Err(_) => Err("no agreement on TLS in time".into()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                let client = Client::of(peer, &stream);
                speak_http2(&shared, Patient::new(stream, STALLED, SILENT_HTTP2), client, watcher).await
            }
            Ok(Ok(stream)) => {
                let client = Client::of(peer, &stream);
                speak_http1(&shared, Patient::new(stream, STALLED, SILENT), client, watcher).await
            }
        },
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "a connection broke off");
    }
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

async fn speak_http1<S>(
    shared: &Arc<Shared>,
    stream: S,
    client: Client,
    watcher: Watcher,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = shared.router.clone();
    let service = service_fn(move |request| answer(router.clone(), request, client.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    Ok(watcher.watch(connection).await?)
}

async fn speak_http2<S>(
    shared: &Arc<Shared>,
    stream: S,
    client: Client,
    watcher: Watcher,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = shared.router.clone();
    let service = service_fn(move |request| answer(router.clone(), request, client.clone()));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES as u32)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(stream), service);
    Ok(watcher.watch(connection).await?)
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Client {
    peer: SocketAddr,
    /// What it has shown, checked.
    certificate: Option<PeerCertificate>,
}

impl Client {
    fn of(peer: SocketAddr, stream: &TlsStream<TcpStream>) -> Self {
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Self { peer, certificate: shown.map(|shown| PeerCertificate(Arc::from(shown.as_ref()))) }
    }
}

async fn answer(
    router: Router,
    mut request: Request<Incoming>,
    client: Client,
) -> Result<axum::response::Response, std::convert::Infallible> {
    request.extensions_mut().insert(Peer(client.peer));
    if let Some(certificate) = client.certificate {
        request.extensions_mut().insert(certificate);
    }
    router.oneshot(request.map(axum::body::Body::new)).await
}
