//! What the suites came to: counts, times, and the closing line.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::shell::say;

/// Tests by outcome.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    /// A suite that is one check.
    pub(crate) fn single(succeeded: bool) -> Self {
        if succeeded {
            Self {
                passed: 1,
                ..Self::default()
            }
        } else {
            Self::failure()
        }
    }

    /// One failure.
    pub(crate) fn failure() -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.trim().split(", ");
        let mut count = |unit: &str| parts.next()?.strip_suffix(unit)?.parse().ok();
        let (passed, failed) = (count(" passed")?, count(" failed")?);
        Some(Self {
            passed,
            failed,
            skipped: count(" skipped")?,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed.saturating_add(other.passed),
            failed: self.failed.saturating_add(other.failed),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// One suite's outcome.
#[derive(Clone)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) time: Duration,
}

/// The suites of one task.
#[derive(Default)]
pub(crate) struct Report {
    suites: Vec<Suite>,
}

impl Report {
    /// Adds a suite and tells its counts.
    pub(crate) fn add(&mut self, suite: Suite) {
        say(&format!(
            "{}: {} ({:.1} s)",
            suite.name,
            suite.counts,
            suite.time.as_secs_f32()
        ));
        self.suites.push(suite);
    }

    /// Adds the suites of another task, which has told their counts already.
    pub(crate) fn append(&mut self, other: Self) {
        self.suites.extend(other.suites);
    }

    /// All suites together.
    pub(crate) fn total(&self) -> Counts {
        self.suites
            .iter()
            .fold(Counts::default(), |sum, suite| sum.plus(suite.counts))
    }

    /// Prints the table, and the closing line alone on its line.
    ///
    /// # Errors
    ///
    /// When a test failed, or none ran.
    pub(crate) fn finish(&self) -> Result<()> {
        let width = self
            .suites
            .iter()
            .map(|suite| suite.name.len())
            .max()
            .unwrap_or(0);
        say(&format!(
            "\n{:width$}  {:>6}  {:>6}  {:>7}  {:>8}",
            "suite", "passed", "failed", "skipped", "seconds"
        ));
        for Suite { name, counts, time } in &self.suites {
            let Counts {
                passed,
                failed,
                skipped,
            } = counts;
            let seconds = time.as_secs_f32();
            say(&format!(
                "{name:width$}  {passed:>6}  {failed:>6}  {skipped:>7}  {seconds:>8.1}"
            ));
        }
        let total = self.total();
        say(&format!("{total}"));
        if total.failed > 0 {
            bail!("{} failed", total.failed);
        }
        if total.passed == 0 {
            bail!("nothing was tested");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_they_are_written() {
        let counts = Counts {
            passed: 12,
            failed: 0,
            skipped: 3,
        };
        assert_eq!(Counts::parse(&counts.to_string()), Some(counts));
        assert_eq!(Counts::parse("12 passed, 0 failed"), None);
    }

    #[test]
    fn a_report_fails_by_a_failure_and_by_having_tested_nothing() {
        let with = |counts| Report {
            suites: vec![Suite {
                name: "s".to_owned(),
                counts,
                time: Duration::ZERO,
            }],
        };
        assert!(with(Counts::single(true)).finish().is_ok());
        assert!(with(Counts::single(false)).finish().is_err());
        assert!(
            with(Counts {
                skipped: 4,
                ..Counts::default()
            })
            .finish()
            .is_err()
        );
    }
}
