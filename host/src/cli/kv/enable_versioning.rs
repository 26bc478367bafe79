//! `keyway kv enable-versioning`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use keyway_terminal::output::{Format, print, warn};
use serde_json::{Value, json};

use super::encode;
use crate::cli::{client::Client, failure::Failure};

/// Asks for the upgrade. The server does it in the background, and a mount that is version 2 already stays as
/// it is.
pub(super) fn run(client: &Client, path: &str, format: Format) -> Result<(), Failure> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Err(Failure::Usage("the path is empty; name a mount, such as secret".to_owned()));
    }
    let body = json!({ "options": { "version": "2" } }).to_string();
    let answer = client.post(&format!("sys/mounts/{}/tune", encode(path)), &body)?;
    let answer = answer.success(&format!("enable versions in {path}"))?.json()?;
    let warnings = answer["warnings"].as_array().into_iter().flatten();
    warnings.filter_map(Value::as_str).for_each(warn);
    print(format, &json!({ "path": path, "version": 2 }), || {
        format!(
            "{path} keeps versions from now on. If it has secrets to upgrade, it refuses requests until that is done.\n"
        )
    })
}
