//! Auth methods: [`token`] is always there, [`approle`] wherever it was enabled.

pub(super) mod approle;
pub(super) mod token;

use super::answer::Auth;
use crate::token::{Entry, Token};

/// What is told of a token that was made or prolonged.
fn auth(token: &Token, entry: &Entry, now: u64) -> Auth {
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
