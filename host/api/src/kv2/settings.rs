//! Settings in requests and answers, the same for a mount and for a secret.

use keyway_common::duration::{self, Given};
use keyway_core::secrets::{Settings, settings::MAX_MAX_VERSIONS};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::given::{Number, Truth, said};

/// Settings of a request: a missing field stays as it is, and `null` resets it.
#[derive(Default, Deserialize)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "said")]
    pub(super) max_versions: Option<Option<Number>>,
    #[serde(default, deserialize_with = "said")]
    pub(super) cas_required: Option<Option<Truth>>,
    #[serde(default, deserialize_with = "said")]
    pub(super) delete_version_after: Option<Option<Given>>,
    #[serde(default, deserialize_with = "said")]
    pub(super) metadata_cas_required: Option<Option<Truth>>,
}

/// Changes that were checked.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Checked {
    max_versions: Option<u32>,
    cas_required: Option<bool>,
    delete_version_after_ns: Option<i64>,
    metadata_cas_required: Option<bool>,
}

impl Changes {
    /// As a write means them: only a patch takes `delete_version_after` back with `null`, as OpenBao has it.
    pub(super) fn written(self) -> Self {
        Self { delete_version_after: self.delete_version_after.filter(Option::is_some), ..self }
    }

    pub(super) fn check(&self) -> Result<Checked, String> {
        let max_versions = self.max_versions.as_ref().map(|versions| {
            let versions = versions.as_ref().map_or(Ok(0), Number::get)?;
            let versions = u32::try_from(versions).ok().filter(|versions| *versions <= MAX_MAX_VERSIONS);
            versions.ok_or_else(|| format!("it is a number from 0 to {MAX_MAX_VERSIONS}"))
        });
        let truth = |name: &str, required: &Option<Option<Truth>>| {
            let required = required.as_ref().map(|required| required.as_ref().map_or(Ok(false), Truth::get));
            required.transpose().map_err(|problem| format!("{name}: {problem}"))
        };
        let after = self.delete_version_after.as_ref();
        let after = after.map(|after| after.as_ref().map_or(Ok(0), nanoseconds)).transpose();
        Ok(Checked {
            max_versions: max_versions.transpose().map_err(|problem| format!("max_versions: {problem}"))?,
            cas_required: truth("cas_required", &self.cas_required)?,
            delete_version_after_ns: after.map_err(|problem| format!("delete_version_after: {problem}"))?,
            metadata_cas_required: truth("metadata_cas_required", &self.metadata_cas_required)?,
        })
    }
}

/// No text is no limit, as OpenBao has it.
fn nanoseconds(given: &Given) -> Result<i64, String> {
    match given {
        Given::Text(text) if text.is_empty() => Ok(0),
        given => given.nanoseconds(),
    }
}

impl Checked {
    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they allow writes without check-and-set.
    pub(super) fn releases_cas(&self) -> bool {
        self.cas_required == Some(false)
    }

    /// Whether versions are to live for less than no time, which only a mount can say: it takes its limit back.
    pub(super) fn is_negative(&self) -> bool {
        self.delete_version_after_ns.is_some_and(i64::is_negative)
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        settings.max_versions = self.max_versions.unwrap_or(settings.max_versions);
        settings.cas_required = self.cas_required.unwrap_or(settings.cas_required);
        settings.delete_version_after_ns =
            self.delete_version_after_ns.unwrap_or(settings.delete_version_after_ns);
        settings.metadata_cas_required = self.metadata_cas_required.unwrap_or(settings.metadata_cas_required);
    }
}

/// Settings as they are answered.
pub(super) fn answer(settings: &Settings) -> Map<String, Value> {
    Map::from_iter([
        ("max_versions".to_owned(), settings.max_versions.into()),
        ("cas_required".to_owned(), settings.cas_required.into()),
        ("metadata_cas_required".to_owned(), settings.metadata_cas_required.into()),
        ("delete_version_after".to_owned(), duration::text(settings.delete_version_after_ns).into()),
    ])
}
