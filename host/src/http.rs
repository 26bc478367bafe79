//! The HTTP edge: Vault's protocol over the core.
//!
//! [`path`] decodes and checks paths, [`body`] reads bodies, [`duration`] durations, [`sys`] and [`kv`] are the endpoints, [`answer`] Vault's
//! envelope, [`error`] its error bodies; only these two know status codes.

mod answer;
mod body;
mod duration;
mod error;
mod kv;
mod path;
mod sys;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse, Response},
};
use tracing::Instrument;
use uuid::Uuid;

use self::{error::ApiError, path::ApiPath};
use crate::{core::Core, storage::RequestId, token::Token};

/// The routes.
pub fn router(core: Arc<Core>) -> Router {
    Router::new().fallback(serve).with_state(core)
}

/// One request, parsed as far as every endpoint needs it.
struct Call {
    core: Arc<Core>,
    id: Uuid,
    action: Action,
    path: ApiPath,
    query: String,
    token: Option<Token>,
    headers: HeaderMap,
}

/// What a method asks for: PUT is POST, LIST is also `GET ?list=true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Read,
    Write,
    Patch,
    Delete,
    List,
}

impl Call {
    fn request(&self) -> RequestId {
        RequestId(*self.id.as_bytes())
    }

    /// The value of a query parameter, decoded; of several with one name the first.
    fn query(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

async fn serve(State(core): State<Arc<Core>>, request: Request) -> Response {
    let id = Uuid::new_v4();
    let method = request.method().clone();
    let span = tracing::info_span!("request", %id, %method, path = request.uri().path());
    let answered = async {
        let (parts, body) = request.into_parts();
        let result = async { dispatch(&parse(core, id, parts)?, body).await }.await;
        let response = result.unwrap_or_else(|error: ApiError| error.into_response());
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    };
    let mut response = answered.instrument(span).await;
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn parse(core: Arc<Core>, id: Uuid, parts: Parts) -> Result<Call, ApiError> {
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let action = action(&parts.method, &query)?;
    for refused in ["x-vault-wrap-ttl", "x-vault-namespace"] {
        // Honoured or refused, never ignored.
        if parts.headers.get(refused).is_some_and(|value| !value.is_empty()) {
            return Err(ApiError::bad_request(format!("the header {refused} is not supported")));
        }
    }
    let path = ApiPath::parse(parts.uri.path()).map_err(ApiError::bad_request)?;
    let token = token(&parts.headers);
    Ok(Call { core, id, action, path, query, token, headers: parts.headers })
}

fn action(method: &Method, query: &str) -> Result<Action, ApiError> {
    let lists = query.split('&').any(|pair| pair == "list=true" || pair == "list=1");
    match method.as_str() {
        "GET" if lists => Ok(Action::List),
        "GET" | "HEAD" => Ok(Action::Read),
        "PUT" | "POST" => Ok(Action::Write),
        "PATCH" => Ok(Action::Patch),
        "DELETE" => Ok(Action::Delete),
        "LIST" => Ok(Action::List),
        _ => Err(ApiError::MethodNotAllowed),
    }
}

fn token(headers: &HeaderMap) -> Option<Token> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    text("x-vault-token").or_else(bearer).filter(|token| !token.is_empty()).map(Token::presented)
}

async fn dispatch(call: &Call, body: Body) -> Result<Response, ApiError> {
    match call.path.as_str().split_once('/') {
        Some(("sys", _)) => sys::dispatch(call, body).await,
        _ => kv::dispatch(call, body).await,
    }
}
