//! JUnit's XML, as build servers read it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{Finding, Report};
use crate::Verdict;

impl Report {
    /// As a JUnit XML document, for build servers.
    ///
    /// # Errors
    ///
    /// If a text cannot be written as XML.
    pub fn to_junit(&self) -> Result<String, String> {
        let name = format!("{} {}", self.facts.plugin, self.facts.version);
        let mut suite = TestSuite::new(&name);
        suite.set_time(Duration::from_millis(self.duration_ms));
        suite.add_property(("seed", self.seed.to_string().as_str()));
        suite.add_property(("interface", self.facts.interface.as_str()));
        if let Some(digest) = &self.facts.digest {
            suite.add_property(("sha256", digest.as_str()));
        }
        suite.add_test_cases(self.cases.iter().map(|finding| test_case(&name, finding)));
        let mut document = Document::new("keyway-conformance");
        document.set_time(Duration::from_millis(self.duration_ms));
        document.add_test_suite(suite);
        document.to_string().map_err(|error| error.to_string())
    }
}

fn test_case(plugin: &str, finding: &Finding) -> TestCase {
    let status = match &finding.verdict {
        Verdict::Kept => TestCaseStatus::success(),
        Verdict::Unclaimed => skipped("the backend does not make this promise"),
        Verdict::Unproved(why) => skipped(&format!("unproved: {why}")),
        Verdict::Broken(seen) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("promised: {}", finding.promise)).set_description(seen);
            status
        }
    };
    let mut case = TestCase::new(finding.name.as_str(), status);
    case.set_classname(plugin).set_time(Duration::from_millis(finding.duration_ms));
    case
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}
