//! `keyway plugin doctor`.

use keyway_loader::{
    Fix,
    loader::{Depth, Diagnosis, Proven, StageFailure, StageName},
};
use keyway_terminal::files::identity;
use keyway_terminal::output::{Format, print, table};
use serde_json::json;

use super::site::Site;
use crate::cli::failure::Failure;

/// How far a file came, and why.
struct Finding {
    file: String,
    stage: &'static str,
    verdict: &'static str,
    reason: String,
    fix: String,
    detail: Option<String>,
}

pub(super) fn doctor(site: &Site, verbose: bool, format: Format) -> Result<(), Failure> {
    let (diagnoses, places) = site.loader.diagnose_all(Depth::Probe);
    let findings: Vec<Finding> = diagnoses.iter().map(|diagnosis| finding(site, diagnosis)).collect();
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    let servers = site.servers()?;
    let refuted: Vec<_> = diagnoses
        .iter()
        .filter_map(|diagnosis| {
            let failure = diagnosis.failure.as_ref().filter(|failure| failure.stage() == StageName::Probe)?;
            Some((identity(diagnosis).2?, failure.to_string()))
        })
        .collect();
    let backends: Vec<(&str, String, bool)> = site
        .config
        .backends
        .keys()
        .map(|name| {
            let (line, is_good) = site.foresee(&servers, name, &refuted);
            (name.as_str(), line, is_good)
        })
        .collect();
    let json = json!({
        "files": findings.iter().map(|finding| json!({
            "file": finding.file, "stage": finding.stage, "verdict": finding.verdict, "reason": finding.reason,
            "fix": finding.fix, "detail": finding.detail,
        })).collect::<Vec<_>>(),
        "backends": backends.iter().map(|(name, line, is_good)| json!({
            "backend": name, "good": is_good, "plugin": line,
        })).collect::<Vec<_>>(),
        "searched": places,
    });
    print(format, &json, || {
        let mut rows = vec![["File", "Stage", "Verdict", "Reason", "Fix"].map(str::to_owned).to_vec()];
        for Finding { file, stage, verdict, reason, fix, .. } in &findings {
            rows.push(vec![
                file.clone(),
                (*stage).to_owned(),
                (*verdict).to_owned(),
                reason.clone(),
                fix.clone(),
            ]);
        }
        let mut text = table(&rows);
        if verbose {
            for finding in &findings {
                if let Some(detail) = &finding.detail {
                    text += &format!("\n{}:\n{detail}\n", finding.file);
                }
            }
        }
        text += "\nSearched:\n";
        text += &places.iter().map(|place| format!("  {place}\n")).collect::<String>();
        text += "\nBackends:\n";
        text += &site.caveats().iter().map(|line| format!("  ({line})\n")).collect::<String>();
        text + &backends.iter().map(|(name, line, _)| format!("  {name}: {line}\n")).collect::<String>()
    })?;
    let wanting: Vec<&str> =
        backends.iter().filter(|(_, _, is_good)| !is_good).map(|(name, _, _)| *name).collect();
    if wanting.is_empty() {
        return Ok(());
    }
    Err(Failure::NotFound(format!(
        "no usable plugin, or none that its settings suit, for: {}",
        wanting.join(", ")
    )))
}

fn finding(site: &Site, diagnosis: &Diagnosis) -> Finding {
    let file = diagnosis.candidate.path.display().to_string();
    let known = |digest| site.history.known(digest, &site.loader.host).map_err(StageFailure::from);
    let quarantined = identity(diagnosis).2.map(known);
    if let Some(failure) = &diagnosis.failure {
        return Finding {
            file,
            stage: failure.stage().name(),
            verdict: "refused",
            reason: failure.without_path(&diagnosis.candidate.path),
            fix: failure.fix(),
            detail: failure.detail().map(str::to_owned),
        };
    }
    if let Some(Err(failure)) = quarantined {
        let (reason, fix) = (failure.to_string(), failure.fix());
        return Finding {
            file,
            stage: failure.stage().name(),
            verdict: "refused",
            reason,
            fix,
            detail: None,
        };
    }
    let grant = diagnosis.grant.as_ref().map(ToString::to_string).unwrap_or_default();
    let probed = match &diagnosis.proven {
        Some(Proven::Now(passed) | Proven::Before(passed)) if passed.skipped.is_empty() => {
            "probed".to_owned()
        }
        Some(Proven::Now(passed) | Proven::Before(passed)) => {
            format!("probed, SKIPPED: {}", passed.skipped.join(", "))
        }
        Some(Proven::Worked(why)) => format!("it has worked before; {why}"),
        Some(Proven::Skipped) | None => "probe SKIPPED".to_owned(),
    };
    let (verdict, reason) = match &diagnosis.shadowed_by {
        Some(other) => ("shadowed", format!("{} is found before it", other.display())),
        None => ("good", format!("{grant}, {probed}")),
    };
    Finding { file, stage: diagnosis.stage().name(), verdict, reason, fix: String::new(), detail: None }
}
