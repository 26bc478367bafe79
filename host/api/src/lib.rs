//! The HTTP edge: Vault's protocol over the core.
//!
//! [`edge`] bounds what is served at a time, [`in_flight`] lists it, [`limit`] what one client may ask for; [`path`] decodes and checks paths, [`trace`] reads trace contexts. [`route`] says
//! what a route is, and [`gate`] takes a request to its own: who asks, may they, the body. [`sys`], [`auth`], [`kv1`], [`kv2`] and [`cubbyhole`]
//! are the endpoints, each with a table of its routes; [`unnamed`] answers for paths that name no secret; [`wrapping`] keeps an answer for whoever shows its token. [`body`] reads bodies, [`given`] what clients write in them, [`fields`] deals with what no endpoint reads;
//! [`audit`] says what was asked and answered; [`answer`] is Vault's envelope, [`error`] its error bodies, and only these two know status codes.

mod answer;
mod audit;
mod auth;
mod body;
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
mod sys;
mod trace;
mod unnamed;
mod unsupported;
mod wrapping;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    response::{IntoResponse, Response},
};
use keyway_common::{duration, offload};
use keyway_core::{Core, token::Token};
use keyway_storage::Work;
use tracing::{Instrument, field};
use uuid::Uuid;

use self::{
    answer::Answer,
    audit::Trail,
    edge::Memory,
    error::ApiError,
    path::ApiPath,
    route::{Action, Route, Table},
    trace::Trace,
};
pub use self::{
    edge::{Edge, EdgeSettings, OpenRoutes},
    limit::RequestLimits,
};

/// The longest URI.
const MAX_URI_BYTES: usize = 8 * 1024;
/// The longest headers, all together.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// The address of the client; the server puts it into each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The certificate that the client has shown, in DER, checked against the configured authorities.
#[derive(Clone)]
pub struct PeerCertificate(pub Arc<[u8]>);

/// All routes that there are, for whoever checks that each is guarded.
pub fn tables() -> [&'static Table; 6] {
    [
        &sys::ROUTES,
        &auth::token::ROUTES,
        &auth::approle::ROUTES,
        &cubbyhole::ROUTES,
        &kv1::ROUTES,
        &kv2::ROUTES,
    ]
}

/// The routes, ready to be served.
pub fn router(edge: Arc<Edge>) -> Router {
    Router::new().fallback(serve).with_state(edge)
}

/// One request, parsed as far as every endpoint needs it.
struct Call {
    edge: Arc<Edge>,
    core: Arc<Core>,
    id: Uuid,
    /// What its calls of backends belong to.
    work: Work,
    action: Action,
    path: ApiPath,
    /// The route's pattern, for the measurements.
    label: RouteLabel,
    query: String,
    token: Option<Token>,
    peer: Option<SocketAddr>,
    /// For how many seconds the answer is to be wrapped.
    wrap_ttl: Option<u64>,
    headers: HeaderMap,
    /// Held until the request is answered.
    memory: Mutex<Memory>,
}

/// Known once a request was dispatched.
#[derive(Clone, Default)]
struct RouteLabel(Arc<OnceLock<(&'static str, &'static str)>>);

impl RouteLabel {
    fn is(&self, table: &Table, route: &Route) {
        // The first that knows it says it.
        let _said = self.0.set((table.base, route.pattern));
    }

    fn name(&self) -> String {
        self.0.get().map_or_else(|| "none".to_owned(), |(base, pattern)| format!("{base}{pattern}"))
    }
}

impl Call {
    /// The query as parameters; of several with one name the first.
    fn query_parameters(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut parameters = serde_json::Map::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            parameters.entry(name).or_insert_with(|| value.into());
        }
        parameters
    }

    /// Memory for so many more bytes, until the request is answered.
    fn hold(&self, bytes: usize, is_open: bool) -> Result<(), ApiError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.edge.hold(&mut memory, bytes, is_open)
    }

    /// Whether the request takes no place among those that are served: it is small, and bounded in other ways.
    fn takes_no_place(&self) -> bool {
        self.is_for_watchers() || matches!(self.path.as_str(), "sys/init" | "sys/unseal")
    }

    /// Whether, where nobody has to show a token, it is answered by what the server knows, or looks into the store by itself.
    fn needs_no_store(&self) -> bool {
        self.takes_no_place() || self.path.as_str() == "sys/leader"
    }

    fn is_for_watchers(&self) -> bool {
        self.action == Action::Read
            && matches!(self.path.as_str(), "sys/health" | "sys/metrics" | "sys/seal-status")
    }

    /// Whether it changes nothing, tells no secret, and looks at no token.
    fn needs_no_audit(&self) -> bool {
        self.is_for_watchers() && (self.path.as_str() != "sys/metrics" || self.edge.open.metrics)
    }

    /// The value of a query parameter, decoded; of several with one name the first.
    fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

async fn serve(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (begun, id, label) = (Instant::now(), Uuid::new_v4(), RouteLabel::default());
    let trace = Trace::of(request.headers());
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        %method,
        path = request.uri().path(),
        peer = request.extensions().get::<Peer>().map(|peer| field::display(peer.0)),
        trace_id = trace.map(|trace| field::display(trace.id())),
    );
    let answered = async {
        let _counted = edge.request_metrics.begin();
        let (parts, body) = request.into_parts();
        let answer = answer_in_time(&edge, id, trace, parts, body, &label);
        let response = answer.await.unwrap_or_else(|error: ApiError| error.into_response());
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        edge.request_metrics.answered(method_label(&method), &label.name(), status, took);
        tracing::debug!(status, took_us = took.as_micros(), "answered");
        response
    };
    let mut response = answered.instrument(span).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-request-id", id);
    }
    response
}

async fn answer_in_time(
    edge: &Arc<Edge>,
    id: Uuid,
    trace: Option<Trace>,
    parts: Parts,
    body: Body,
    label: &RouteLabel,
) -> Result<Response, ApiError> {
    let call = parse(edge, id, trace, parts, label)?;
    if !call.is_for_watchers() {
        edge.clients.take_request(call.peer)?;
    }
    // Whoever watches must hear the truth when too much is going on, and strangers who dawdle take nobody's place.
    let _place = if call.takes_no_place() { None } else { Some(edge.place()?) };
    let _listed = edge.in_flight.list(&call);
    let mut trail = Trail::default();
    // Waiting for a turn to do long steps counts as part of the request's time.
    let passed = offload::scope(gate::pass(&call, body, &mut trail));
    let answer = tokio::time::timeout(edge.deadline, passed);
    let answer = answer.await.unwrap_or_else(|_| Err(ApiError::too_slow(edge.deadline)));
    let told = async {
        offload::count(answer.as_ref().map_or(0, Answer::size_bytes)).await;
        Ok(trail.answer(&call, answer).await?.into_response(id))
    };
    offload::scope(told).await
}

/// The method that asks for this.
fn method_of(action: Action) -> &'static str {
    match action {
        Action::Read => "GET",
        Action::Write => "PUT",
        Action::Patch => "PATCH",
        Action::Delete => "DELETE",
        Action::List => "LIST",
        Action::Scan => "SCAN",
    }
}

/// Methods that nobody knows are one label: there are endlessly many.
fn method_label(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE" | "LIST" | "SCAN") => known,
        _ => "other",
    }
}

fn parse(
    edge: &Arc<Edge>,
    id: Uuid,
    trace: Option<Trace>,
    parts: Parts,
    label: &RouteLabel,
) -> Result<Call, ApiError> {
    check_head(&parts)?;
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let action = action(&parts.method, &query)?;
    // Honoured or refused, never ignored.
    for refused in ["x-vault-mfa", "x-vault-wrap-format"] {
        if parts.headers.get_all(refused).iter().any(|value| !value.is_empty()) {
            return Err(ApiError::bad_request(format!("the header {refused} is not supported")));
        }
    }
    if parts.headers.get_all("x-vault-namespace").iter().any(|value| !is_root_namespace(value)) {
        return Err(ApiError::bad_request(
            "the header x-vault-namespace names another namespace than root: Keyway has none",
        ));
    }
    for once in ["x-vault-wrap-ttl", "x-vault-token", "authorization"] {
        if parts.headers.get_all(once).iter().count() > 1 {
            return Err(ApiError::bad_request(format!("the header {once} stands there twice")));
        }
    }
    let wrap_ttl = wrap_ttl(&parts.headers).map_err(ApiError::bad_request)?;
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let path = ApiPath::parse(parts.uri.path()).map_err(ApiError::bad_request)?;
    let token = token(&parts.headers);
    let work = Work::new(*id.as_bytes());
    let work = match trace {
        Some(trace) => work.with_trace(trace.trace_id, trace.parent_id),
        None => work,
    };
    let (edge, core, label) = (Arc::clone(edge), Arc::clone(&edge.core), label.clone());
    Ok(Call {
        edge,
        core,
        id,
        work,
        action,
        path,
        label,
        query,
        token,
        peer,
        wrap_ttl,
        headers: parts.headers,
        memory: Mutex::default(),
    })
}

/// Whether a header names the one namespace that there is: by its name, or by none.
fn is_root_namespace(value: &HeaderValue) -> bool {
    matches!(value.as_bytes().trim_ascii(), b"" | b"/" | b"root" | b"root/" | b"/root" | b"/root/")
}

/// The server bounds what it reads of a head; here is what it may hold.
fn check_head(parts: &Parts) -> Result<(), ApiError> {
    let uri_bytes = parts.uri.path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri_bytes > MAX_URI_BYTES {
        return Err(ApiError::UriTooLong(format!("a URI has at most {MAX_URI_BYTES} bytes")));
    }
    let header_bytes: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if header_bytes > MAX_HEADER_BYTES {
        return Err(ApiError::HeadersTooLarge(format!("the headers have at most {MAX_HEADER_BYTES} bytes")));
    }
    Ok(())
}

fn action(method: &Method, query: &str) -> Result<Action, ApiError> {
    // What Go's ParseBool takes for true.
    let is_true = |value: &str| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
    let asks = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.any(|(known, value)| known == name && is_true(value))
    };
    let (lists, scans) = (asks("list"), asks("scan"));
    match method.as_str() {
        "GET" if lists && scans => Err(ApiError::bad_request("list and scan exclude each other")),
        "GET" if scans => Ok(Action::Scan),
        "GET" if lists => Ok(Action::List),
        "GET" | "HEAD" => Ok(Action::Read),
        "PUT" | "POST" => Ok(Action::Write),
        "PATCH" => Ok(Action::Patch),
        "DELETE" => Ok(Action::Delete),
        "LIST" => Ok(Action::List),
        "SCAN" => Ok(Action::Scan),
        _ => Err(ApiError::MethodNotAllowed),
    }
}

/// The longest that an answer is kept in its wrapping: 32 days, in seconds.
const MAX_WRAP_TTL: u64 = 2_764_800;

fn wrap_ttl(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let Some(text) = headers.get("x-vault-wrap-ttl").filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |why: String| format!("X-Vault-Wrap-TTL: {why}");
    let text = text.to_str().map_err(|_| wrong("it is no duration".to_owned()))?;
    let nanoseconds = duration::parse(text.trim()).map_err(wrong)?;
    let seconds =
        u64::try_from(nanoseconds).map_err(|_| wrong("it is negative".to_owned()))?.div_ceil(1_000_000_000);
    if seconds > MAX_WRAP_TTL {
        return Err(wrong(format!("it is at most {MAX_WRAP_TTL} s")));
    }
    // Zero says that it is not to be wrapped.
    Ok(Some(seconds).filter(|seconds| *seconds > 0))
}

fn token(headers: &HeaderMap) -> Option<Token> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    // An empty header says nothing: some clients send one beside their Bearer token.
    let filled =
        |token: Option<&str>| Some(token?.trim()).filter(|token| !token.is_empty()).map(Token::presented);
    filled(text("x-vault-token")).or_else(|| filled(bearer()))
}
