//! `cargo xtask test-vm`: the kernel and namespace tests on Debian's kernels, in a machine of QEMU's.

mod guest;
mod image;
mod kernel;
mod machine;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::binaries::{self, TestBinary};
use crate::packages::{self, Install};
use crate::report::{Counts, Report, Suite};
use crate::shell::{run as run_command, say};
use crate::subjects::Subjects;
use crate::{budget, paths, test};
use guest::Guest;
use image::Image;
use kernel::{Kernel, Series};

/// The targets of the tests package that ask something of the kernel. The others ask nothing that
/// the kernel at hand has not answered in `cargo xtask test`.
const TARGETS: [&str; 5] = [
    "packets_kernel",
    "flows_kernel",
    "requests_kernel",
    "netns",
    "verifier",
];

/// What `test-vm` runs.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The kernels; without any, all of them
    kernels: Vec<Series>,
    /// Only these targets of the tests package
    #[arg(long)]
    target: Vec<String>,
}

/// The `test-vm` task.
///
/// # Errors
///
/// When something does not build or boot, or a test fails.
pub(crate) fn test_vm(options: &Options, install: Install) -> Result<()> {
    run(options, install)?.finish()
}

/// Builds the tests and runs them on each kernel, one after the other.
///
/// # Errors
///
/// When something does not build. A kernel that does not boot is a failure in the report.
pub(crate) fn run(options: &Options, install: Install) -> Result<Report> {
    packages::ensure_tools(packages::VM, install)?;
    let subjects = Subjects::build(install)?;
    let binaries = build_tests(options)?;
    let series = if options.kernels.is_empty() {
        &Series::ALL
    } else {
        &*options.kernels
    };
    let mut report = Report::default();
    for series in series {
        let started = Instant::now();
        let ran = run_kernel(*series, &binaries, &subjects, &mut report, install);
        if let Err(error) = ran {
            say(&format!("{series}: {error:#}"));
            let (name, time) = (format!("{series} machine"), started.elapsed());
            report.add(Suite {
                name,
                counts: Counts::failure(),
                time,
            });
        }
    }
    Ok(report)
}

fn build_tests(options: &Options) -> Result<Vec<TestBinary>> {
    let wanted: Vec<&str> = if options.target.is_empty() {
        TARGETS.to_vec()
    } else {
        options.target.iter().map(String::as_str).collect()
    };
    let mut selection = vec!["--package", "schoolgate-tests"];
    for target in wanted {
        selection.extend(["--test", target]);
    }
    binaries::build(&selection)
}

fn run_kernel(
    series: Series,
    binaries: &[TestBinary],
    subjects: &Subjects,
    report: &mut Report,
    install: Install,
) -> Result<()> {
    let kernel = Kernel::fetch(series, install)?;
    say(&format!("\n{series}: {}", kernel.release));
    let archive = pack(&kernel, binaries, subjects)?;
    let mut guest = Guest::new(series.to_string(), test::is_strict());
    let outcome = machine::boot(&kernel, &archive, &mut guest);
    let verified = guest.verified();
    if !verified.is_empty() {
        let started = Instant::now();
        let counts = Counts::single(budget::holds(&verified));
        report.add(Suite {
            name: format!("{series} budget"),
            counts,
            time: started.elapsed(),
        });
    }
    let expected = binaries.iter().map(|binary| &*binary.target);
    for suite in guest.into_suites(expected) {
        report.add(suite);
    }
    outcome
}

/// Packs what the machine runs, at the paths that the tests were built with.
fn pack(kernel: &Kernel, binaries: &[TestBinary], subjects: &Subjects) -> Result<PathBuf> {
    let work = paths::target().join("vm").join(&kernel.release);
    let mut image = Image::new(&work)?;
    image.modules(kernel)?;
    for program in ["sh", "ip", "openssl", "curl"] {
        image.host_program(program)?;
    }
    for daemon in subjects.daemons() {
        image.stripped(daemon, daemon)?;
    }
    for object in subjects.objects() {
        image.copy(object, object)?;
    }
    for binary in binaries {
        image.stripped(&binary.executable, &image::guest_path(binary))?;
    }
    for tree in ["tests/data", "rules"] {
        image.tree(&paths::root().join(tree))?;
    }
    image.init(&guest::init(binaries, subjects))?;
    image.pack(|root, archive| run_command(&mut image::cpio(root, archive)))
}
