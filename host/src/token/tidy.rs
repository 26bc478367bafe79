//! Removes what is left of dead tokens. Nothing depends on it: the dead are dead without it.

use std::collections::{HashMap, HashSet};

use super::{
    ACCESSOR_PREFIX, Entry, TokenError, TokenName,
    store::{Accessor, Tokens},
};
use crate::{clock, crypto::envelope::RecordKind, cubbyhole};

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
struct Kin {
    is_alive: bool,
    left_orphans: bool,
    ancestors: Vec<TokenName>,
    accessor: String,
}

impl Tokens<'_> {
    /// Removes tokens that are dead, by themselves or with an ancestor, and what belonged to them.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub async fn tidy(&self) -> Result<Tidied, TokenError> {
        let mut tidied = Tidied::default();
        // Accessors first: one that is written after this is of a token that is written after this, too.
        let accessors = self.records.names(ACCESSOR_PREFIX).await?;
        let cubbyholes = cubbyhole::owners(self.records).await?;
        let kin = self.kin().await?;
        let now_dead: Vec<&TokenName> =
            kin.iter().filter(|(_, one)| !is_alive(one, &kin)).map(|(name, _)| name).collect();
        // Those who left orphans stay for as long as they have some.
        let needed: HashSet<&TokenName> =
            kin.values().filter(|one| is_alive(one, &kin)).flat_map(|one| &one.ancestors).collect();
        for name in now_dead {
            let Some(one) = kin.get(name) else { continue };
            if one.left_orphans && needed.contains(name) {
                continue;
            }
            self.records.remove(&name.key()).await?;
            if !one.accessor.is_empty() {
                self.records.remove(&self.accessor_key(&one.accessor)).await?;
            }
            tidied.tokens += 1;
        }
        let is_kept = |name: &TokenName| kin.get(name).is_some_and(|one| is_alive(one, &kin));
        let keys: Vec<Vec<u8>> = accessors.iter().map(|name| [ACCESSOR_PREFIX, name].concat()).collect();
        let held = self.records.get_many::<Accessor>(RecordKind::Accessor, &keys).await?;
        for (key, accessor) in keys.iter().zip(held) {
            let Some(accessor) = accessor else { continue };
            if !is_kept(&accessor.value.token) {
                // Made since? Then its token is there by now.
                if self.records.get::<Entry>(RecordKind::Token, &accessor.value.token.key()).await?.is_none()
                {
                    self.records.remove(key).await?;
                    tidied.accessors += 1;
                }
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

    async fn kin(&self) -> Result<HashMap<TokenName, Kin>, TokenError> {
        let now = clock::unix_seconds();
        let mut kin = HashMap::new();
        for (name, entry) in self.all().await? {
            let one = Kin {
                is_alive: self.is_alive(&entry, now),
                left_orphans: entry.left_orphans,
                ancestors: entry.ancestors,
                accessor: entry.accessor,
            };
            kin.insert(name, one);
        }
        Ok(kin)
    }
}

fn is_alive(one: &Kin, kin: &HashMap<TokenName, Kin>) -> bool {
    if !one.is_alive {
        return false;
    }
    for ancestor in &one.ancestors {
        match kin.get(ancestor) {
            Some(ancestor) if ancestor.left_orphans => return true,
            Some(ancestor) if ancestor.is_alive => {}
            _ => return false,
        }
    }
    true
}
