//! One request, parsed as far as every endpoint needs it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::http::{HeaderMap, HeaderValue, request::Parts};
use keyway_common::duration;
use keyway_core::{Core, token::Token};
use keyway_storage::Work;
use uuid::Uuid;

use crate::{
    action::Action,
    edge::{Edge, Memory},
    error::ApiError,
    in_flight::InFlightRequest,
    path::ApiPath,
    trace::Trace,
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

/// Known once a request was dispatched.
#[derive(Clone, Default)]
pub(crate) struct RouteLabel(Arc<OnceLock<(&'static str, &'static str)>>);

impl RouteLabel {
    /// The request has this route.
    pub(crate) fn set(&self, base: &'static str, pattern: &'static str) {
        // The first that knows it says it.
        let _said = self.0.set((base, pattern));
    }

    /// The route; `none` if there is none.
    pub(crate) fn name(&self) -> String {
        self.0.get().map_or_else(|| "none".to_owned(), |(base, pattern)| format!("{base}{pattern}"))
    }
}

/// One request, parsed as far as every endpoint needs it.
pub(crate) struct Call {
    pub(crate) edge: Arc<Edge>,
    pub(crate) core: Arc<Core>,
    pub(crate) id: Uuid,
    /// What its calls of backends belong to.
    pub(crate) work: Work,
    pub(crate) action: Action,
    pub(crate) path: ApiPath,
    /// The route's pattern, for the measurements.
    pub(crate) label: RouteLabel,
    pub(crate) query: String,
    pub(crate) token: Option<Token>,
    pub(crate) peer: Option<SocketAddr>,
    /// For how many seconds the answer is to be wrapped.
    pub(crate) wrap_ttl: Option<u64>,
    pub(crate) headers: HeaderMap,
    /// Held until the request is answered.
    memory: Mutex<Memory>,
}

impl Call {
    /// Parses the head of a request.
    ///
    /// # Errors
    ///
    /// `BadRequest`, and an error for a request that is too long. It names the part that is wrong or not
    /// supported.
    pub(crate) fn parse(
        edge: &Arc<Edge>,
        id: Uuid,
        trace: Option<Trace>,
        parts: Parts,
        label: &RouteLabel,
    ) -> Result<Self, ApiError> {
        check_head(&parts)?;
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let action = Action::of(&parts.method, &query)?;
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
                return Err(ApiError::bad_request(format!("the header {once} is given more than once")));
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
        Ok(Self {
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

    /// The query as parameters; of several with one name the first.
    pub(crate) fn query_parameters(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut parameters = serde_json::Map::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            parameters.entry(name).or_insert_with(|| value.into());
        }
        parameters
    }

    /// What operators see of it while it is served.
    pub(crate) fn listed(&self) -> InFlightRequest {
        InFlightRequest {
            since: jiff::Timestamp::now(),
            peer: self.peer,
            path: self.path.as_str().to_owned(),
            method: self.action.method(),
        }
    }

    /// Reserves memory for this number of bytes more, until the request is answered.
    pub(crate) fn hold(&self, bytes: usize, is_open: bool) -> Result<(), ApiError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.edge.hold(&mut memory, bytes, is_open)
    }

    /// The value of a query parameter, decoded; of several with one name the first.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

/// Whether a header names the one namespace that there is: by its name, or by none.
fn is_root_namespace(value: &HeaderValue) -> bool {
    matches!(value.as_bytes().trim_ascii(), b"" | b"/" | b"root" | b"root/" | b"/root" | b"/root/")
}

/// Limits the contents of a request's head. The server limits how much of it is read.
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
    // An empty header counts as missing: some clients send one together with their Bearer token.
    let filled =
        |token: Option<&str>| Some(token?.trim()).filter(|token| !token.is_empty()).map(Token::presented);
    filled(text("x-vault-token")).or_else(|| filled(bearer()))
}
