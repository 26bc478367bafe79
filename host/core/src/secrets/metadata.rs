//! The metadata of a secret.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use jiff::Timestamp;
use keyway_crypto::envelope;
use keyway_loader::WriteId;
use serde::{Deserialize, Serialize};

use super::settings::{Effective, Settings};

/// The metadata of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The number of the newest version; versions count from 1, and zero is none yet.
    pub current_version: u64,
    /// When the secret was first written, in RFC 3339.
    pub created_time: String,
    /// When it was last changed, in RFC 3339.
    pub updated_time: String,
    /// What it says about its versions.
    #[serde(default, skip_serializing_if = "Settings::is_default")]
    pub settings: Settings,
    /// The custom metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeMap<String, String>>,
    /// How often clients changed the settings or the custom metadata; `metadata_cas` compares with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub metadata_version: u64,
    /// Its versions by number.
    pub versions: BTreeMap<u64, VersionMetadata>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The metadata of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionMetadata {
    /// When it was written, in RFC 3339.
    pub created_time: String,
    /// When it was deleted or will count as deleted, in RFC 3339; empty if it will not.
    pub deletion_time: String,
    /// Whether its value is gone for good.
    pub destroyed: bool,
    /// The write that made it, whichever of its attempts: so that one with an unknown outcome can be recognised.
    write_id: String,
    /// The tag of its envelope, so that no other sealing can take its place.
    tag: String,
    /// The tag of the envelope that is to take its place: known before that is in the store, so that no sweep
    /// takes it for one that nothing refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_tag: Option<String>,
}

/// A version that is about to be written.
pub struct NewVersion<'a> {
    /// When.
    pub now: Timestamp,
    /// By which write.
    pub write_id: WriteId,
    /// Its envelope.
    pub sealed: &'a [u8],
}

impl VersionMetadata {
    fn new(new: &NewVersion<'_>, deletion_time: Option<Timestamp>) -> Self {
        Self {
            created_time: new.now.to_string(),
            deletion_time: deletion_time.map(|time| time.to_string()).unwrap_or_default(),
            destroyed: false,
            write_id: BASE64.encode(new.write_id.as_bytes()),
            tag: written_tag(new.sealed),
            next_tag: None,
        }
    }

    /// The same version, in another envelope.
    pub(crate) fn resealed(&self, sealed: &[u8]) -> Self {
        Self { tag: written_tag(sealed), next_tag: None, ..self.clone() }
    }

    /// The same version, which is to be in another envelope.
    pub(crate) fn to_be_resealed(&self, sealed: &[u8]) -> Self {
        Self { next_tag: Some(written_tag(sealed)), ..self.clone() }
    }

    /// The same version in the envelope that is to take its place; none if there is none.
    pub fn next(&self) -> Option<Self> {
        let tag = self.next_tag.clone()?;
        Some(Self { tag, next_tag: None, ..self.clone() })
    }

    /// Whether it can be read at this time.
    pub fn is_readable(&self, now: Timestamp) -> bool {
        !self.destroyed && !self.is_deleted(now)
    }

    /// Whether it counts as deleted at this time. A time that cannot be read counts as past.
    pub(crate) fn is_deleted(&self, now: Timestamp) -> bool {
        !self.deletion_time.is_empty() && !self.deletion_time.parse().is_ok_and(|time: Timestamp| time > now)
    }

    /// Whether this write made it.
    pub(crate) fn was_written_by(&self, write_id: WriteId) -> bool {
        self.write_id == BASE64.encode(write_id.as_bytes())
    }

    /// The tag of the envelope that this version is in.
    pub fn tag(&self) -> Vec<u8> {
        BASE64.decode(self.tag.as_bytes()).unwrap_or_default()
    }

    /// Whether `sealed` is the envelope that this version is in.
    pub(crate) fn is_sealed_as(&self, sealed: &[u8]) -> bool {
        envelope::tag(sealed).is_some_and(|tag| self.tag() == tag)
    }
}

fn written_tag(sealed: &[u8]) -> String {
    envelope::tag(sealed).map(|tag| BASE64.encode(&tag)).unwrap_or_default()
}

impl Metadata {
    /// The metadata of a secret without versions.
    pub fn new(now: Timestamp) -> Self {
        Self {
            current_version: 0,
            created_time: now.to_string(),
            updated_time: now.to_string(),
            settings: Settings::default(),
            custom: None,
            metadata_version: 0,
            versions: BTreeMap::new(),
        }
    }

    /// The metadata of the current version, if there is one.
    pub fn current(&self) -> Option<&VersionMetadata> {
        self.versions.get(&self.current_version)
    }

    /// Adds a version, and takes out surplus ones; answers these.
    pub fn add(&mut self, new: &NewVersion<'_>, effective: &Effective) -> Vec<(u64, VersionMetadata)> {
        self.current_version += 1;
        self.updated_time = new.now.to_string();
        let version = VersionMetadata::new(new, effective.deletion_time(new.now));
        self.versions.insert(self.current_version, version);
        let oldest_kept = (self.current_version + 1).saturating_sub(u64::from(effective.max_versions));
        let kept = self.versions.split_off(&oldest_kept);
        std::mem::replace(&mut self.versions, kept).into_iter().collect()
    }

    /// The number of the oldest version; zero, as Vault has it, until one was one too many.
    pub fn oldest_version(&self) -> u64 {
        self.versions.keys().next().copied().filter(|oldest| *oldest > 1).unwrap_or(0)
    }
}

/// Checks custom metadata against Vault's limits: 64 names of 128 bytes with values of 512.
///
/// # Errors
///
/// A line that says what the problem is.
pub fn check_custom(custom: &BTreeMap<String, String>) -> Result<(), String> {
    const MAX_NAMES: usize = 64;
    const MAX_NAME_BYTES: usize = 128;
    const MAX_VALUE_BYTES: usize = 512;
    if custom.len() > MAX_NAMES {
        return Err(format!("custom_metadata has at most {MAX_NAMES} names"));
    }
    for (name, value) in custom {
        let is_plain = |text: &str| !text.is_empty() && text.chars().all(is_printable);
        if name.len() > MAX_NAME_BYTES || !is_plain(name) {
            return Err(format!(
                "a name in custom_metadata has 1 to {MAX_NAME_BYTES} bytes and no unprintable characters"
            ));
        }
        if value.len() > MAX_VALUE_BYTES || !is_plain(value) {
            return Err(format!(
                "custom_metadata {name:?}: a value has 1 to {MAX_VALUE_BYTES} bytes and no unprintable characters"
            ));
        }
    }
    Ok(())
}

/// Whether a character is a letter, mark, number, punctuation, symbol or the ordinary space, as Go's
/// `unicode.IsPrint` says: the standard library escapes the others. A mark is escaped only at the beginning
/// of a text.
fn is_printable(character: char) -> bool {
    let text = ['a', character];
    matches!(character, '"' | '\'' | '\\') || String::from_iter(text).escape_debug().eq(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unprintable_characters_are_those_that_go_has() {
        assert!("aé1€'\"\\ 漢e\u{301}🔑".chars().all(is_printable));
        for hidden in
            ['\0', '\t', '\n', '\u{7f}', '\u{ad}', '\u{a0}', '\u{200b}', '\u{2028}', '\u{3000}', '\u{e000}']
        {
            assert!(!is_printable(hidden), "{hidden:?}");
        }
    }

    const NEW: NewVersion<'static> =
        NewVersion { now: Timestamp::UNIX_EPOCH, write_id: WriteId::new([1; 16]), sealed: &[7; 40] };

    fn effective(max_versions: u32, delete_version_after_ns: i64) -> Effective {
        Settings { max_versions, delete_version_after_ns, ..Settings::default() }.within(&Settings::default())
    }

    #[test]
    fn versions_beyond_the_most_are_taken_out_oldest_first() {
        let mut metadata = Metadata::new(Timestamp::UNIX_EPOCH);
        for _ in 0..3 {
            assert!(metadata.add(&NEW, &effective(3, 0)).is_empty());
        }
        let pruned: Vec<u64> =
            metadata.add(&NEW, &effective(2, 0)).into_iter().map(|(number, _)| number).collect();
        assert_eq!(pruned, [1, 2]);
        assert_eq!((metadata.current_version, metadata.oldest_version()), (4, 3));
    }

    #[test]
    fn version_with_a_lifetime_is_readable_until_its_end() {
        let mut metadata = Metadata::new(Timestamp::UNIX_EPOCH);
        metadata.add(&NEW, &effective(0, 1_500_000_000));
        let version = metadata.current().unwrap();
        assert_eq!(version.deletion_time, "1970-01-01T00:00:01.5Z");
        assert!(version.is_readable(Timestamp::from_second(1).unwrap()));
        assert!(!version.is_readable(Timestamp::from_second(2).unwrap()));
    }

    #[test]
    fn metadata_of_the_first_version_of_keyway_is_read() {
        let text = r#"{"current_version":1,"created_time":"2026-01-01T00:00:00Z","updated_time":"2026-01-01T00:00:00Z",
            "versions":{"1":{"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false,
            "write_id":"AQEBAQEBAQEBAQEBAQEBAQ==","tag":"BwcHBwcHBwcHBwcHBwcHBw=="}}}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        assert!(metadata.settings.is_default() && metadata.custom.is_none());
        assert!(metadata.current().unwrap().is_readable(Timestamp::UNIX_EPOCH));
    }
}
