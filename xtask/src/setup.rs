//! The second toolchain: the XDP program needs `-Z build-std` and a linker that speaks BPF, so it is
//! built by a compiler of its own. Stable rustup stays what the user has; nothing here changes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::packages::{self, Install, Package};
use crate::paths;
use crate::shell::{clean, make_dir, output, run, say};

const LINKER_VERSION: &str = "0.13.0";
/// The LLVM versions that this `bpf-linker` can be built against. It must read the compiler's
/// bitcode, so it is built against the compiler's own major version.
const LINKER_LLVM: [u32; 3] = [21, 22, 23];
/// The first packaged compiler whose `core` builds for BPF and whose LLVM is in `LINKER_LLVM`.
const RUSTC_WEB: &str = "1.96";

/// A compiler that can build the XDP program.
pub(crate) struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) linker: PathBuf,
    origin: String,
}

/// A compiler with the sources of `core`.
struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    llvm: u32,
    origin: String,
}

impl Toolchain {
    /// Tells the user which tools build the XDP program.
    pub(crate) fn describe(&self) {
        say(&format!("XDP program: {}", self.origin));
        say(&format!("  rustc       {}", self.rustc.display()));
        say(&format!("  bpf-linker  {}", self.linker.display()));
    }
}

/// Finds the second toolchain, or installs it.
///
/// # Errors
///
/// When it is not there and may not or cannot be installed; the message says what to run.
pub(crate) fn toolchain(install: Install) -> Result<Toolchain> {
    let compiler = match rustup_nightly() {
        Some(nightly) => nightly,
        None => packaged(install)?,
    };
    let linker = linker(compiler.llvm, install)?;
    let Compiler {
        cargo,
        rustc,
        origin,
        ..
    } = compiler;
    Ok(Toolchain {
        cargo,
        rustc,
        linker,
        origin,
    })
}

/// A nightly of rustup, if it has the sources of `core` and a `bpf-linker` can be built for it.
fn rustup_nightly() -> Option<Compiler> {
    let mut ask = clean("rustup");
    // rustup would otherwise download a nightly that is not there.
    ask.env("RUSTUP_AUTO_INSTALL", "0")
        .args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let sysroot = PathBuf::from(output(&mut ask).ok()?);
    let compiler = compiler(
        &sysroot.join("bin/cargo"),
        &sysroot.join("bin/rustc"),
        "rustup nightly",
    )
    .ok()?;
    let usable = linker_path(compiler.llvm).is_ok_and(|path| path.is_file())
        || llvm_package(compiler.llvm).has_candidate();
    usable.then_some(compiler)
}

/// Debian's compiler, which its security team keeps fresh for browsers.
fn packaged(install: Install) -> Result<Compiler> {
    let find = || {
        compiler(
            Path::new("/usr/bin/cargo"),
            Path::new("/usr/bin/rustc"),
            "Debian",
        )
    };
    if let Ok(compiler) = find() {
        return Ok(compiler);
    }
    let wanted = ["rustc-web", "cargo-web", "rust-web-src"];
    packages::ensure(
        &wanted.map(|name| Package::at_least(name, RUSTC_WEB)),
        install,
    )?;
    find().context("the packages are installed, but their compiler does not serve")
}

fn compiler(cargo: &Path, rustc: &Path, origin: &str) -> Result<Compiler> {
    let version = output(clean(rustc).arg("-vV"))?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")
        .and_then(|v| v.split('.').next()?.parse().ok())
        .with_context(|| format!("{} does not tell its LLVM version", rustc.display()))?;
    if !LINKER_LLVM.contains(&llvm) {
        bail!("bpf-linker {LINKER_VERSION} knows no LLVM {llvm}");
    }
    let sysroot = output(clean(rustc).args(["--print", "sysroot"]))?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
    if !cargo.is_file() || !sources.is_dir() {
        bail!(
            "{} has no cargo or no sources of core beside it",
            rustc.display()
        );
    }
    let release = field("release: ").unwrap_or("of unknown version");
    Ok(Compiler {
        cargo: cargo.to_owned(),
        rustc: rustc.to_owned(),
        llvm,
        origin: format!("{origin} rustc {release}, LLVM {llvm}"),
    })
}

/// Where Debian keeps that LLVM.
fn llvm_prefix(llvm: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm}"))
}

fn llvm_package(llvm: u32) -> Package {
    Package::any(format!("llvm-{llvm}-dev"))
}

fn linker_root(llvm: u32) -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("bpf-linker-{LINKER_VERSION}-llvm-{llvm}")))
}

fn linker_path(llvm: u32) -> Result<PathBuf> {
    Ok(linker_root(llvm)?.join("bin/bpf-linker"))
}

/// The linker built against that LLVM; builds it when there is none that runs.
fn linker(llvm: u32, install: Install) -> Result<PathBuf> {
    let path = linker_path(llvm)?;
    let runs = |path: &Path| {
        output(clean(path).arg("--version")).is_ok_and(|told| told.contains(LINKER_VERSION))
    };
    if runs(&path) {
        return Ok(path);
    }
    packages::ensure(&[llvm_package(llvm)], install)?;
    install_linker(llvm, install)?;
    if !runs(&path) {
        bail!("{} was built but does not run", path.display());
    }
    Ok(path)
}

fn install_linker(llvm: u32, install: Install) -> Result<()> {
    let (root, prefix) = (linker_root(llvm)?, llvm_prefix(llvm));
    let feature = format!("llvm-{llvm}");
    // The user's own cargo, as the build needs no nightly.
    let mut command = crate::shell::cargo();
    command.env("LLVM_PREFIX", &prefix);
    command.args([
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
    ]);
    command
        .args(["--no-default-features", "--features", &feature, "--root"])
        .arg(&root);
    let typed = format!(
        "LLVM_PREFIX={} {}",
        prefix.display(),
        crate::shell::line(&command)
    );
    if install == Install::Refused {
        bail!("missing bpf-linker; run:\n    {typed}");
    }
    say(&format!("setup: {typed}"));
    make_dir(&root)?;
    run(&mut command).with_context(|| format!("could not build bpf-linker; try:\n    {typed}"))
}
