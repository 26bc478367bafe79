//! What is known of a secret besides its values.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use keyway_loader::WriteId;
use serde::{Deserialize, Serialize};

use crate::crypto::envelope;

/// The metadata of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The number of the newest version; versions count from 1.
    pub current_version: u64,
    /// When the secret was first written, in RFC 3339.
    pub created_time: String,
    /// When it was last changed, in RFC 3339.
    pub updated_time: String,
    /// Its versions by number.
    pub versions: BTreeMap<u64, VersionMetadata>,
}

/// The metadata of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionMetadata {
    /// When it was written, in RFC 3339.
    pub created_time: String,
    /// When it was deleted, in RFC 3339; empty while it is not.
    pub deletion_time: String,
    /// Whether its value is gone for good.
    pub destroyed: bool,
    /// The write that made it, whichever of its attempts: so that one with an unknown outcome can be recognised.
    write_id: String,
    /// The tag of its envelope, so that no other sealing can take its place.
    tag: String,
}

impl VersionMetadata {
    fn new(created_time: String, write_id: WriteId, sealed: &[u8]) -> Self {
        Self {
            created_time,
            deletion_time: String::new(),
            destroyed: false,
            write_id: BASE64.encode(write_id.as_bytes()),
            tag: envelope::tag(sealed).map(|tag| BASE64.encode(&tag)).unwrap_or_default(),
        }
    }

    /// Whether it can be read.
    pub fn is_readable(&self) -> bool {
        self.deletion_time.is_empty() && !self.destroyed
    }

    /// Whether this write made it.
    pub fn was_written_by(&self, write_id: WriteId) -> bool {
        self.write_id == BASE64.encode(write_id.as_bytes())
    }

    /// The tag of the envelope that this version was written with.
    pub fn tag(&self) -> Vec<u8> {
        BASE64.decode(self.tag.as_bytes()).unwrap_or_default()
    }

    /// Whether `sealed` is the envelope that this version was written with.
    pub fn is_sealed_as(&self, sealed: &[u8]) -> bool {
        envelope::tag(sealed).is_some_and(|tag| self.tag() == tag)
    }
}

impl Metadata {
    /// The metadata after one more version.
    pub fn with_next(before: Option<&Self>, now: &str, write_id: WriteId, sealed: &[u8]) -> Self {
        let mut after = before.cloned().unwrap_or_else(|| Self {
            current_version: 0,
            created_time: now.to_owned(),
            updated_time: String::new(),
            versions: BTreeMap::new(),
        });
        after.current_version += 1;
        now.clone_into(&mut after.updated_time);
        after.versions.insert(after.current_version, VersionMetadata::new(now.to_owned(), write_id, sealed));
        after
    }

    /// The number of the oldest version.
    pub fn oldest_version(&self) -> u64 {
        self.versions.keys().next().copied().unwrap_or(0)
    }
}
