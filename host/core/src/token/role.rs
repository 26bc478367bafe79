//! Roles that tokens are made by: what an administrator says of them beforehand.

use std::collections::BTreeSet;

use ipnet::IpNet;
use keyway_crypto::envelope::RecordKind;
use serde::{Deserialize, Serialize};

use super::{TokenError, TokenRefusal, policies::in_order, store::Tokens};
use crate::system::Next;

const PREFIX: &str = "token-role/";

/// A role that tokens are made by. Durations are seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// What it is called.
    pub name: String,
    /// The only policies that its tokens may have; none says nothing.
    pub allowed_policies: Vec<String>,
    /// As `allowed_policies`, with `*` at their ends.
    pub allowed_policies_glob: Vec<String>,
    /// Policies that its tokens may not have.
    pub disallowed_policies: Vec<String>,
    /// As `disallowed_policies`, with `*` at their ends.
    pub disallowed_policies_glob: Vec<String>,
    /// Whether its tokens have no parent.
    pub orphan: bool,
    /// Whether their life can be prolonged.
    pub renewable: bool,
    /// Whether they are made without the policy `default`.
    pub no_default_policy: bool,
    /// To how long each renewal prolongs them.
    pub period: u64,
    /// How long they live at most.
    pub explicit_max_ttl: u64,
    /// How often each can be used.
    pub num_uses: u64,
    /// From where they can be used.
    pub bound_cidrs: Vec<IpNet>,
    /// A suffix to the path that its tokens record as their origin.
    pub path_suffix: String,
    /// The kind of token as it was written; nothing is the usual one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_type: String,
    /// The old names by which fields were written.
    #[serde(skip_serializing_if = "OldNames::is_empty")]
    pub old_names: OldNames,
}

/// The fields of a role that were last written by the names they had before Vault 1.2; they are shown by
/// them, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OldNames(BTreeSet<String>);

impl OldNames {
    /// Notes whether a field was written by this name.
    pub fn note(&mut self, name: &str, is_used: bool) {
        if is_used {
            self.0.insert(name.to_owned());
        } else {
            self.0.remove(name);
        }
    }

    /// Whether a field was written by this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether all fields were written by their new names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Role {
    fn default() -> Self {
        Self {
            name: String::new(),
            allowed_policies: Vec::new(),
            allowed_policies_glob: Vec::new(),
            disallowed_policies: Vec::new(),
            disallowed_policies_glob: Vec::new(),
            orphan: false,
            renewable: true,
            no_default_policy: false,
            period: 0,
            explicit_max_ttl: 0,
            num_uses: 0,
            bound_cidrs: Vec::new(),
            path_suffix: String::new(),
            token_type: String::new(),
            old_names: OldNames::default(),
        }
    }
}

impl Role {
    /// The path that its tokens say that they were made by.
    pub fn path(&self) -> String {
        let suffix =
            if self.path_suffix.is_empty() { String::new() } else { format!("/{}", self.path_suffix) };
        format!("auth/token/create/{}{suffix}", self.name)
    }

    /// Whether it says anything of policies.
    pub(super) fn says_something(&self) -> bool {
        self.has_allowed()
            || !self.disallowed_policies.is_empty()
            || !self.disallowed_policies_glob.is_empty()
    }

    /// Whether its tokens may not have this policy.
    pub(super) fn disallows(&self, policy: &str) -> bool {
        self.disallowed_policies.iter().any(|name| name == policy)
            || self.disallowed_policies_glob.iter().any(|glob| is_glob_of(glob, policy))
    }

    fn has_allowed(&self) -> bool {
        !self.allowed_policies.is_empty() || !self.allowed_policies_glob.is_empty()
    }

    /// The policies of a token that asks for these, or for none.
    ///
    /// # Errors
    ///
    /// `OutsideRole` or `DisallowedByRole`.
    pub(super) fn policies(
        &self,
        asked: Option<Vec<String>>,
        parents: &[String],
        adds_default: bool,
    ) -> Result<Vec<String>, TokenRefusal> {
        let asked = asked.map(|asked| in_order(asked, adds_default)).filter(|asked| !asked.is_empty());
        let policies = if self.has_allowed() {
            let allowed = in_order(self.allowed_policies.clone(), adds_default);
            match asked {
                // Patterns allow requested policies, and grant none.
                None => allowed,
                Some(asked) => {
                    let globs = &self.allowed_policies_glob;
                    if !asked.iter().all(|policy| is_among(policy, &allowed, globs)) {
                        return Err(TokenRefusal::OutsideRole {
                            wanted: asked,
                            allowed,
                            globs: globs.clone(),
                        });
                    }
                    asked
                }
            }
        } else {
            asked.unwrap_or_else(|| in_order(parents.to_vec(), adds_default))
        };
        match policies.iter().find(|policy| self.disallows(policy)) {
            Some(policy) => Err(TokenRefusal::DisallowedByRole { policy: policy.clone() }),
            None => Ok(policies),
        }
    }
}

fn is_among(policy: &String, names: &[String], globs: &[String]) -> bool {
    names.contains(policy) || globs.iter().any(|glob| is_glob_of(glob, policy))
}

impl Tokens<'_> {
    /// A role.
    ///
    /// # Errors
    ///
    /// `System` if the records cannot be read or opened.
    pub async fn role(&self, name: &str) -> Result<Option<Role>, TokenError> {
        Ok(self.records.get(RecordKind::TokenRole, &key(name)).await?.map(|held| held.value))
    }

    /// Makes a role, or changes it.
    ///
    /// # Errors
    ///
    /// What `edit` returns; `System` if the records cannot be read, opened or written.
    pub async fn edit_role(
        &self,
        name: &str,
        edit: impl Fn(&mut Role) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        self.records
            .change(RecordKind::TokenRole, &key(name), |role: Option<Role>| {
                let mut role = role.unwrap_or_default();
                name.clone_into(&mut role.name);
                edit(&mut role)?;
                Ok((Next::Put(role), ()))
            })
            .await
    }

    /// Removes a role. Its tokens live on.
    ///
    /// # Errors
    ///
    /// `System` if the store does not remove the records.
    pub async fn remove_role(&self, name: &str) -> Result<(), TokenError> {
        Ok(self.records.remove(&key(name)).await?)
    }

    /// The names of all roles, in order.
    ///
    /// # Errors
    ///
    /// `System` if the store cannot list the keys.
    pub async fn roles(&self) -> Result<Vec<String>, TokenError> {
        let names = self.records.names(PREFIX.as_bytes()).await?;
        Ok(names.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
    }
}

/// Whether a text is like a pattern in which `*` stands for anything.
fn is_glob_of(glob: &str, text: &str) -> bool {
    let Some((begin, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut left) = text.strip_prefix(begin) else { return false };
    let Some((middle, end)) = rest.rsplit_once('*') else { return left.ends_with(rest) };
    for part in middle.split('*') {
        // The first place that fits is the best one: it leaves the most for the others.
        let Some((_, behind)) = left.split_once(part) else { return false };
        left = behind;
    }
    left.ends_with(end)
}

fn key(name: &str) -> Vec<u8> {
    format!("{PREFIX}{name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_anything_anywhere() {
        for (glob, text) in [
            ("*", "x"),
            ("a*", "a"),
            ("*-admin", "x-admin"),
            ("prod-*-admin", "prod-eu-admin"),
            ("a*b*c", "a1b2bc"),
        ] {
            assert!(is_glob_of(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("a", "ab"), ("a*", "ba"), ("a*b*c", "acb"), ("ab*ba", "aba"), ("*a", "b")] {
            assert!(!is_glob_of(glob, text), "{glob} {text}");
        }
    }
}
