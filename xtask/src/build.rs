//! The XDP program by the second toolchain, then the daemon that carries it, and what runs on both.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::packages::{self, Install};
use crate::setup::Toolchain;
use crate::shell::{cargo, clean, make_dir, run, say};
use crate::{paths, setup};

/// Which of the two programs is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    /// The one that ships.
    Current,
    /// The same with another ABI number and layout, for the upgrade tests.
    Next,
}

impl Abi {
    fn suffix(self) -> &'static str {
        match self {
            Self::Current => "",
            Self::Next => "-abi-next",
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Current => &[],
            Self::Next => &["--features", "abi-next"],
        }
    }
}

/// What `build` makes.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only the XDP program, not the daemon
    #[arg(long)]
    xdp_only: bool,
    /// With the next ABI number and layout, as the upgrade tests need it
    #[arg(long)]
    abi_next: bool,
    /// Accepted for habit's sake: what is built here is always optimised
    #[arg(long)]
    release: bool,
}

/// The `build` task.
///
/// # Errors
///
/// When the toolchain is missing or a compiler fails.
pub(crate) fn build(options: &Options, install: Install) -> Result<()> {
    let abi = if options.abi_next {
        Abi::Next
    } else {
        Abi::Current
    };
    let started = Instant::now();
    let toolchain = setup::toolchain(install)?;
    let object = xdp_program(&toolchain, abi)?;
    say(&format!(
        "built {} ({:.1} s)",
        object.display(),
        started.elapsed().as_secs_f32()
    ));
    if !options.xdp_only {
        let started = Instant::now();
        let daemon = daemon(abi)?;
        say(&format!(
            "built {} ({:.1} s)",
            daemon.display(),
            started.elapsed().as_secs_f32()
        ));
    }
    Ok(())
}

/// Builds the XDP program and gives its path.
///
/// # Errors
///
/// When the compiler fails.
pub(crate) fn xdp_program(toolchain: &Toolchain, abi: Abi) -> Result<PathBuf> {
    let mut command = clean(&toolchain.cargo);
    command
        .current_dir(paths::root())
        .env("RUSTC", &toolchain.rustc)
        // Debian's compiler is a release that can do what a nightly can when it is told so.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(toolchain))
        .args([
            "build",
            "--quiet",
            "--package",
            "filter-ebpf",
            "--release",
            "--locked",
        ])
        .args([
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
            "--target-dir",
        ])
        .arg(xdp_target(abi))
        .args(abi.features());
    run(&mut command)?;
    let object = xdp_object(abi);
    if !object.is_file() {
        bail!(
            "the compiler succeeded, but {} is not there",
            object.display()
        );
    }
    Ok(object)
}

/// `-Cdebuginfo=2` and `--btf`: the maps are declared by BTF. `-Ctarget-cpu=v3`: compare-and-swap.
fn rust_flags(toolchain: &Toolchain) -> OsString {
    let mut flags = OsString::from("-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f-Ctarget-cpu=v3\x1f");
    flags.push("-Clinker=");
    flags.push(&toolchain.linker);
    flags
}

fn xdp_target(abi: Abi) -> PathBuf {
    paths::target().join(format!("ebpf{}", abi.suffix()))
}

/// Where the XDP program is built.
pub(crate) fn xdp_object(abi: Abi) -> PathBuf {
    xdp_target(abi).join("bpfel-unknown-none/release/schoolgate-xdp")
}

/// Builds the daemon and gives its path. Its build script takes the XDP program built before.
///
/// # Errors
///
/// When the compiler fails.
pub(crate) fn daemon(abi: Abi) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", "filter-user"]);
    command.args(abi.features());
    let built = paths::target().join("release/schoolgate");
    if abi == Abi::Current {
        run(&mut command)?;
        return Ok(built);
    }
    // The same directory, so that all dependencies are built once; cargo keeps the two apart but
    // for the last link, so this one is copied away.
    run(command.env("SCHOOLGATE_XDP_OBJECT", xdp_object(abi)))?;
    let kept = paths::target().join("abi-next/schoolgate");
    make_dir(&paths::target().join("abi-next"))?;
    // A new file: the old one may still be running.
    let fresh = kept.with_extension("new");
    fs::copy(&built, &fresh)
        .and_then(|_| fs::rename(&fresh, &kept))
        .with_context(|| format!("could not copy {} to {}", built.display(), kept.display()))?;
    Ok(kept)
}

/// Builds everything and shows the filter at work.
///
/// # Errors
///
/// When the build fails or the demo cannot be started.
pub(crate) fn demo(arguments: &[String], install: Install) -> Result<()> {
    packages::ensure_tools(packages::DEMO, install)?;
    become_program("schoolgate-demo", arguments, install)
}

/// Builds everything and measures it.
///
/// # Errors
///
/// When the build fails or the benchmark cannot be started.
pub(crate) fn bench(arguments: &[String], install: Install) -> Result<()> {
    become_program("schoolgate-bench", arguments, install)
}

/// Builds everything that a program of the tests package needs, and the program.
///
/// # Errors
///
/// When a build fails.
pub(crate) fn test_program(name: &str, install: Install) -> Result<Command> {
    let toolchain = setup::toolchain(install)?;
    xdp_program(&toolchain, Abi::Current)?;
    let daemon = daemon(Abi::Current)?;
    run(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "schoolgate-tests",
        "--bin",
        name,
    ]))?;
    let mut command = Command::new(paths::target().join("release").join(name));
    command
        .current_dir(paths::root())
        .env("SCHOOLGATE_BIN", daemon);
    Ok(command)
}

fn become_program(name: &str, arguments: &[String], install: Install) -> Result<()> {
    let mut command = test_program(name, install)?;
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("could not start {name}"))
}
