//! Bodies: bounded in size, time and depth before they are parsed.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use keyway_common::offload;
use serde::de::DeserializeOwned;

use super::{
    action::Action,
    call::Call,
    error::ApiError,
    route::{BodyLimit, RequestContext},
};

/// The longest body.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// The longest body that is not a secret's value.
const MAX_SMALL_BODY_BYTES: usize = 1024 * 1024;
/// The longest body of a request that shows no token.
const MAX_OPEN_BODY_BYTES: usize = 64 * 1024;
/// How long a client may pause in the middle of a body.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a client without a token may take for its body.
const OPEN_BODY: Duration = Duration::from_secs(10);
/// How long a refused client may take for the rest of its body.
const DISCARD: Duration = Duration::from_secs(1);
/// How deep JSON may be nested.
const MAX_DEPTH: usize = 64;
/// Merge patches, by RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// How much more is read of a body that is too long, and thrown away: a client that still sends would
/// otherwise find its connection reset, and not the answer.
const MAX_DRAINED_BYTES: usize = MAX_BODY_BYTES;

/// Reads the body of a request, if it has one. With `is_open` the client has shown no token, and its body is
/// smaller and must come faster.
pub(super) async fn read(
    call: &Call,
    body: Body,
    limit: BodyLimit,
    is_open: bool,
) -> Result<Bytes, ApiError> {
    match (call.action, limit) {
        (Action::Read | Action::List | Action::Scan, _) => Ok(Bytes::new()),
        _ if is_open => {
            let read = tokio::time::timeout(OPEN_BODY, collect(call, body, MAX_OPEN_BODY_BYTES, true));
            read.await.map_err(|_| ApiError::body_timeout(OPEN_BODY))?
        }
        (_, BodyLimit::Value) => collect(call, body, MAX_BODY_BYTES, false).await,
        (_, BodyLimit::Small) => collect(call, body, MAX_SMALL_BODY_BYTES, false).await,
    }
}

/// Reads what a refused client still sends, if that is little: it would otherwise find its connection closed.
pub(super) async fn discard(mut body: Body) {
    let mut left = MAX_OPEN_BODY_BYTES;
    let drained = async {
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // A client that is too slow is cut off.
    let _in_time = tokio::time::timeout(DISCARD, drained).await;
}

impl RequestContext<'_> {
    /// The body; an empty one and `null` are an empty object.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let (body, unread) = parse(&self.body)?;
        self.report(unread)?;
        Ok(body)
    }
}

async fn collect(call: &Call, mut body: Body, limit: usize, is_open: bool) -> Result<Bytes, ApiError> {
    let (mut bytes, mut drained) = (BytesMut::new(), 0);
    loop {
        let frame = tokio::time::timeout(PAUSE, body.frame());
        let Some(frame) = frame.await.map_err(|_| ApiError::body_timeout(PAUSE))? else { break };
        let frame =
            frame.map_err(|error| ApiError::bad_request(format!("the body could not be read: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if drained == 0 && bytes.len() + data.len() <= limit {
            call.hold(data.len(), is_open)?;
            bytes.extend_from_slice(data);
            continue;
        }
        drained += data.len();
        if drained > MAX_DRAINED_BYTES {
            break;
        }
    }
    if drained > 0 {
        return Err(ApiError::TooLarge(format!("this body has at most {limit} bytes")));
    }
    offload::count(bytes.len()).await;
    Ok(bytes.freeze())
}

/// A patch must say of which kind it is: there are others than merge patches.
pub(super) fn expect_merge_patch(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(MERGE_PATCH) {
        return Ok(());
    }
    Err(ApiError::UnsupportedMediaType(format!("PATCH takes Content-Type {MERGE_PATCH}")))
}

/// A body, and the fields in it that its type does not have; a dot leads into an object.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<String>), ApiError> {
    let bytes = if matches!(bytes.trim_ascii(), b"" | b"null") { b"{}" } else { bytes };
    if depth(bytes) > MAX_DEPTH {
        return Err(ApiError::bad_request(format!("JSON is nested at most {MAX_DEPTH} deep")));
    }
    // Leaves out serde_json's text, which quotes the faulty value: clients log their answers.
    let mut unread = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body = serde_ignored::deserialize(&mut deserializer, |path| unread.push(dotted(&path)))
        .and_then(|body| deserializer.end().map(|()| body));
    body.map(|body| (body, unread)).map_err(|error: serde_json::Error| {
        let problem = if error.is_data() {
            "has a field twice, of the wrong type or not known, or lacks one"
        } else {
            "is not JSON"
        };
        ApiError::bad_request(format!(
            "the body {problem} (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

/// The names on the way to a field, parted by dots.
fn dotted(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            dotted(parent)
        }
        Path::Map { parent: Path::Root, key } => key.clone(),
        Path::Map { parent, key } => format!("{}.{key}", dotted(parent)),
        Path::Seq { parent, index } => format!("{}.{index}", dotted(parent)),
    }
}

/// How deep brackets are nested outside of strings.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a":[{"b":"[[[[\"{{"}]}"#), 3);
        assert_eq!(depth(b"[][][]"), 1);
    }

    #[test]
    fn nesting_of_64_parses_and_65_does_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse::<Box<serde_json::value::RawValue>>(nested(64).as_bytes()).is_ok());
        assert!(parse::<Box<serde_json::value::RawValue>>(nested(65).as_bytes()).is_err());
        assert!(parse::<Box<serde_json::value::RawValue>>(nested(100_000).as_bytes()).is_err());
    }
}
