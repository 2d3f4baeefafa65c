//! `cargo xtask test`: builds what the tests need, runs every test binary, counts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result};

use crate::binaries::{self, TestBinary};
use crate::packages::{self, Install, Package};
use crate::report::{Counts, Report, Suite};
use crate::shell::{cargo, make_dir, say};
use crate::stream::{End, Flow, stream};
use crate::subjects::Subjects;
use crate::transcript::Transcript;
use crate::{budget, paths};

/// No suite may take longer; the slowest takes a few minutes.
const SUITE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What `test` runs.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only suites whose name contains one of these, as `packets_kernel` or `filter-common`
    suites: Vec<String>,
}

/// Whether a skipped test is a failure, as it is in CI.
pub(crate) fn is_strict() -> bool {
    let set = |name: &str| env::var(name).is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    set("CI") || set("SCHOOLGATE_NO_SKIP")
}

/// The `test` task.
///
/// # Errors
///
/// When something does not build or a test fails.
pub(crate) fn test(options: &Options, install: Install) -> Result<()> {
    run(options, install)?.finish()
}

/// Builds and runs the suites.
///
/// # Errors
///
/// When something does not build. Failing tests are in the report.
pub(crate) fn run(options: &Options, install: Install) -> Result<Report> {
    packages::ensure_tools(packages::TEST, install)?;
    let files = packages::TEST_FILES.iter().copied().map(Package::any);
    packages::ensure(&files.collect::<Vec<_>>(), install)?;
    let subjects = Subjects::build(install)?;
    let artefacts = artefacts()?;
    let binaries = binaries::build(&["--workspace"])?;
    let mut report = Report::default();
    for binary in binaries
        .iter()
        .filter(|binary| options.selects(&binary.suite()))
    {
        report.add(run_binary(binary, &subjects, &artefacts)?);
    }
    if options.selects("documentation") {
        report.add(doc_tests()?);
    }
    Ok(report)
}

impl Options {
    fn selects(&self, suite: &str) -> bool {
        self.suites.is_empty()
            || self
                .suites
                .iter()
                .any(|wanted| suite.contains(wanted.as_str()))
    }
}

/// Where failing tests leave what helps to understand them.
fn artefacts() -> Result<PathBuf> {
    let dir = env::var_os("SCHOOLGATE_TEST_ARTEFACTS")
        .map_or_else(|| paths::target().join("test-artefacts"), Into::into);
    make_dir(&dir)?;
    fs::canonicalize(&dir).with_context(|| format!("could not resolve {}", dir.display()))
}

fn run_binary(binary: &TestBinary, subjects: &Subjects, artefacts: &Path) -> Result<Suite> {
    let mut command = Command::new(&binary.executable);
    command
        .current_dir(&binary.package)
        .env("CARGO_MANIFEST_DIR", &binary.package)
        .env("SCHOOLGATE_TEST_ARTEFACTS", artefacts)
        .envs(subjects.environment())
        .arg("--show-output");
    run_suite(binary.suite(), &mut command)
}

fn doc_tests() -> Result<Suite> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--release", "--workspace", "--doc"]);
    run_suite("documentation".to_owned(), &mut command)
}

fn run_suite(name: String, command: &mut Command) -> Result<Suite> {
    let started = Instant::now();
    let mut transcript = Transcript::default();
    let end = stream(command, SUITE_LIMIT, |line| {
        if let Some(line) = line.filter(|line| transcript.read(line)) {
            say(&format!("  {line}"));
        }
        Flow::Continue
    })?;
    if end == End::TimedOut {
        say(&format!(
            "  {name} hung; its last line: {}",
            transcript.last_line()
        ));
    }
    let mut counts = transcript.counts(end == End::Succeeded, is_strict());
    if !transcript.verified.is_empty() && !budget::holds(&transcript.verified) {
        counts.failed = counts.failed.saturating_add(1);
    }
    Ok(Suite {
        name,
        counts,
        time: started.elapsed(),
    })
}

/// The outcome of a task that counts nothing itself.
pub(crate) fn timed(name: &str, task: impl FnOnce() -> Result<()>) -> Suite {
    let started = Instant::now();
    let outcome = task();
    if let Err(error) = &outcome {
        say(&format!("{name}: {error:#}"));
    }
    Suite {
        name: name.to_owned(),
        counts: Counts::single(outcome.is_ok()),
        time: started.elapsed(),
    }
}
