//! What a request asks for, by its method and query.

use axum::http::Method;

use crate::error::ApiError;

/// What a method asks for: PUT is POST, LIST is also `GET ?list=true`, SCAN `GET ?scan=true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// GET and HEAD.
    Read,
    /// PUT and POST.
    Write,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// LIST.
    List,
    /// SCAN: as LIST, with all folders below.
    Scan,
}

impl Action {
    /// Whether its path is a folder: policies see it with a slash at its end.
    pub const fn is_of_folder(self) -> bool {
        matches!(self, Self::List | Self::Scan)
    }

    /// The method that asks for it.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Read => "GET",
            Self::Write => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::List => "LIST",
            Self::Scan => "SCAN",
        }
    }

    /// A path as policies see it: a slash at the end of lists and nowhere else.
    pub(super) fn policy_path(self, path: &str) -> String {
        let path = path.trim_end_matches('/');
        if self.is_of_folder() { format!("{path}/") } else { path.to_owned() }
    }

    /// The action of a method and a query.
    ///
    /// # Errors
    ///
    /// `MethodNotAllowed` for other methods, and `BadRequest` for two actions at once.
    pub(super) fn of(method: &Method, query: &str) -> Result<Self, ApiError> {
        // What Go's ParseBool takes for true.
        let is_true = |value: &str| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
        let asks = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.any(|(known, value)| known == name && is_true(value))
        };
        let (lists, scans) = (asks("list"), asks("scan"));
        match method.as_str() {
            "GET" if lists && scans => Err(ApiError::bad_request("list and scan exclude each other")),
            "GET" if scans => Ok(Self::Scan),
            "GET" if lists => Ok(Self::List),
            "GET" | "HEAD" => Ok(Self::Read),
            "PUT" | "POST" => Ok(Self::Write),
            "PATCH" => Ok(Self::Patch),
            "DELETE" => Ok(Self::Delete),
            "LIST" => Ok(Self::List),
            "SCAN" => Ok(Self::Scan),
            _ => Err(ApiError::MethodNotAllowed),
        }
    }
}
