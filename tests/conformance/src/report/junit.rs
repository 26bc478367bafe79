//! JUnit's XML, as build servers read it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::{Finding, Report};
use crate::Verdict;

pub(super) fn render(report: &Report) -> Result<String, String> {
    let name = format!("{} {}", report.facts.plugin, report.facts.version);
    let mut suite = TestSuite::new(&name);
    suite.set_time(Duration::from_millis(report.duration_ms));
    suite.add_property(("seed", report.seed.to_string().as_str()));
    suite.add_property(("interface", report.facts.interface.as_str()));
    if let Some(digest) = &report.facts.digest {
        suite.add_property(("sha256", digest.as_str()));
    }
    suite.add_test_cases(report.cases.iter().map(|finding| test_case(&name, finding)));
    let mut document = Document::new("keyway-conformance");
    document.set_time(Duration::from_millis(report.duration_ms));
    document.add_test_suite(suite);
    document.to_string().map_err(|error| error.to_string())
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
