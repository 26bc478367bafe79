//! `keyway plugin why`.

use keyway_loader::{
    Fix, Loader, Requirement,
    loader::{Depth, Diagnosis, StageFailure},
};
use keyway_terminal::files::identity;
use keyway_terminal::output::{Format, print};
use serde_json::{Value, json};

use super::site::Site;
use crate::cli::failure::Failure;

/// What becomes of one file.
struct Verdict {
    file: String,
    version: String,
    chosen: bool,
    reason: String,
    fix: String,
}

pub(super) fn why(site: &Site, plugin: &str, format: Format) -> Result<(), Failure> {
    let wanted = Requirement::parse(plugin).map_err(Failure::Usage)?;
    let servers = site.servers()?;
    let (diagnoses, places) = site.loader.diagnose_all(Depth::Trust);
    let own: Vec<Diagnosis> =
        diagnoses.into_iter().filter(|diagnosis| diagnosis.candidate.name == wanted.name()).collect();
    let verdicts = judge(site, &own, &wanted);
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    let backends = backends(site, &servers, &wanted);
    let json = json!({
        "plugin": wanted.to_string(),
        "files": verdicts.iter().map(|verdict| json!({
            "file": verdict.file, "version": verdict.version, "used": verdict.chosen,
            "reason": verdict.reason, "fix": verdict.fix,
        })).collect::<Vec<_>>(),
        "backends": backends.iter().map(|(name, line, _)| json!({ "backend": name, "plugin": line })).collect::<Vec<Value>>(),
        "searched": places,
    });
    print(format, &json, || {
        let mut text = String::new();
        for Verdict { file, version, chosen, reason, fix } in &verdicts {
            let word = if *chosen { "used" } else { "not used" };
            let fix = if fix.is_empty() { String::new() } else { format!("\n    {fix}") };
            text += &format!("{word}: {file} {version}\n    {reason}{fix}\n");
        }
        text += &format!("Looked for {} in\n", keyway_loader::discover::file_name(wanted.name()));
        text += &places.iter().map(|place| format!("  {place}\n")).collect::<String>();
        text + &backends.iter().map(|(name, line, _)| format!("Backend {name}: {line}\n")).collect::<String>()
    })?;
    // A backend may still be served by what worked before, which its line says.
    if verdicts.iter().any(|verdict| verdict.chosen) || backends.iter().any(|(_, _, is_good)| *is_good) {
        return Ok(());
    }
    Err(Failure::NotFound(format!("no file of plugin {wanted} can be used")))
}

/// As the server would choose, by what it remembers of probes; nothing is loaded for this.
fn judge(site: &Site, diagnoses: &[Diagnosis], wanted: &Requirement) -> Vec<Verdict> {
    let best = diagnoses
        .iter()
        .filter(|diagnosis| stands_in_the_way(site, diagnosis, wanted).is_none())
        .filter_map(|diagnosis| diagnosis.described.as_ref())
        .map(|described| described.descriptor.version.clone())
        .max();
    let mut taken = false;
    let verdict = |diagnosis: &Diagnosis| {
        let (version, _, _) = identity(diagnosis);
        let file = diagnosis.candidate.path.display().to_string();
        let (chosen, reason, fix) = match stands_in_the_way(site, diagnosis, wanted) {
            Some((reason, fix)) => (false, reason, fix),
            None if !taken && best.as_ref().is_some_and(|best| best.to_string() == version) => {
                taken = true;
                let grant = diagnosis.grant.as_ref().map(ToString::to_string).unwrap_or_default();
                (true, format!("the newest that may run and satisfies {wanted}: {grant}"), String::new())
            }
            None => match &diagnosis.shadowed_by {
                Some(other) => (false, format!("shadowed by {}", other.display()), String::new()),
                None => (false, "there is a newer one that may run".to_owned(), String::new()),
            },
        };
        Verdict { file, version, chosen, reason, fix }
    };
    diagnoses.iter().map(verdict).collect()
}

fn stands_in_the_way(site: &Site, diagnosis: &Diagnosis, wanted: &Requirement) -> Option<(String, String)> {
    if let Some(failure) = &diagnosis.failure {
        let reason = failure.without_path(&diagnosis.candidate.path);
        return Some((format!("{}: {reason}", failure.stage().name()), failure.fix()));
    }
    let described = diagnosis.described.as_ref()?;
    if !wanted.admits(&described.descriptor.version) {
        return Some((format!("it does not satisfy {wanted}"), String::new()));
    }
    let known = site.history.known(described.staged.digest, &site.loader.host);
    let failure = StageFailure::from(known.err()?);
    Some((format!("{}: {failure}", failure.stage().name()), failure.fix()))
}

/// What the server would do for the backends that ask for the plugin, each with its own requirement.
fn backends(site: &Site, servers: &Loader, wanted: &Requirement) -> Vec<(String, String, bool)> {
    let asking =
        site.config.backends.iter().filter(|(_, settings)| settings.wanted.plugin.name() == wanted.name());
    asking
        .map(|(name, settings)| {
            let (line, is_good) = site.foresee(servers, name, &[]);
            (name.clone(), format!("asks for {}: {line}", settings.wanted.plugin), is_good)
        })
        .collect()
}
