//! `keyway plugin doctor`.

use keyway_loader::{
    Fix,
    loader::{Depth, Diagnosis, Proven},
};
use serde_json::json;

use super::{Site, identity};
use crate::cli::{
    failure::Failure,
    output::{Format, print, table},
};

/// What is known about a file once it has been taken as far as it comes.
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
    let wanting = wanting(site, &diagnoses);
    let json = json!({
        "files": findings.iter().map(|finding| json!({
            "file": finding.file, "stage": finding.stage, "verdict": finding.verdict, "reason": finding.reason,
            "fix": finding.fix, "detail": finding.detail,
        })).collect::<Vec<_>>(),
        "backends_without_plugin": wanting,
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
        text + &places.iter().map(|place| format!("  {place}\n")).collect::<String>()
    })?;
    if wanting.is_empty() {
        return Ok(());
    }
    Err(Failure::NotFound(format!("no usable plugin for: {}", wanting.join(", "))))
}

fn finding(site: &Site, diagnosis: &Diagnosis) -> Finding {
    let file = diagnosis.candidate.path.display().to_string();
    let quarantined = identity(diagnosis).2.map(|digest| site.history.known(digest, &site.loader.host));
    if let Some(failure) = &diagnosis.failure {
        return Finding {
            file,
            stage: failure.stage().name(),
            verdict: "refused",
            reason: failure.beside(&diagnosis.candidate.path),
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

/// The backends of the configuration for which there is no plugin, or whose configuration does not suit it.
fn wanting(site: &Site, diagnoses: &[Diagnosis]) -> Vec<String> {
    let usable = |name: &str| {
        diagnoses.iter().any(|diagnosis| diagnosis.failure.is_none() && diagnosis.candidate.name == name)
    };
    let backends = site.config.backends.iter();
    backends
        .filter(|(_, settings)| !usable(settings.wanted.plugin.name()))
        .map(|(name, settings)| format!("{name} (plugin {})", settings.wanted.plugin))
        .collect()
}
