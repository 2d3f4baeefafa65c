//! The verifier's work on each kernel, against `tests/data/verifier-budget.toml`.
//!
//! The file has a line for each kernel, `"6.1" = 90000`: the most instructions that the verifier may
//! process for any one program. It refuses at 1,000,000, and a program that comes near loads slowly
//! and is one compiler's update from being refused.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::shell::say;
use crate::transcript::Verified;

/// The most instructions by kernel version, major and minor.
pub(crate) struct Budget(BTreeMap<String, u64>);

impl Budget {
    /// Reads the budget file.
    ///
    /// # Errors
    ///
    /// When it is not there or not as described above.
    pub(crate) fn read() -> Result<Self> {
        let path = paths::root().join("tests/data/verifier-budget.toml");
        let at = || path.display().to_string();
        let text = fs::read_to_string(&path).with_context(at)?;
        Self::parse(&text).with_context(at)
    }

    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text)
            .map(Self)
            .context("not lines of `\"kernel\" = instructions`")
    }

    fn of(&self, kernel: &str) -> Option<u64> {
        self.0.get(&version(kernel)).copied()
    }

    /// Prints kernel, program, verified and budget; false when a program is over its budget or the
    /// kernel has none.
    pub(crate) fn holds(&self, programs: &[Verified]) -> bool {
        say(&format!(
            "  {:24} {:20} {:>10} {:>10}",
            "kernel", "program", "verified", "budget"
        ));
        let mut holds = true;
        for Verified {
            kernel,
            program,
            instructions,
        } in programs
        {
            let budget = self.of(kernel);
            let told = budget.map_or_else(|| "none".to_owned(), |budget| budget.to_string());
            let within = budget.is_some_and(|budget| *instructions <= budget);
            let mark = if within { "" } else { "  OVER" };
            say(&format!(
                "  {kernel:24} {program:20} {instructions:>10} {told:>10}{mark}"
            ));
            holds &= within;
        }
        holds
    }
}

/// `6.1` of `6.1.0-56-cloud-amd64`.
fn version(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(kernel: &str, instructions: u64) -> Verified {
        Verified {
            kernel: kernel.to_owned(),
            program: "schoolgate".to_owned(),
            instructions,
        }
    }

    #[test]
    fn a_program_over_its_kernels_budget_fails_and_so_does_a_kernel_without_one() {
        let budget = Budget::parse("\"6.1\" = 100\n\"6.12\" = 200\n").unwrap();
        assert!(budget.holds(&[verified("6.1.0-56-cloud-amd64", 100)]));
        assert!(!budget.holds(&[verified("6.1.0-56-cloud-amd64", 101)]));
        assert!(budget.holds(&[verified("6.12.117+deb12-cloud-amd64", 200)]));
        assert!(!budget.holds(&[verified("6.18.44", 1)]));
    }

    #[test]
    fn other_contents_are_refused() {
        assert!(Budget::parse("\"6.1\" = \"much\"").is_err());
    }
}
