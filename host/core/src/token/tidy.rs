//! Removes the records of dead tokens. Nothing depends on it: a dead token is refused without it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use keyway_common::clock::{self, Time};
use keyway_crypto::envelope::RecordKind;

use super::{
    Entry, Kin, TokenError, TokenName,
    name::ACCESSOR_PREFIX,
    store::{Accessor, Tokens},
};
use crate::cubbyhole;

/// How long a token that is being made may be under way: far longer than a request may take.
const UNDER_WAY: Duration = Duration::from_secs(4_000);

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Tokens.
    pub tokens: usize,
    /// Accessors that named no token.
    pub accessors: usize,
    /// Cubbyholes that were no token's.
    pub cubbyholes: usize,
}

/// What of a token decides over its descendants.
struct Relative {
    is_alive: bool,
    left_orphans: bool,
    ancestors: Vec<Kin>,
    accessor: String,
}

impl Tokens<'_> {
    /// Removes tokens that are dead, by themselves or with an ancestor, and what belonged to them.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read, opened or written.
    pub async fn tidy(&self) -> Result<Tidied, TokenError> {
        let mut tidied = Tidied::default();
        // Accessors first: one that is written after this is of a token that is written after this, too.
        let accessors = self.records.names(ACCESSOR_PREFIX).await?;
        let cubbyholes = cubbyhole::owners(self.records).await?;
        let (now, kin) = (clock::unix_seconds(), self.kin().await?);
        let now_dead: Vec<&TokenName> =
            kin.iter().filter(|(_, one)| !is_alive(one, &kin)).map(|(name, _)| name).collect();
        // Tokens that left orphans stay as long as these live.
        let needed: HashSet<&TokenName> = kin
            .values()
            .filter(|one| is_alive(one, &kin))
            .flat_map(|one| one.ancestors.iter().map(|kin| &kin.name))
            .collect();
        let mut gone = Vec::new();
        for name in now_dead {
            let Some(one) = kin.get(name) else { continue };
            if one.left_orphans && needed.contains(name) {
                continue;
            }
            gone.push(name.key());
            if !one.accessor.is_empty() {
                gone.push(self.accessor_key(&one.accessor));
            }
            tidied.tokens += 1;
        }
        // The dead stay dead: nothing is lost if this breaks off.
        self.records.remove_all(&gone).await?;
        let is_kept = |name: &TokenName| kin.get(name).is_some_and(|one| is_alive(one, &kin));
        let keys: Vec<Vec<u8>> = accessors.iter().map(|name| [ACCESSOR_PREFIX, name].concat()).collect();
        let held = self.records.get_many::<Accessor>(RecordKind::Accessor, &keys).await?;
        for (key, accessor) in keys.iter().zip(held) {
            let Some(accessor) = accessor else { continue };
            // A young one's token may still be under way.
            let is_old = now.saturating_sub(accessor.value.made) > UNDER_WAY.as_secs();
            if is_old
                && !is_kept(&accessor.value.token)
                && self.records.get::<Entry>(RecordKind::Token, &accessor.value.token.key()).await?.is_none()
            {
                self.records.remove(key).await?;
                tidied.accessors += 1;
            }
        }
        for owner in cubbyholes {
            if !is_kept(&owner) && self.lookup_name(&owner).await?.is_none() {
                cubbyhole::Cubbyhole::new(self.records, &owner).clear().await?;
                tidied.cubbyholes += 1;
            }
        }
        Ok(tidied)
    }

    fn kin_of(&self, entry: Entry, now: Time) -> Relative {
        Relative {
            is_alive: entry.is_alive(now) && !self.is_of_a_disabled_method(&entry),
            left_orphans: entry.left_orphans,
            ancestors: entry.ancestors,
            accessor: entry.accessor,
        }
    }

    async fn kin(&self) -> Result<HashMap<TokenName, Relative>, TokenError> {
        let now = Time::now();
        let mut kin = HashMap::new();
        for (name, entry) in self.all().await? {
            kin.insert(name, self.kin_of(entry, now));
        }
        // A parent that was made while the names were read may stand before its child, and be missing here.
        let missing: HashSet<TokenName> = kin
            .values()
            .flat_map(|one| one.ancestors.iter().map(|kin| &kin.name))
            .filter(|name| !kin.contains_key(*name))
            .cloned()
            .collect();
        for name in missing {
            if let Some(held) = self.records.get::<Entry>(RecordKind::Token, &name.key()).await? {
                kin.insert(name, self.kin_of(held.value, now));
            }
        }
        Ok(kin)
    }
}

fn is_alive(one: &Relative, kin: &HashMap<TokenName, Relative>) -> bool {
    if !one.is_alive {
        return false;
    }
    for ancestor in &one.ancestors {
        match kin.get(&ancestor.name).filter(|found| found.accessor == ancestor.accessor) {
            Some(ancestor) if ancestor.left_orphans => return true,
            Some(ancestor) if ancestor.is_alive => {}
            _ => return false,
        }
    }
    true
}
