//! One request for a route, with the steps before it, and its status if the caller is authorised.

use keyway_api::Action;
use serde_json::{Value, json};

/// A request.
pub(crate) struct Case {
    /// The route's pattern, after the base of its table.
    pub(crate) route: &'static str,
    pub(crate) action: Action,
    pub(crate) path: &'static str,
    /// The path as policies see it, if that is not `path`.
    pub(crate) seen: Option<&'static str>,
    pub(crate) body: Option<Value>,
    pub(crate) before: Vec<Step>,
    /// The status if the caller is authorised.
    pub(crate) status: u16,
    /// Whether the path does not exist yet, and the write makes it.
    pub(crate) creates: bool,
    /// Whether no other case can use the server after it.
    pub(crate) ends_the_server: bool,
}

/// A request of root that precedes a case. `keep` gives a value of its answer a name, and `$NAME` stands for
/// it in later requests.
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Value>,
    pub(crate) keep: Option<(&'static str, &'static str)>,
    pub(crate) wrapped: bool,
}

pub(crate) fn case(action: Action, route: &'static str, path: &'static str, status: u16) -> Case {
    Case {
        route,
        action,
        path,
        seen: None,
        body: None,
        before: Vec::new(),
        status,
        creates: false,
        ends_the_server: false,
    }
}

impl Case {
    pub(crate) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn creating(self) -> Self {
        Self { creates: true, ..self }
    }

    pub(crate) fn last(self) -> Self {
        Self { ends_the_server: true, ..self }
    }

    pub(crate) fn seen(self, path: &'static str) -> Self {
        Self { seen: Some(path), ..self }
    }

    pub(crate) fn after(mut self, method: &'static str, path: &'static str, body: Value) -> Self {
        self.before.push(Step { method, path, body: Some(body), keep: None, wrapped: false });
        self
    }

    pub(crate) fn keeping(
        mut self,
        path: &'static str,
        body: Value,
        name: &'static str,
        pointer: &'static str,
    ) -> Self {
        self.before.push(Step {
            method: "POST",
            path,
            body: Some(body),
            keep: Some((name, pointer)),
            wrapped: false,
        });
        self
    }

    /// With a separate token.
    pub(crate) fn token(self) -> Self {
        self.keeping("auth/token/create", json!({ "policies": ["default"] }), "TOKEN", "/auth/client_token")
    }

    pub(crate) fn accessor(self) -> Self {
        self.keeping("auth/token/create", json!({ "policies": ["default"] }), "ACCESSOR", "/auth/accessor")
    }

    pub(crate) fn wrapping(mut self) -> Self {
        let body = Some(json!({ "a": 1 }));
        let keep = Some(("WRAPPING", "/wrap_info/token"));
        self.before.push(Step { method: "POST", path: "sys/wrapping/wrap", body, keep, wrapped: true });
        self
    }

    pub(crate) fn role(self) -> Self {
        self.after("POST", "auth/approle/role/r", json!({ "token_policies": "default" }))
    }

    pub(crate) fn secret_id(self) -> Self {
        self.role().keeping("auth/approle/role/r/secret-id", json!({}), "SECRETID", "/data/secret_id")
    }

    pub(crate) fn secret_id_accessor(self) -> Self {
        self.role().keeping(
            "auth/approle/role/r/secret-id",
            json!({}),
            "SECRETID",
            "/data/secret_id_accessor",
        )
    }

    pub(crate) fn secret(self) -> Self {
        self.after("POST", "secret/data/s", json!({ "data": { "a": 1 } }))
    }

    pub(crate) fn plain(self) -> Self {
        self.after("POST", "plain/p/s", json!({ "a": 1 }))
    }
}
