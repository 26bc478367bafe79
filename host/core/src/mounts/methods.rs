//! Changes of the auth methods in the table of mounts.

use keyway_common::clock;
use uuid::Uuid;

use super::{
    MountError, MountPath, MountTable,
    auth::{AuthMount, AuthTable, Disabled, TOKEN},
};

impl MountTable {
    /// The auth methods.
    pub fn auth(&self) -> &AuthTable {
        &self.auth
    }

    /// As [`auth`](Self::auth), to change them.
    pub fn auth_mut(&mut self) -> &mut AuthTable {
        &mut self.auth
    }

    /// Adds an auth method.
    ///
    /// # Errors
    ///
    /// If the path is taken, or one of the two would hide the other's paths.
    pub fn enable(&mut self, path: &MountPath, mount: AuthMount) -> Result<(), MountError> {
        self.auth.check_free(path.as_str())?;
        self.auth.0.insert(path.as_str().to_owned(), mount);
        Ok(())
    }

    /// Takes an auth method away; its tokens are dead from then on. What it was, if it was there.
    pub fn disable(&mut self, path: &str) -> Option<AuthMount> {
        let mount = if path == TOKEN { None } else { self.auth.0.remove(path) }?;
        self.disabled.push(Disabled { uuid: mount.uuid, since: clock::unix_seconds() });
        Some(mount)
    }

    /// Auth methods that were disabled, and whose records are not all gone.
    pub fn disabled(&self) -> &[Disabled] {
        &self.disabled
    }

    /// Forgets an auth method whose records are gone.
    pub(crate) fn forget_disabled(&mut self, uuid: Uuid) {
        self.disabled.retain(|disabled| disabled.uuid != uuid);
    }

    /// Gives an auth method another path.
    ///
    /// # Errors
    ///
    /// `Gone`, and as [`enable`](Self::enable); `InUse` if it is there already.
    pub fn move_auth(&mut self, from: &str, to: &MountPath) -> Result<(), MountError> {
        if from == to.as_str() {
            return Err(MountError::InUse { path: format!("auth/{from}") });
        }
        let gone = || MountError::Gone { path: format!("auth/{from}") };
        let mount = if from == TOKEN { None } else { self.auth.0.remove(from) };
        let mount = mount.ok_or_else(gone)?;
        self.enable(to, AuthMount { moved_from: Some(from.to_owned()), ..mount })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mounts::auth::{APPROLE, Tune},
        token::life::Lifetimes,
    };

    #[test]
    fn tokens_are_always_there_and_others_do_not_hide_each_other() {
        let mut table = MountTable::default();
        let path = |text: &str| MountPath::parse(text).unwrap();
        assert_eq!(table.auth().all().len(), 1);
        table.enable(&path("approle"), AuthMount::new(APPROLE, "")).unwrap();
        for taken in ["approle", "token", "token/x", "approle/x"] {
            assert!(table.enable(&path(taken), AuthMount::new(APPROLE, "")).is_err(), "{taken}");
        }
        let (at, mount, rest) = table.auth().resolve("approle/role/x").unwrap();
        assert_eq!((at, mount.kind.as_str(), rest), ("approle", APPROLE, "role/x"));
        let uuid = mount.uuid;
        table.move_auth("approle", &path("machines")).unwrap();
        assert!(table.auth().has(uuid) && table.auth().get("approle").is_none());
        assert_eq!(table.auth().get("machines").unwrap().moved_from.as_deref(), Some("approle"));
        assert!(matches!(table.move_auth("machines", &path("machines")), Err(MountError::InUse { .. })));
        assert!(table.disabled().is_empty());
        assert!(table.disable("machines").is_some() && !table.auth().has(uuid));
        assert_eq!(table.disabled().len(), 1);
        assert!(table.disable("token").is_none() && table.move_auth("token", &path("x")).is_err());
    }

    #[test]
    fn lifetimes_are_the_systems_unless_something_is_said() {
        assert_eq!(Tune::default().lifetimes(), Lifetimes::default());
        let tune = Tune { default_lease_ttl: 500, max_lease_ttl: 100, ..Tune::default() };
        assert_eq!(tune.lifetimes(), Lifetimes { default: 500, max: 100 });
    }
}
