//! Clients, and what their calls must answer.

use std::{collections::HashMap, fmt::Debug, time::Duration};

use rustify::errors::ClientError as RestError;
use serde::Serialize;
use serde_json::Value;
use vaultrs::{
    api::token::requests::CreateTokenRequest,
    client::{Client, VaultClient, VaultClientSettingsBuilder},
    error::ClientError,
    kv2, token,
};

pub(crate) const DENIED: &str = "permission denied";

pub(crate) fn client(address: &str, token: &str) -> VaultClient {
    // The first of several clients has set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = VaultClientSettingsBuilder::default();
    settings.address(address).token(token).timeout(Some(Duration::from_secs(60)));
    VaultClient::new(settings.build().expect("settings")).expect("a client")
}

/// Another client of the same server.
pub(crate) fn with(client: &VaultClient, token: &str) -> VaultClient {
    self::client(client.settings().address.as_str(), token)
}

/// A client with a new token of one policy.
pub(crate) async fn holder(root: &VaultClient, policy: &str) -> VaultClient {
    let made = ok!(token::new(root, Some(CreateTokenRequest::builder().policies(names(&[policy])))));
    with(root, &made.client_token)
}

pub(crate) async fn read(client: &VaultClient, path: &str) -> Result<Value, ClientError> {
    kv2::read(client, "secret", path).await
}

/// The status of a refusal, and its error texts or, if it has none, its body.
#[track_caller]
pub(crate) fn refused<T>(call: &str, result: Result<T, ClientError>) -> (u16, String) {
    match result.err().unwrap_or_else(|| panic!("not refused: {call}")) {
        ClientError::APIError { code, errors } => (code, errors.join("; ")),
        ClientError::RestClientError { source: RestError::ServerResponseError { code, content } } => {
            (code, content.unwrap_or_default())
        }
        // An answer without a body, though the client expects one.
        ClientError::RestClientError { source: RestError::ResponseParseError { content, .. } }
            if content.as_deref() == Some("") =>
        {
            (204, String::new())
        }
        error => panic!("{call}: {error:?}"),
    }
}

#[track_caller]
pub(crate) fn refuses<T>(call: &str, result: Result<T, ClientError>, status: u16, text: &str) {
    let (code, said) = refused(call, result);
    assert!(code == status && said.contains(text), "{call}: {code} {said}");
}

/// Asserts that an answer has these fields, among others.
#[track_caller]
pub(crate) fn has(answer: &(impl Serialize + Debug), fields: Value) {
    let told = serde_json::to_value(answer).expect("answers are JSON");
    for (name, value) in fields.as_object().expect("fields") {
        assert_eq!(&told[name], value, "{name} of {answer:?}");
    }
}

/// Whether seconds that run are these, or a little less.
pub(crate) fn about(seconds: u64, whole: u64) -> bool {
    (whole.saturating_sub(30)..=whole).contains(&seconds)
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}
