//! The verifier's work on each kernel, against `tests/data/verifier-budget.toml`.
//!
//! The file has a line for each kernel, `"6.1" = 90000`: the most instructions that the verifier may
//! process for any one program. It refuses at 1,000,000, and a program that comes near loads slowly
//! and is one compiler's update from being refused. Any other kernel has the largest of these budgets.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::shell::say;
use crate::transcript::Verified;

/// Reads the budget and prints the table; false when a program is over its budget, or the budget
/// cannot be read.
pub(crate) fn holds(programs: &[Verified]) -> bool {
    match Budget::read() {
        Ok(budget) => budget.holds(programs),
        Err(error) => {
            say(&format!("  {error:#}"));
            false
        }
    }
}

/// The most instructions by kernel version, major and minor.
struct Budget(BTreeMap<String, u64>);

impl Budget {
    fn read() -> Result<Self> {
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

    fn of(&self, kernel: &str) -> u64 {
        let of_others = || self.0.values().max().copied().unwrap_or(0);
        self.0
            .get(&version(kernel))
            .copied()
            .unwrap_or_else(of_others)
    }

    fn holds(&self, programs: &[Verified]) -> bool {
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
            let within = *instructions <= budget;
            let mark = if within { "" } else { "  OVER" };
            say(&format!(
                "  {kernel:24} {program:20} {instructions:>10} {budget:>10}{mark}"
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
    fn a_program_over_its_kernels_budget_fails() {
        let budget = Budget::parse("\"6.1\" = 100\n\"6.12\" = 200\n").unwrap();
        assert!(budget.holds(&[verified("6.1.0-56-cloud-amd64", 100)]));
        assert!(!budget.holds(&[verified("6.1.0-56-cloud-amd64", 101)]));
        assert!(budget.holds(&[verified("6.12.117+deb12-cloud-amd64", 200)]));
        assert!(budget.holds(&[verified("6.18.44", 200)]));
        assert!(!budget.holds(&[verified("6.18.44", 201)]));
    }

    #[test]
    fn other_contents_are_refused() {
        assert!(Budget::parse("\"6.1\" = \"much\"").is_err());
    }
}
