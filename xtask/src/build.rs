//! The XDP program by the second toolchain, then the daemon that carries it, and what runs on both.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::packages::{self, Install};
use crate::setup::Toolchain;
use crate::shell::{cargo, clean, make_dir, run, say};
use crate::{paths, setup};

/// Name of the XDP program's file.
const XDP_OBJECT: &str = "schoolgate-xdp";

/// Which program is built, and the daemon that carries it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// The one that ships.
    Shipped,
    /// The same with another ABI number and layout, for the upgrade tests.
    AbiNext,
    /// The same layout with another program tag, for the upgrade tests.
    TagNext,
    /// The same with a log of cases that cannot happen.
    Diagnostics,
}

impl Flavour {
    /// The cargo feature by which it differs.
    fn feature(self) -> Option<&'static str> {
        match self {
            Self::Shipped => None,
            Self::AbiNext => Some("abi-next"),
            Self::TagNext => Some("tag-next"),
            Self::Diagnostics => Some("diagnostics"),
        }
    }

    fn arguments(self) -> impl Iterator<Item = &'static str> {
        let feature = self.feature();
        feature.into_iter().flat_map(|name| ["--features", name])
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
    /// With another program tag and the same layout, as the upgrade tests need it
    #[arg(long, conflicts_with = "abi_next")]
    tag_next: bool,
    /// With a log of cases that cannot happen, to look for a mistake of ours
    #[arg(long, conflicts_with_all = ["abi_next", "tag_next"])]
    diagnostics: bool,
    /// Accepted for habit's sake: what is built here is always optimised
    #[arg(long)]
    release: bool,
}

impl Options {
    fn flavour(&self) -> Flavour {
        if self.abi_next {
            Flavour::AbiNext
        } else if self.tag_next {
            Flavour::TagNext
        } else if self.diagnostics {
            Flavour::Diagnostics
        } else {
            Flavour::Shipped
        }
    }
}

/// The `build` task.
///
/// # Errors
///
/// When the toolchain is missing or a compiler fails.
pub(crate) fn build(options: &Options, install: Install) -> Result<()> {
    let flavour = options.flavour();
    let started = Instant::now();
    let toolchain = setup::toolchain(install)?;
    let object = xdp_program(&toolchain, flavour)?;
    say(&format!(
        "built {} ({:.1} s)",
        object.display(),
        started.elapsed().as_secs_f32()
    ));
    if !options.xdp_only {
        let started = Instant::now();
        let daemon = daemon(flavour)?;
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
pub(crate) fn xdp_program(toolchain: &Toolchain, flavour: Flavour) -> Result<PathBuf> {
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
        .arg(xdp_target(flavour))
        .args(flavour.arguments());
    run(&mut command)?;
    let built = xdp_target(flavour).join("bpfel-unknown-none/release");
    let built = built.join(XDP_OBJECT);
    if !built.is_file() {
        bail!(
            "the compiler succeeded, but {} is not there",
            built.display()
        );
    }
    let Some(feature) = flavour.feature() else {
        return Ok(built);
    };
    let object = kept(feature, XDP_OBJECT)?;
    keep(&built, &object)?;
    Ok(object)
}

/// `-Cdebuginfo=2` and `--btf`: the maps are declared by BTF. `-Ctarget-cpu=v3`: compare-and-swap.
fn rust_flags(toolchain: &Toolchain) -> OsString {
    let mut flags = OsString::from("-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f-Ctarget-cpu=v3\x1f");
    flags.push("-Clinker=");
    flags.push(&toolchain.linker);
    flags
}

/// Those that do not ship share one directory, and with it the core library's build. In the one of
/// the program that ships nothing else is ever built: a daemon takes what lies there.
fn xdp_target(flavour: Flavour) -> PathBuf {
    paths::target().join(match flavour.feature() {
        None => "ebpf",
        Some(_) => "ebpf-other",
    })
}

/// Builds the daemon and gives its path. Its build script takes the XDP program built before.
///
/// # Errors
///
/// When the compiler fails.
pub(crate) fn daemon(flavour: Flavour) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--package", "filter-user"]);
    command.args(flavour.arguments());
    let built = paths::target().join("release/schoolgate");
    let Some(feature) = flavour.feature() else {
        run(&mut command)?;
        return Ok(built);
    };
    // The same directory, so that all dependencies are built once; cargo keeps them apart but for
    // the last link. The one that ships is put back there, so that nobody takes this one for it.
    let kept = kept(feature, "schoolgate")?;
    let aside = built.with_extension("shipped");
    let was_there = fs::rename(&built, &aside).is_ok();
    let made = run(command.env("SCHOOLGATE_XDP_OBJECT", kept.with_file_name(XDP_OBJECT)))
        .and_then(|()| keep(&built, &kept));
    let put_back = if was_there {
        fs::rename(&aside, &built)
    } else {
        fs::remove_file(&built)
    };
    made?;
    put_back.with_context(|| format!("could not clear {}", built.display()))?;
    Ok(kept)
}

/// Where something is kept that does not ship.
fn kept(feature: &str, name: &str) -> Result<PathBuf> {
    let directory = paths::target().join(feature);
    make_dir(&directory)?;
    Ok(directory.join(name))
}

fn keep(built: &Path, kept: &Path) -> Result<()> {
    // A new file: the old one may still be running.
    let fresh = kept.with_extension("new");
    fs::copy(built, &fresh)
        .and_then(|_| fs::rename(&fresh, kept))
        .with_context(|| format!("could not copy {} to {}", built.display(), kept.display()))
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
    xdp_program(&toolchain, Flavour::Shipped)?;
    let daemon = daemon(Flavour::Shipped)?;
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
