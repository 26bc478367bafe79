//! Tokens in the store.

use std::{net::IpAddr, sync::Arc};

use keyway_common::clock::{self, Time};
use keyway_crypto::envelope::RecordKind;
use keyway_storage::{Work, prefetch::Prefetched};
use serde::{Deserialize, Serialize};

use super::{
    Entry, Kin, Token, TokenError, TokenName, TokenRefusal,
    bounds::MAX_ANCESTORS,
    is_bound_to,
    life::{End, Life, Lifetimes},
    name::{ACCESSOR_NAMES, ACCESSOR_PREFIX, TOKEN_PREFIX, key_of_accessor},
};
use crate::{
    barrier::Barrier,
    mounts::MountTable,
    system::{New, Next, Records, SystemError},
};

/// The tokens, for one request.
#[derive(Clone)]
pub struct Tokens<'a> {
    pub(super) barrier: &'a Barrier,
    pub(super) records: Records<'a>,
    /// Says which auth methods there are: tokens of others are dead.
    table: Arc<MountTable>,
}

/// A token that is alive, as far as is known.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its name in the store.
    pub name: TokenName,
    /// Its entry.
    pub entry: Entry,
    /// Whether it has no parent, or one that was revoked alone.
    pub is_orphan: bool,
}

/// What a token's life depends on.
enum Parent {
    None,
    Alive,
    Dead,
}

/// What finds a token by its accessor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accessor {
    pub(super) accessor: String,
    pub(super) token: TokenName,
    /// When, in Unix seconds.
    #[serde(default)]
    pub(super) made: u64,
}

impl Live {
    /// What its children know of it.
    pub fn kin(&self) -> Kin {
        Kin { name: self.name.clone(), accessor: self.entry.accessor.clone() }
    }
}

impl<'a> Tokens<'a> {
    /// The tokens that this barrier seals.
    pub fn new(barrier: &'a Barrier, work: &'a Work, table: Arc<MountTable>) -> Self {
        Self { barrier, records: Records::new(barrier, work), table }
    }

    /// What was prefetched is not read again.
    #[must_use]
    pub fn with_prefetched(self, prefetched: &'a Prefetched) -> Self {
        Self { records: self.records.with_prefetched(prefetched), ..self }
    }

    /// Whether the auth method that made it was disabled. One that this host does not know yet was not.
    pub(super) fn is_of_a_disabled_method(&self, entry: &Entry) -> bool {
        entry.mount.is_some_and(|mount| self.table.disabled().iter().any(|gone| gone.uuid == mount))
    }

    /// Whether the token itself is alive.
    pub(super) fn is_alive(&self, entry: &Entry, now: Time) -> bool {
        entry.is_alive(now) && entry.mount.is_none_or(|mount| self.table.auth().has(mount))
    }

    /// The name under which a token is stored.
    pub fn name(&self, token: &Token) -> TokenName {
        TokenName::of(&self.barrier.token_name(token.expose()))
    }

    /// The entry of a token, if it and its ancestors are alive.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read or opened.
    pub async fn lookup(&self, token: &Token) -> Result<Option<Live>, TokenError> {
        if !token.is_plausible() {
            return Ok(None);
        }
        self.lookup_name(&self.name(token)).await
    }

    /// As [`lookup`](Self::lookup), for a client with this address.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read or opened.
    pub(crate) async fn lookup_from(
        &self,
        token: &Token,
        address: Option<IpAddr>,
    ) -> Result<Option<Live>, TokenError> {
        let live = self.lookup(token).await?;
        Ok(live.filter(|live| is_bound_to(&live.entry.bound_cidrs, address)))
    }

    /// As [`lookup`](Self::lookup), by the token's name.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read or opened.
    pub async fn lookup_name(&self, name: &TokenName) -> Result<Option<Live>, TokenError> {
        let held = self.records.get::<Entry>(RecordKind::Token, &name.key()).await?;
        let Some(entry) = held.map(|held| held.value) else { return Ok(None) };
        if !self.is_alive(&entry, Time::now()) {
            return Ok(None);
        }
        Ok(match self.parent_of(&entry).await? {
            Parent::Dead => None,
            Parent::None => Some(Live { name: name.clone(), entry, is_orphan: true }),
            Parent::Alive => Some(Live { name: name.clone(), entry, is_orphan: false }),
        })
    }

    /// As [`lookup`](Self::lookup), by the token's accessor.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read or opened.
    pub async fn lookup_accessor(&self, accessor: &str) -> Result<Option<Live>, TokenError> {
        match self.named_by(accessor).await? {
            None => Ok(None),
            // Another token can have taken the place of one whose id was chosen.
            Some(name) => Ok(self.lookup_name(&name).await?.filter(|live| live.entry.accessor == accessor)),
        }
    }

    async fn named_by(&self, accessor: &str) -> Result<Option<TokenName>, TokenError> {
        let key = self.accessor_key(accessor);
        let held = self.records.get::<Accessor>(RecordKind::Accessor, &key).await?;
        Ok(held.map(|held| held.value.token))
    }

    /// Whether its ancestors live, up to one that was revoked and left its children alone.
    async fn parent_of(&self, entry: &Entry) -> Result<Parent, TokenError> {
        let ancestors = &entry.ancestors;
        if ancestors.is_empty() {
            return Ok(Parent::None);
        }
        let keys: Vec<Vec<u8>> = ancestors.iter().map(|ancestor| ancestor.name.key()).collect();
        let held = self.records.get_many::<Entry>(RecordKind::Token, &keys).await?;
        let (now, mut parent) = (Time::now(), Parent::None);
        for (ancestor, held) in ancestors.iter().zip(held) {
            match held.map(|held| held.value).filter(|entry| entry.accessor == ancestor.accessor) {
                Some(entry) if entry.left_orphans => break,
                Some(entry) if self.is_alive(&entry, now) => parent = Parent::Alive,
                _ => return Ok(Parent::Dead),
            }
        }
        Ok(parent)
    }

    /// Makes a token, with this id or a random one.
    ///
    /// # Errors
    ///
    /// `Refused` if the id is taken or there are too many ancestors; `Random` if the system gives no random
    /// bytes; `System` if the records cannot be written.
    pub async fn make(&self, id: Option<&str>, entry: &Entry) -> Result<Token, TokenError> {
        if entry.ancestors.len() > MAX_ANCESTORS {
            return Err(TokenRefusal::TooManyAncestors.into());
        }
        let token = match id {
            None => Token::random()?,
            Some(id) => Token::presented(id),
        };
        let name = self.name(&token);
        let made = clock::unix_seconds();
        let accessor = Accessor { accessor: entry.accessor.clone(), token: name.clone(), made };
        let accessor_key = self.accessor_key(&entry.accessor);
        let accessor = New { kind: RecordKind::Accessor, key: &accessor_key, value: &accessor };
        let point = New { kind: RecordKind::Token, key: &name.key(), value: entry };
        match self.records.put_both(&accessor, &point).await {
            Ok(()) => Ok(token),
            Err(SystemError::Storage(error)) if error.is_lost_race() => Err(TokenRefusal::Exists.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one of a token's uses, if they are counted. Whether there was one: of several that ask for the
    /// last, one gets it.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read, opened or written.
    pub async fn spend(&self, live: &Live) -> Result<bool, TokenError> {
        if live.entry.uses_left.is_none() {
            return Ok(true);
        }
        let now = Time::now();
        self.records
            .change(RecordKind::Token, &live.name.key(), |entry: Option<Entry>| match entry {
                Some(mut entry) if self.is_alive(&entry, now) => {
                    entry.uses_left = entry.uses_left.map(|left| left - 1);
                    Ok((Next::Put(entry), true))
                }
                _ => Ok::<_, TokenError>((Next::Keep, false)),
            })
            .await
    }

    /// Renews a token, as it and the mount allow. Answers its new entry, and warnings for the client.
    ///
    /// # Errors
    ///
    /// `Refused` if it cannot be renewed; `System` if the token's records cannot be read, opened or written.
    pub async fn renew(
        &self,
        name: &TokenName,
        life: Life,
        lifetimes: Lifetimes,
    ) -> Result<(Entry, Vec<String>), TokenError> {
        self.records
            .change(RecordKind::Token, &name.key(), |entry: Option<Entry>| {
                let now = Time::now();
                let mut entry =
                    entry.filter(|entry| self.is_alive(entry, now)).ok_or(TokenRefusal::NotFound)?;
                if !entry.can_be_renewed() {
                    return Err(TokenRefusal::NotRenewable.into());
                }
                let End { at, warnings } =
                    life.end(lifetimes, entry.made(), now).ok_or(TokenRefusal::PastMaxTtl)?;
                entry.expires = Some(at);
                entry.renewed = Some(now);
                Ok((Next::Put(entry.clone()), (entry, warnings)))
            })
            .await
    }

    /// Revokes a token and all its descendants, of which none lives from then on.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read, opened or written.
    pub async fn revoke(&self, name: &TokenName) -> Result<(), TokenError> {
        let held = self.records.get::<Entry>(RecordKind::Token, &name.key()).await?;
        if held.as_ref().is_some_and(|held| held.value.left_orphans) {
            // It is revoked, and its orphans live on.
            return Ok(());
        }
        self.records.remove(&name.key()).await?;
        if let Some(held) = held {
            // If this fails, upkeep removes the rest.
            self.forget_what_belongs_to(name, &held.value).await?;
        }
        Ok(())
    }

    /// Revokes a token, and lets its children live on as orphans.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read, opened or written.
    pub async fn revoke_alone(&self, name: &TokenName) -> Result<(), TokenError> {
        let key = name.key();
        let changed = self.records.change(RecordKind::Token, &key, |entry: Option<Entry>| {
            let Some(entry) = entry.filter(|entry| !entry.left_orphans) else {
                return Ok((Next::Keep, None));
            };
            let left = Entry { left_orphans: true, policies: Vec::new(), meta: None, ..entry.clone() };
            Ok::<_, TokenError>((Next::Put(left), Some(entry)))
        });
        if let Some(entry) = changed.await? {
            self.forget_what_belongs_to(name, &entry).await?;
        }
        Ok(())
    }

    /// The accessors of all tokens.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read or opened.
    pub async fn accessors(&self) -> Result<Vec<String>, TokenError> {
        let names = self.records.names(ACCESSOR_PREFIX).await?;
        let keys: Vec<Vec<u8>> = names.iter().map(|name| [ACCESSOR_PREFIX, name].concat()).collect();
        let held = self.records.get_many::<Accessor>(RecordKind::Accessor, &keys).await?;
        let mut accessors: Vec<String> = held.into_iter().flatten().map(|held| held.value.accessor).collect();
        accessors.sort_unstable();
        Ok(accessors)
    }

    /// The leases of tokens that die some day, by name, whose names begin like this.
    ///
    /// # Errors
    ///
    /// `System` if the token's records cannot be read or opened.
    pub async fn leases(&self, prefix: &str) -> Result<Vec<(String, TokenName)>, TokenError> {
        let (mut leases, now) = (Vec::new(), Time::now());
        for (name, entry) in self.all().await? {
            let id = format!("{}/{}", entry.path, name.as_str());
            if entry.expires.is_some() && self.is_alive(&entry, now) && id.starts_with(prefix) {
                leases.push((id, name));
            }
        }
        Ok(leases)
    }

    /// All tokens that there are records of.
    pub(super) async fn all(&self) -> Result<Vec<(TokenName, Entry)>, TokenError> {
        let names = self.records.names(TOKEN_PREFIX).await?;
        let names = names.iter().filter_map(|name| TokenName::parse(&String::from_utf8_lossy(name)));
        let names: Vec<TokenName> = names.collect();
        let keys: Vec<Vec<u8>> = names.iter().map(TokenName::key).collect();
        let held = self.records.get_many::<Entry>(RecordKind::Token, &keys).await?;
        Ok(names.into_iter().zip(held).filter_map(|(name, held)| Some((name, held?.value))).collect())
    }

    pub(super) async fn forget_what_belongs_to(
        &self,
        name: &TokenName,
        entry: &Entry,
    ) -> Result<(), TokenError> {
        if !entry.accessor.is_empty() {
            self.records.remove(&self.accessor_key(&entry.accessor)).await?;
        }
        crate::cubbyhole::Cubbyhole::new(self.records, name).clear().await?;
        Ok(())
    }

    pub(super) fn accessor_key(&self, accessor: &str) -> Vec<u8> {
        key_of_accessor(&self.barrier.name(ACCESSOR_NAMES, accessor))
    }
}
