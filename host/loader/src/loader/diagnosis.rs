//! How far each library file comes, without loading any into this process.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Loader, Proven, StageFailure, StageName};
use crate::{
    describe::Described,
    discover::{Candidate, SearchedDirectory, discover},
    trust::Grant,
};

/// How far libraries are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Until it is known whether they may run. Runs no code of theirs.
    Trust,
    /// Until they have been loaded by a child process.
    Probe,
}

/// How far a library file comes.
#[derive(Debug)]
pub struct Diagnosis {
    /// The file.
    pub candidate: Candidate,
    /// What it says about itself, if that could be read.
    pub described: Option<Described>,
    /// Why it may run, if it may.
    pub grant: Option<Grant>,
    /// How its probe went, if it was probed and passed.
    pub proven: Option<Proven>,
    /// Why it cannot be used; none if it can.
    pub failure: Option<StageFailure>,
    /// The file of the same name and version that is found before this one.
    pub shadowed_by: Option<PathBuf>,
}

impl Diagnosis {
    /// The last stage that it has passed, or the one that it did not.
    pub fn stage(&self) -> StageName {
        match (&self.failure, &self.proven) {
            (Some(failure), _) => failure.stage(),
            (None, Some(_)) => StageName::Probe,
            (None, None) => StageName::Trust,
        }
    }
}

impl Loader {
    /// How far every library file in the directories comes, and what became of the directories.
    pub fn diagnose_all(&self, depth: Depth) -> (Vec<Diagnosis>, Vec<SearchedDirectory>) {
        let discovered = discover(&self.search);
        let mut seen = BTreeMap::new();
        let diagnoses = discovered.candidates.into_iter().map(|candidate| {
            let mut diagnosis = self.diagnose(candidate, depth);
            if let (Some(described), None) = (&diagnosis.described, &diagnosis.failure) {
                let key = (described.descriptor.name.clone(), described.descriptor.version.clone());
                let path = diagnosis.candidate.path.clone();
                diagnosis.shadowed_by = seen.get(&key).cloned();
                seen.entry(key).or_insert(path);
            }
            diagnosis
        });
        (diagnoses.collect(), discovered.places)
    }

    /// How far a library file comes.
    pub fn diagnose(&self, candidate: Candidate, depth: Depth) -> Diagnosis {
        let mut diagnosis = Diagnosis {
            candidate,
            described: None,
            grant: None,
            proven: None,
            failure: None,
            shadowed_by: None,
        };
        diagnosis.failure = self.walk(&mut diagnosis, depth).err();
        diagnosis
    }

    fn walk(&self, diagnosis: &mut Diagnosis, depth: Depth) -> Result<(), StageFailure> {
        let described = self.read(&diagnosis.candidate)?;
        let described = diagnosis.described.insert(described);
        self.fits(described, &diagnosis.candidate)?;
        let grant = self.trust.verify(described, &diagnosis.candidate.place).map_err(StageFailure::Trust)?;
        diagnosis.grant = Some(grant);
        if depth == Depth::Probe {
            diagnosis.proven = Some(self.prove(described)?);
        }
        Ok(())
    }
}
