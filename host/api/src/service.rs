//! Serving: from a request of hyper to its response, within the limits.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Method, header, request::Parts},
    response::{IntoResponse, Response},
};
use keyway_common::offload;
use tracing::{Instrument, field};
use uuid::Uuid;

use crate::{
    answer::Answer,
    audit::Trail,
    call::{Call, Peer, RouteLabel},
    edge::Edge,
    error::ApiError,
    gate,
    route::Load,
    target,
    trace::Trace,
};

/// The routes, ready to be served.
pub fn router(edge: Arc<Edge>) -> Router {
    Router::new().fallback(serve).with_state(edge)
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
    let mut call = Call::parse(edge, id, trace, parts, label)?;
    let load = target::load(&call);
    if load != Load::Monitoring {
        edge.clients.take_request(call.peer)?;
    }
    // Monitoring and unsealing must be answered when too many requests are served, and slow strangers take no
    // place.
    let _place = if load == Load::Shed { Some(edge.place()?) } else { None };
    let _listed = edge.in_flight.list(call.id, call.listed());
    let mut trail = Trail::default();
    // Waiting for a turn to do long steps counts as part of the request's time.
    let passed = offload::scope(gate::pass(&call, body, &mut trail));
    let answer = tokio::time::timeout(edge.deadline, passed);
    let answer = answer.await.unwrap_or_else(|_| Err(ApiError::too_slow(edge.deadline)));
    // The generations that the request has used are free: a swap does not wait for the audit line of the answer.
    call.work = call.work.detached();
    let told = async {
        offload::count(answer.as_ref().map_or(0, Answer::size_bytes)).await;
        Ok(trail.answer(&call, answer).await?.into_response(id))
    };
    offload::scope(told).await
}

/// All unknown methods share one label, because clients can invent any number of them.
fn method_label(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE" | "LIST" | "SCAN") => known,
        _ => "other",
    }
}
