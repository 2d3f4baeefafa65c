//! `cargo xtask ci`: everything that must hold before a change is taken, in one run that tells all.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::packages::{self, Install};
use crate::report::{Counts, Report, Suite};
use crate::shell::{cargo, run, say};
use crate::stream::{End, Flow, stream};
use crate::test::timed;
use crate::{build, test, tidy, vm};

/// The demo takes under two minutes; a hanging one must not take the whole hour.
const DEMO_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The `ci` task. A failing stage does not keep the later ones from running.
///
/// # Errors
///
/// When anything failed.
pub(crate) fn ci(install: Install) -> Result<()> {
    let started = Instant::now();
    let mut report = Report::default();
    report.add(timed("formatting", || {
        run(cargo().args(["fmt", "--all", "--check"]))
    }));
    report.add(timed("tidy", tidy::tidy));
    report.add(timed("clippy", || clippy(&["--workspace"])));
    report.add(timed("clippy, diagnostics", || {
        clippy(&["--package", "filter-user", "--features", "diagnostics"])
    }));
    stage(&mut report, "test", || {
        test::run(&test::Options::default(), install)
    });
    stage(&mut report, "test-vm", || {
        vm::run(&vm::Options::default(), install)
    });
    stage(&mut report, "demo", || demo(install));
    say(&format!(
        "\nall stages: {:.0} s",
        started.elapsed().as_secs_f32()
    ));
    report.finish()
}

fn clippy(selection: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--all-targets"]);
    run(command.args(selection).args(["--", "-D", "warnings"]))
}

/// A stage of several suites; one that cannot run at all is one failure.
fn stage(report: &mut Report, name: &str, task: impl FnOnce() -> Result<Report>) {
    say(&format!("\n== {name}"));
    let started = Instant::now();
    match task() {
        Ok(suites) => report.append(suites),
        Err(error) => {
            say(&format!("{name}: {error:#}"));
            let counts = Counts::failure();
            report.add(Suite {
                name: name.to_owned(),
                counts,
                time: started.elapsed(),
            });
        }
    }
    // With building, which no suite counts.
    say(&format!(
        "== {name} took {:.0} s",
        started.elapsed().as_secs_f32()
    ));
}

/// Runs the demo; it may tell its own counts, else it is one check.
fn demo(install: Install) -> Result<Report> {
    packages::ensure_tools(packages::DEMO, install)?;
    let mut command = build::test_program("schoolgate-demo", install)?;
    let started = Instant::now();
    let mut told = None;
    let end = stream(&mut command, DEMO_LIMIT, |line| {
        if let Some(line) = line {
            told = Counts::parse(line).or(told);
            say(line);
        }
        Flow::Continue
    })?;
    if end == End::TimedOut {
        bail!("the demo did not end within {} s", DEMO_LIMIT.as_secs());
    }
    let succeeded = end == End::Succeeded;
    let mut counts = told.unwrap_or_else(|| Counts::single(succeeded));
    if !succeeded && counts.failed == 0 {
        counts.failed = 1;
    }
    let mut report = Report::default();
    report.add(Suite {
        name: "demo".to_owned(),
        counts,
        time: started.elapsed(),
    });
    Ok(report)
}
