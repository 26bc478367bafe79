//! Paths of requests: decoded once, and refused if two readers could decode them differently.

use percent_encoding::percent_decode_str;

const ROOT: &str = "/v1/";

/// The decoded path after `/v1/`. A slash at its end is kept; there are no dot segments, no empty segments,
/// no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiPath(String);

impl ApiPath {
    /// Parses the path of a URI as it was sent.
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        let rest = raw.strip_prefix(ROOT).ok_or_else(|| "the API is under /v1/".to_owned())?;
        if rest.to_ascii_lowercase().contains("%2f") {
            return Err("a path has no encoded slashes".to_owned());
        }
        let valid_escapes = rest.split('%').skip(1).all(|behind| {
            let mut digits = behind.bytes();
            matches!((digits.next(), digits.next()), (Some(a), Some(b)) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        });
        if !valid_escapes {
            return Err("the path is not percent-encoded correctly".to_owned());
        }
        let decoded =
            percent_decode_str(rest).decode_utf8().map_err(|_| "the path is not UTF-8".to_owned())?;
        if decoded.chars().any(char::is_control) {
            return Err("a path holds no control characters".to_owned());
        }
        let segments = decoded.strip_suffix('/').unwrap_or(&decoded);
        if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err("a path has no empty and no dot segments".to_owned());
        }
        Ok(Self(decoded.into_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_decoded_once() {
        for (raw, decoded) in [
            ("/v1/secret/data/app/db", "secret/data/app/db"),
            ("/v1/secret/metadata/app/", "secret/metadata/app/"),
            ("/v1/a%20b/data/%C3%BC", "a b/data/ü"),
            ("/v1/secret/data/%252e%252e", "secret/data/%2e%2e"),
        ] {
            assert_eq!(ApiPath::parse(raw).unwrap().as_str(), decoded);
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for raw in [
            "/",
            "/v1",
            "/v2/x",
            "/v1/",
            "/v1//x",
            "/v1/a//b",
            "/v1/a/../b",
            "/v1/a/%2e%2e/b",
            "/v1/./a",
            "/v1/a%2Fb",
            "/v1/a%2fb",
            "/v1/a%00b",
            "/v1/a%0ab",
            "/v1/%ff",
            "/v1/a%",
            "/v1/a%4",
            "/v1/a%zz",
        ] {
            assert!(ApiPath::parse(raw).is_err(), "{raw}");
        }
    }
}
