//! Checks a new token: a pure function of the request, the token that makes it, and the role.

use std::collections::BTreeMap;

use super::{
    Entry, TokenError, TokenRefusal,
    bounds::{MAX_META, MAX_META_BYTES, MAX_POLICIES},
    life::{Life, Lifetimes},
    policies::in_order,
    role::Role,
    store::Live,
};
use crate::{
    policy,
    policy::{DEFAULT, RESPONSE_WRAPPING, ROOT},
};

/// Policies that no token is given by hand.
const NOT_ASSIGNABLE: [&str; 2] = [RESPONSE_WRAPPING, "control-group"];

/// The wanted properties of a token. Durations are seconds; zero means not given.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The token itself.
    pub id: Option<String>,
    /// Its policies; none are its parent's.
    pub policies: Option<Vec<String>>,
    /// Whether it has no parent.
    pub no_parent: bool,
    /// As `no_parent`, requested by a path that needs no `sudo` for it.
    pub by_orphans_path: bool,
    /// Whether it is made without the policy `default`.
    pub no_default_policy: bool,
    /// Whether its life can be prolonged.
    pub renewable: bool,
    /// How long it lives.
    pub ttl: u64,
    /// How long it lives at most.
    pub explicit_max_ttl: u64,
    /// To how long each renewal prolongs it.
    pub period: u64,
    /// How often it can be used; zero is any number.
    pub num_uses: u64,
    /// What it is called.
    pub display_name: String,
    /// Its metadata.
    pub meta: Option<BTreeMap<String, String>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The token that is shown.
    pub live: &'a Live,
    /// Whether it may do there what only administrators may.
    pub has_sudo: bool,
}

/// A token to be made, and warnings for the client.
#[derive(Debug)]
pub struct Planned {
    /// The token.
    pub entry: Entry,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

/// What the token will be.
///
/// # Errors
///
/// `Refused`; `Random` if the system gives no random bytes.
pub fn plan(
    wanted: &Wanted,
    maker: Maker<'_>,
    role: Option<&Role>,
    lifetimes: Lifetimes,
) -> Result<Planned, TokenError> {
    let parent = &maker.live.entry;
    let sudo = |to_do| if maker.has_sudo { Ok(()) } else { Err(TokenRefusal::NeedsSudo { to_do }) };
    let mut entry = Entry::new()?;
    if wanted.id.is_some() {
        sudo("to specify token id")?;
    }
    if wanted.period > 0 {
        sudo("to create periodic token")?;
    }
    if parent.uses_left.is_some() {
        // Its child would not be bound by them.
        return Err(TokenRefusal::RestrictedParent.into());
    }
    if wanted.no_parent && role.is_some_and(|role| !role.orphan) {
        return Err(TokenRefusal::NoOrphans.into());
    }
    if wanted.no_parent && role.is_none() {
        sudo("to create orphan token")?;
    }
    wanted.meta.as_ref().map_or(Ok(()), check_meta)?;
    entry.meta = wanted.meta.clone();
    entry.display_name = display_name(&wanted.display_name);
    entry.renewable = wanted.renewable && role.is_none_or(|role| role.renewable);
    let is_orphan = role.map_or(wanted.no_parent || wanted.by_orphans_path, |role| role.orphan);
    if !is_orphan {
        entry.ancestors = std::iter::once(maker.live.kin()).chain(parent.ancestors.iter().cloned()).collect();
    }
    entry.policies = policies(wanted, maker, role)?;
    let most_uses = role.map_or(0, |role| role.num_uses);
    let uses = if most_uses > 0 && (wanted.num_uses == 0 || wanted.num_uses > most_uses) {
        most_uses
    } else {
        wanted.num_uses
    };
    entry.uses_left = Some(uses).filter(|uses| *uses > 0);
    let mut life = Life {
        ttl: wanted.ttl,
        explicit_max_ttl: wanted.explicit_max_ttl,
        period: wanted.period,
        ..Life::default()
    };
    // As it is asked for: what the role says is asked again at each renewal.
    entry.period = wanted.period;
    entry.explicit_max_ttl = wanted.explicit_max_ttl;
    let mut warnings = Vec::new();
    if let Some(role) = role {
        entry.role = Some(role.name.clone());
        entry.path = role.path();
        entry.bound_cidrs = role.bound_cidrs.clone();
        let mut lesser = |name: &str, asked: u64, of_role: u64| {
            let lesser = lesser(asked, of_role);
            if asked > 0 && of_role > 0 {
                warnings.push(format!(
                    "{name} specified both during creation call and in role; using the lesser value of {lesser} seconds"
                ));
            }
            lesser
        };
        life.period = lesser("Period", life.period, role.period);
        life.explicit_max_ttl = lesser("Explicit max TTL", life.explicit_max_ttl, role.explicit_max_ttl);
    } else {
        let path = if wanted.by_orphans_path { "auth/token/create-orphan" } else { "auth/token/create" };
        path.clone_into(&mut entry.path);
        if !is_orphan || !maker.has_sudo {
            entry.bound_cidrs.clone_from(&parent.bound_cidrs);
        }
    }
    if entry.is_root() {
        if parent.expires.is_some() && life == Life::default() {
            return Err(TokenRefusal::UnendingRoot.into());
        }
        if life == Life::default() {
            entry.renewable = false;
            return Ok(Planned { entry, warnings });
        }
        // The mount's default does not apply to a token that could live for ever.
        life.otherwise = life.explicit_max_ttl;
    }
    warnings.extend(entry.begin(life, lifetimes));
    Ok(Planned { entry, warnings })
}

/// The lesser of two bounds, of which zero is none.
pub fn lesser(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, bound) | (bound, 0) => bound,
        (one, other) => one.min(other),
    }
}

/// The policies of the token.
fn policies(wanted: &Wanted, maker: Maker<'_>, role: Option<&Role>) -> Result<Vec<String>, TokenError> {
    let parent = &maker.live.entry;
    let asked = wanted.policies.as_ref().filter(|asked| !asked.is_empty());
    let asked = asked.map(|asked| named(asked)).transpose()?;
    let no_default = wanted.no_default_policy;
    let policies = match (role.filter(|role| role.says_something()), asked) {
        // What such a role allows does not depend on the parent.
        (Some(role), asked) => {
            let adds_default = !(no_default || role.no_default_policy || role.disallows(DEFAULT));
            let policies = role.policies(asked, &parent.policies, adds_default)?;
            if no_default { with_default(policies, true) } else { policies }
        }
        // A child inherits `default` and is not given it.
        (None, None) if no_default => with_default(parent.policies.clone(), true),
        (None, None) => parent.policies.clone(),
        (None, Some(asked)) => {
            if !maker.has_sudo && !is_within(&asked, &parent.policies) {
                return Err(TokenRefusal::BeyondParent.into());
            }
            let has_default = maker.has_sudo || parent.policies.iter().any(|policy| policy == DEFAULT);
            with_default(asked, no_default || !has_default)
        }
    };
    if policies.iter().any(|policy| policy == ROOT) && !parent.is_root() {
        return Err(TokenRefusal::RootFromOther.into());
    }
    Ok(policies)
}

/// Whether all policies are among others.
fn is_within(policies: &[String], others: &[String]) -> bool {
    others.iter().any(|policy| policy == ROOT) || policies.iter().all(|policy| others.contains(policy))
}

/// The names of policies as they are stored: in lower case and without blanks at their ends, so that no
/// spelling of `root` is another than `root`.
///
/// # Errors
///
/// `Refused` for a name that is none, or that no client may give to a token.
pub fn named(asked: &[String]) -> Result<Vec<String>, TokenError> {
    if asked.len() > MAX_POLICIES {
        return Err(TokenRefusal::TooManyPolicies.into());
    }
    let mut names = Vec::with_capacity(asked.len());
    for asked in asked {
        let name = policy::name(asked.trim()).map_err(|reason| TokenRefusal::PolicyName { reason })?;
        if NOT_ASSIGNABLE.contains(&name.as_str()) {
            return Err(TokenRefusal::NotAssignable { name }.into());
        }
        names.push(name);
    }
    Ok(names)
}

/// These policies in order, each once, with `default` or without it; `root` stands alone.
pub fn with_default(mut policies: Vec<String>, no_default: bool) -> Vec<String> {
    if no_default {
        policies.retain(|policy| policy != DEFAULT);
    }
    in_order(policies, !no_default)
}

/// `token`, and what its maker calls it, in characters that logs take.
fn display_name(given: &str) -> String {
    let plain: String = given
        .chars()
        .take(128)
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "token".to_owned() } else { format!("token-{plain}") }
}

/// Checks the metadata of a token, or of a secret id.
///
/// # Errors
///
/// `Refused` if it is too much.
pub(crate) fn check_meta(meta: &BTreeMap<String, String>) -> Result<(), TokenError> {
    let bytes: usize = meta.iter().map(|(name, value)| name.len() + value.len()).sum();
    if meta.len() > MAX_META || bytes > MAX_META_BYTES {
        return Err(TokenRefusal::TooMuchMetadata.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{TokenName, life::SYSTEM_TTL};
    use keyway_common::clock::Time;

    fn live(policies: &[&str]) -> Live {
        let policies = policies.iter().map(|policy| (*policy).to_owned()).collect();
        let name = TokenName::of(&[7; 32]);
        Live { name, entry: Entry { policies, ..Entry::new().unwrap() }, is_orphan: true }
    }

    fn made(wanted: &Wanted, parent: &Live, has_sudo: bool) -> Result<Entry, String> {
        let planned = plan(wanted, Maker { live: parent, has_sudo }, None, Lifetimes::default());
        planned.map(|planned| planned.entry).map_err(|error| error.to_string())
    }

    fn wanting(policies: &[&str]) -> Wanted {
        let policies = policies.iter().map(|policy| (*policy).to_owned()).collect();
        Wanted { policies: Some(policies), renewable: true, ..Wanted::default() }
    }

    #[test]
    fn child_has_its_parents_policies_or_fewer() {
        let parent = live(&["a", "b", "default"]);
        assert_eq!(made(&wanting(&["a"]), &live(&["a"]), false).unwrap().policies, ["a"]);
        assert!(made(&wanting(&["default"]), &live(&["a"]), false).is_err());
        assert_eq!(made(&Wanted::default(), &parent, false).unwrap().policies, ["a", "b", "default"]);
        assert_eq!(made(&wanting(&["B "]), &parent, false).unwrap().policies, ["b", "default"]);
        let without = Wanted { no_default_policy: true, ..wanting(&["a"]) };
        assert_eq!(made(&without, &parent, false).unwrap().policies, ["a"]);
        assert!(made(&wanting(&["c"]), &parent, false).unwrap_err().contains("subset"));
        assert_eq!(made(&wanting(&["c"]), &parent, true).unwrap().policies, ["c", "default"]);
        let child = made(&Wanted::default(), &parent, false).unwrap();
        assert_eq!(child.ancestors, [parent.kin()]);
        assert_eq!(child.creation_ttl, SYSTEM_TTL);
    }

    #[test]
    fn only_root_makes_root_in_any_spelling() {
        for parent in [live(&["a", "default"]), live(&[])] {
            for spelling in ["root", "ROOT", "Root", " root", "root ", "\troot\n", "rOOt"] {
                for has_sudo in [false, true] {
                    assert!(
                        made(&wanting(&[spelling]), &parent, has_sudo).is_err(),
                        "{spelling:?} {has_sudo}"
                    );
                }
            }
            // Look-alikes are other policies, and no such policy exists.
            for other in ["rооt", "root\u{200b}", "root%20"] {
                let policies = made(&wanting(&[other]), &parent, true).map(|entry| entry.is_root());
                assert_ne!(policies, Ok(true), "{other:?}");
            }
        }
        let root = live(&["root"]);
        assert!(made(&wanting(&["ROOT "]), &root, true).unwrap().is_root());
        assert_eq!(made(&wanting(&["root", "a"]), &root, true).unwrap().policies, ["root"]);
        let expiring =
            Live { entry: Entry { expires: Some(Time::MAX), ..root.entry.clone() }, ..root.clone() };
        assert!(made(&Wanted::default(), &expiring, true).unwrap_err().contains("non-expiring"));
        assert!(made(&Wanted::default(), &root, true).unwrap().expires.is_none());
    }

    #[test]
    fn what_needs_sudo_is_refused_without() {
        let parent = live(&["a"]);
        for wanted in [
            Wanted { id: Some("kw.mine".to_owned()), ..Wanted::default() },
            Wanted { period: 60, ..Wanted::default() },
            Wanted { no_parent: true, ..Wanted::default() },
        ] {
            assert!(made(&wanted, &parent, false).unwrap_err().contains("sudo"), "{wanted:?}");
            assert!(made(&wanted, &parent, true).is_ok(), "{wanted:?}");
        }
    }

    #[test]
    fn roles_bound_what_their_users_make() {
        let parent = live(&["a", "default"]);
        let by = |wanted: &Wanted, role: &Role| {
            let planned =
                plan(wanted, Maker { live: &parent, has_sudo: false }, Some(role), Lifetimes::default());
            planned.map(|planned| planned.entry).map_err(|error| error.to_string())
        };
        let silent = Role { period: 60, ..Role::default() };
        assert!(
            by(&wanting(&["admin"]), &silent).unwrap_err().contains("subset"),
            "a role that names no policies"
        );
        assert_eq!(by(&wanting(&["a"]), &silent).unwrap().policies, ["a", "default"]);
        let periodic = by(&wanting(&["a"]), &silent).unwrap();
        assert_eq!((periodic.creation_ttl, periodic.period), (60, 0), "the period stays the role's");
        let orphan = Wanted { no_parent: true, ..Wanted::default() };
        assert!(by(&orphan, &silent).unwrap_err().contains("orphans"));
        assert!(by(&orphan, &Role { orphan: true, ..silent.clone() }).unwrap().is_orphan());
    }

    #[test]
    fn roles_policies_are_those_that_openbao_gives() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let by = |parent: &[&str], wanted: Wanted, role: &Role| {
            let maker = Maker { live: &live(parent), has_sudo: false };
            let planned = plan(&wanted, maker, Some(role), Lifetimes::default());
            planned.map(|planned| planned.entry.policies).map_err(|error| error.to_string())
        };
        let silent = Wanted::default();
        let without = Wanted { no_default_policy: true, ..Wanted::default() };
        let glob = Role { allowed_policies_glob: names(&["p*"]), ..Role::default() };
        assert_eq!(by(&["pa", "prod", "default"], silent.clone(), &glob).unwrap(), ["default"]);
        assert_eq!(by(&["pa"], wanting(&["prod"]), &glob).unwrap(), ["default", "prod"]);
        assert!(by(&["pa"], without.clone(), &glob).unwrap().is_empty());
        assert!(
            by(&["x"], wanting(&["x"]), &glob).unwrap_err().contains("must be subset of the role's allowed")
        );
        let allowed = Role { allowed_policies: names(&["x"]), ..Role::default() };
        assert_eq!(by(&["pa"], silent.clone(), &allowed).unwrap(), ["default", "x"]);
        assert_eq!(by(&["pa"], without.clone(), &allowed).unwrap(), ["x"]);
        assert_eq!(by(&["pa"], wanting(&["default"]), &allowed).unwrap(), ["default"]);
        assert!(by(&["pa"], wanting(&["pa"]), &allowed).is_err());
        let bare = Role { no_default_policy: true, ..allowed.clone() };
        assert_eq!(by(&["pa"], silent.clone(), &bare).unwrap(), ["x"]);
        assert!(by(&["pa"], wanting(&["default"]), &bare).is_err());
        let disallowed = Role { disallowed_policies: names(&["zz"]), ..Role::default() };
        assert_eq!(by(&["pa"], silent.clone(), &disallowed).unwrap(), ["default", "pa"]);
        assert_eq!(by(&["pa"], wanting(&["x"]), &disallowed).unwrap(), ["default", "x"]);
        let disallowed = Role { disallowed_policies_glob: names(&["p*"]), ..Role::default() };
        assert!(by(&["pa"], silent.clone(), &disallowed).unwrap_err().contains("is disallowed by this role"));
        let disallowed = Role { disallowed_policies: names(&["default"]), ..Role::default() };
        assert!(by(&["pa", "default"], silent.clone(), &disallowed).is_err());
        assert_eq!(by(&["pa", "default"], wanting(&["x"]), &disallowed).unwrap(), ["x"]);
        // A role that says nothing of policies changes nothing.
        let other = Role { no_default_policy: true, ..Role::default() };
        assert_eq!(by(&["default", "pa"], silent, &other).unwrap(), ["default", "pa"]);
    }

    #[test]
    fn child_is_bound_as_its_parent_is() {
        let mut parent = live(&["a"]);
        parent.entry.bound_cidrs = crate::token::networks(&["10.0.0.0/8".to_owned()]).unwrap();
        assert_eq!(made(&Wanted::default(), &parent, false).unwrap().bound_cidrs, parent.entry.bound_cidrs);
        assert_eq!(made(&Wanted::default(), &parent, true).unwrap().bound_cidrs, parent.entry.bound_cidrs);
        let orphan = Wanted { by_orphans_path: true, ..Wanted::default() };
        assert!(made(&orphan, &parent, true).unwrap().bound_cidrs.is_empty());
        assert_eq!(made(&orphan, &parent, false).unwrap().bound_cidrs, parent.entry.bound_cidrs);
        parent.entry.uses_left = Some(2);
        assert!(made(&Wanted::default(), &parent, true).unwrap_err().contains("restricted use"));
    }
}
