//! Settings in requests and answers, the same for a mount and for a secret.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{
    duration::{self, Given},
    http::given::{Number, Truth},
    secrets::{Settings, settings::MAX_MAX_VERSIONS},
};

/// Settings of a request: what is not there stays as it is, and `null` takes back what was said.
#[derive(Default, Deserialize)]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "said")]
    pub(super) max_versions: Option<Option<Number>>,
    #[serde(default, deserialize_with = "said")]
    pub(super) cas_required: Option<Option<Truth>>,
    #[serde(default, deserialize_with = "said")]
    pub(super) delete_version_after: Option<Option<Given>>,
}

/// Tells a `null` from a field that is not there.
pub(super) fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes that were checked.
#[derive(Clone, Copy, Default)]
pub(super) struct Checked {
    max_versions: Option<u32>,
    cas_required: Option<bool>,
    delete_version_after_ns: Option<i64>,
}

impl Changes {
    pub(super) fn check(&self) -> Result<Checked, String> {
        let max_versions = self.max_versions.as_ref().map(|versions| {
            let versions = versions.as_ref().map_or(Ok(0), Number::get)?;
            let versions = u32::try_from(versions).ok().filter(|versions| *versions <= MAX_MAX_VERSIONS);
            versions.ok_or_else(|| format!("it is a number from 0 to {MAX_MAX_VERSIONS}"))
        });
        let cas_required = self.cas_required.as_ref();
        let cas_required = cas_required.map(|required| required.as_ref().map_or(Ok(false), Truth::get));
        let after = self.delete_version_after.as_ref();
        let after = after.map(|after| after.as_ref().map_or(Ok(0), Given::nanoseconds)).transpose();
        Ok(Checked {
            max_versions: max_versions.transpose().map_err(|problem| format!("max_versions: {problem}"))?,
            cas_required: cas_required.transpose().map_err(|problem| format!("cas_required: {problem}"))?,
            delete_version_after_ns: after.map_err(|problem| format!("delete_version_after: {problem}"))?,
        })
    }
}

impl Checked {
    pub(super) fn apply(self, settings: &mut Settings) {
        settings.max_versions = self.max_versions.unwrap_or(settings.max_versions);
        settings.cas_required = self.cas_required.unwrap_or(settings.cas_required);
        settings.delete_version_after_ns =
            self.delete_version_after_ns.unwrap_or(settings.delete_version_after_ns);
    }
}

/// Settings as they are answered.
pub(super) fn answer(settings: &Settings) -> Map<String, Value> {
    Map::from_iter([
        ("max_versions".to_owned(), settings.max_versions.into()),
        ("cas_required".to_owned(), settings.cas_required.into()),
        ("delete_version_after".to_owned(), duration::text(settings.delete_version_after_ns).into()),
    ])
}
