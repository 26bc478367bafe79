//! Auth methods: [`token`] is always there, [`approle`] wherever it was enabled.

pub(super) mod approle;
pub(super) mod token;

use keyway_common::clock::Time;
use keyway_core::token::{Entry, Token};

use super::{
    answer::{Answer, Auth, Logical},
    error::ApiError,
    given::Truth,
};

/// An answer that holds warnings only, if there are any.
fn warned(warnings: Vec<String>) -> Answer {
    if warnings.is_empty() {
        return Answer::Nothing;
    }
    Answer::Logical(Logical { warnings, ..Logical::default() })
}

/// The kind of token that roles and methods give, as it is read back.
///
/// # Errors
///
/// For kinds that are none, and batch tokens, which there are not.
fn token_type(given: &str, otherwise: &str) -> Result<String, ApiError> {
    match given {
        "service" | "default-service" | "default" => Ok(given.to_owned()),
        "" => Ok(otherwise.to_owned()),
        "batch" | "default-batch" => {
            Err(ApiError::bad_request(format!("token_type {given:?} is not supported; write service")))
        }
        _ => Err(ApiError::bad_request(format!("invalid 'token_type' value {given:?}"))),
    }
}

/// Refuses what binds tokens to the address of a login, which is not supported.
fn refuse_strict_binding(given: Option<&Truth>) -> Result<(), ApiError> {
    let name = "token_strictly_bind_ip";
    let is_wanted = given.map_or(Ok(false), Truth::get);
    if is_wanted.map_err(|why| ApiError::bad_request(format!("{name}: {why}")))? {
        return Err(ApiError::bad_request(format!("{name} is not supported; write token_bound_cidrs")));
    }
    Ok(())
}

/// The value under the new name of a field; the old name counts only if the new one is missing.
fn newer<'a, T>(
    names: (&str, &str),
    new: &'a Option<T>,
    old: &'a Option<T>,
    warnings: &mut Vec<String>,
) -> Option<&'a T> {
    if new.is_some() && old.is_some() {
        let (new, old) = names;
        warnings.push(format!(
            "Both '{new}' and deprecated '{old}' value supplied, ignoring the deprecated value"
        ));
    }
    new.as_ref().or(old.as_ref())
}

/// The answer about a token that was made or renewed.
fn auth(token: &Token, entry: &Entry, now: Time) -> Auth {
    Auth {
        client_token: token.expose().to_owned(),
        accessor: entry.accessor.clone(),
        policies: entry.policies.clone(),
        token_policies: entry.policies.clone(),
        metadata: entry.meta.clone(),
        lease_duration: entry.ttl(now),
        renewable: entry.renewable,
        entity_id: String::new(),
        token_type: "service".to_owned(),
        orphan: entry.is_orphan(),
        mfa_requirement: (),
        num_uses: entry.uses_left.unwrap_or(0),
    }
}
