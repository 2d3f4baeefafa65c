//! Reads what a test binary prints: lines in; counts, skips and verified programs out.

use std::collections::BTreeMap;

use crate::report::Counts;

/// A program that the verifier accepted: `VERIFIED <kernel release> <program> <instructions>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verified {
    pub(crate) kernel: String,
    pub(crate) program: String,
    pub(crate) instructions: u64,
}

/// What has been read of one test binary's output.
#[derive(Default)]
pub(crate) struct Transcript {
    counts: Counts,
    finished: bool,
    in_successes: bool,
    /// Test and reason, from `SKIP: <test>: <reason>`.
    skips: BTreeMap<String, String>,
    pub(crate) verified: Vec<Verified>,
    /// The test whose end has not been printed; only known where one test runs at a time.
    last_line: String,
}

impl Transcript {
    /// Takes the next line; tells whether it is worth showing.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        line.trim().clone_into(&mut self.last_line);
        if let Some((test, reason)) = line.strip_prefix("SKIP: ").and_then(|s| s.split_once(": ")) {
            return self
                .skips
                .insert(test.to_owned(), reason.to_owned())
                .is_none();
        }
        if let Some(verified) = line.strip_prefix("VERIFIED ").and_then(parse_verified) {
            self.verified.push(verified);
            return true;
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.finish(result);
            return false;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {}
        }
        let routine = line.is_empty()
            || line.starts_with("running ")
            || (line.starts_with("test ") && line.ends_with("... ok"));
        !self.in_successes && !routine
    }

    fn finish(&mut self, result: &str) {
        self.in_successes = false;
        self.finished = true;
        let mut fields = result.split(". ").nth(1).unwrap_or("").split("; ");
        let mut count = |unit: &str| fields.next()?.strip_suffix(unit)?.parse::<u32>().ok();
        let (passed, failed) = (count(" passed").unwrap_or(0), count(" failed").unwrap_or(1));
        let ignored = count(" ignored").unwrap_or(0);
        self.counts.passed = self.counts.passed.saturating_add(passed);
        self.counts.failed = self.counts.failed.saturating_add(failed);
        self.counts.skipped = self.counts.skipped.saturating_add(ignored);
    }

    /// The last line read, to tell where a binary hung or died.
    pub(crate) fn last_line(&self) -> &str {
        &self.last_line
    }

    /// The counts, now that the binary has ended. A skipped test has passed as libtest sees it; it
    /// is a failure where skipping is `strict`ly counted and the reason is no excuse.
    pub(crate) fn counts(&self, succeeded: bool, strict: bool) -> Counts {
        let mut counts = self.counts;
        for reason in self.skips.values() {
            counts.passed = counts.passed.saturating_sub(1);
            if strict && !is_excuse(reason) {
                counts.failed = counts.failed.saturating_add(1);
            } else {
                counts.skipped = counts.skipped.saturating_add(1);
            }
        }
        if counts.failed == 0 && !(succeeded && self.finished) {
            // It died before or after its own count.
            counts.failed = 1;
        }
        counts
    }
}

/// Captures made elsewhere are not part of the repository, so a clone alone may lack them.
fn is_excuse(reason: &str) -> bool {
    reason.contains("corpus")
}

fn parse_verified(fields: &str) -> Option<Verified> {
    let mut fields = fields.split_whitespace();
    let (kernel, program) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    Some(Verified {
        kernel,
        program,
        instructions: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
test a ... ok
test b ... ok
test c ... ok

successes:

---- a stdout ----
chatter
SKIP: a: no corpus here
---- b stdout ----
SKIP: b: not root
VERIFIED 6.1.0-56 schoolgate 65012

successes:
    a
    b

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(output: &str) -> (Transcript, Vec<&str>) {
        let mut transcript = Transcript::default();
        let shown = output
            .lines()
            .filter(|line| transcript.read(line))
            .collect();
        (transcript, shown)
    }

    #[test]
    fn skips_leave_the_passed_and_only_the_inexcusable_fail_where_strict() {
        let (transcript, _) = read(OUTPUT);
        let lenient = Counts {
            passed: 1,
            failed: 0,
            skipped: 3,
        };
        let strict = Counts {
            passed: 1,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(transcript.counts(true, false), lenient);
        assert_eq!(transcript.counts(true, true), strict);
    }

    #[test]
    fn chatter_of_successful_tests_is_not_shown() {
        let (_, shown) = read(OUTPUT);
        let told = [
            "SKIP: a: no corpus here",
            "SKIP: b: not root",
            "VERIFIED 6.1.0-56 schoolgate 65012",
        ];
        assert_eq!(shown, told);
    }

    #[test]
    fn a_binary_that_dies_is_a_failure() {
        let (transcript, _) = read("\nrunning 3 tests\ntest a ... ok\n");
        assert_eq!(transcript.counts(false, false).failed, 1);
        assert_eq!(transcript.counts(true, false).failed, 1);
    }

    #[test]
    fn verified_programs_are_read() {
        let (transcript, _) = read(OUTPUT);
        let verified = Verified {
            kernel: "6.1.0-56".to_owned(),
            program: "schoolgate".to_owned(),
            instructions: 65_012,
        };
        assert_eq!(transcript.verified, [verified]);
    }
}
