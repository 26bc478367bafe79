//! `keyway plugin list` and `verify`.

use std::path::PathBuf;

use keyway_loader::{
    Fix,
    loader::{Depth, Diagnosis, StageName},
};
use keyway_terminal::files::identity;
use keyway_terminal::output::{Format, print, table};
use serde_json::{Value, json};

use super::site::Site;
use crate::cli::failure::Failure;

pub(super) fn list(site: &Site, format: Format) -> Result<(), Failure> {
    let (diagnoses, places) = site.loader.diagnose_all(Depth::Trust);
    let mut rows = vec![["Plugin", "Version", "Interface", "State", "File"].map(str::to_owned).to_vec()];
    let mut json = Vec::new();
    for diagnosis in &diagnoses {
        let (version, interface, digest) = identity(diagnosis);
        let quarantined = digest
            .and_then(|digest| site.history.library(digest))
            .is_some_and(|library| library.quarantined.is_some());
        let state = if quarantined { "in quarantine".to_owned() } else { state(diagnosis) };
        let (name, file) = (diagnosis.candidate.name.clone(), diagnosis.candidate.path.display().to_string());
        json.push(json!({
            "plugin": name, "version": version, "interface": interface, "state": state, "file": file,
            "sha256": digest.map(|digest| digest.to_string()),
        }));
        rows.push(vec![name, version, interface, state, file]);
    }
    let places: Vec<String> =
        places.iter().map(|place| format!("{place}{}", policy(site, &place.search))).collect();
    print(format, &json!({ "plugins": json, "searched": places }), || {
        let searched: String = places.iter().map(|place| format!("  {place}\n")).collect();
        format!("{}\nSearched:\n{searched}", table(&rows))
    })
}

fn policy(site: &Site, place: &keyway_loader::SearchPath) -> String {
    match site.loader.trust.policy_of(place) {
        Ok(policy) => format!("; trust: {}", policy.name()),
        Err(_) => "; trust: none of it may run".to_owned(),
    }
}

fn state(diagnosis: &Diagnosis) -> String {
    match (&diagnosis.failure, &diagnosis.shadowed_by, &diagnosis.grant) {
        (Some(failure), _, _) => {
            let is_refused = failure.stage() == StageName::Trust;
            let word = if is_refused { "refused" } else { "unusable" };
            format!("{word}: {}", failure.without_path(&diagnosis.candidate.path))
        }
        (None, Some(other), _) => format!("shadowed by {}", other.display()),
        (None, None, Some(grant)) => grant.to_string(),
        (None, None, None) => String::new(),
    }
}

/// Whether files may run. Runs none of their code.
pub(super) fn verify(site: &Site, files: &[PathBuf], format: Format) -> Result<(), Failure> {
    let diagnoses = if files.is_empty() {
        site.loader.diagnose_all(Depth::Trust).0
    } else {
        files.iter().map(|file| site.loader.diagnose(Site::candidate(file), Depth::Trust)).collect()
    };
    let mut rows = vec![["File", "Verdict", "Reason"].map(str::to_owned).to_vec()];
    let mut json = Vec::new();
    for diagnosis in &diagnoses {
        let file = diagnosis.candidate.path.display().to_string();
        let (verdict, reason) = match (&diagnosis.failure, &diagnosis.grant) {
            (Some(failure), _) => {
                ("refused", format!("{}; {}", failure.without_path(&diagnosis.candidate.path), failure.fix()))
            }
            (None, grant) => ("may run", grant.as_ref().map(ToString::to_string).unwrap_or_default()),
        };
        let digest = identity(diagnosis).2.map(|digest| digest.to_string());
        json.push(json!({ "file": file, "verdict": verdict, "reason": reason, "sha256": digest }));
        rows.push(vec![file, verdict.to_owned(), reason]);
    }
    print(format, &Value::from(json), || table(&rows))?;
    let refused = diagnoses.iter().filter(|diagnosis| diagnosis.failure.is_some()).count();
    match (diagnoses.len(), refused) {
        (0, _) => Err(Failure::NotFound(
            "no plugin file was found; `keyway plugin list` says where it was looked".to_owned(),
        )),
        (_, 0) => Ok(()),
        (all, refused) => Err(Failure::Refused(format!("{refused} of {all} plugin files may not run"))),
    }
}
