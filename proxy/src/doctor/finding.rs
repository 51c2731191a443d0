//! What was found, and how it is told.

use std::fmt;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It works.
    Ok,
    /// It works for this client, and not for some.
    Warning,
    /// It does not work.
    Fault,
}

/// The outcome of a check.
#[derive(Clone, Serialize, Debug)]
pub(super) struct Finding {
    /// Name of the check.
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    /// What was seen.
    pub(super) seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cure: Option<&'static str>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, seen: seen.into(), cure: None }
    }

    pub(super) fn warning(check: &'static str, seen: impl Into<String>, cure: &'static str) -> Self {
        Self { check, severity: Severity::Warning, seen: seen.into(), cure: Some(cure) }
    }

    pub(super) fn fault(check: &'static str, seen: impl Into<String>, cure: &'static str) -> Self {
        Self { check, severity: Severity::Fault, seen: seen.into(), cure: Some(cure) }
    }
}

/// Everything that was found at one service.
#[derive(Serialize, Debug)]
pub(super) struct Report {
    pub(super) url: String,
    /// What the answers say about the servers on the way (RFC 9110 sections 7.6.3 and 10.2.4).
    pub(super) hops: Vec<String>,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// That of the worst finding.
    pub(super) fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

/// Where the text of a finding begins.
const INDENT: usize = 24;

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.url)?;
        if !self.hops.is_empty() {
            write!(formatter, ", which says it is {}", self.hops.join(", "))?;
        }
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Ok => "ok",
                Severity::Warning => "WARNING",
                Severity::Fault => "FAULT",
            };
            write!(formatter, "\n{severity:<9}{:<15}{}", finding.check, finding.seen)?;
            for line in finding.cure.iter().flat_map(|cure| cure.lines()) {
                write!(formatter, "\n{:INDENT$}{line}", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_worst_and_tells_the_cure() {
        let findings = vec![
            Finding::ok("polling", "a session"),
            Finding::fault("upgrade", "200 in place of 101", "say this\nand that"),
            Finding::warning("http10", "slow", "look"),
        ];
        let report = Report { url: "http://edge/".to_owned(), hops: vec!["nginx".to_owned()], findings };
        assert_eq!(report.severity(), Severity::Fault);
        let text = report.to_string();
        assert!(
            text.starts_with("http://edge/, which says it is nginx\nok       polling        a session\n"),
            "{text}"
        );
        assert!(
            text.contains(
                "\nFAULT    upgrade        200 in place of 101\n                        say this\n"
            ),
            "{text}"
        );
    }
}
