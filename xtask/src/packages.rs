//! Debian packages: what is missing, and installing it where that is allowed.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell::{clean, find, output, run, say};

/// Whether a task may install what it misses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// It may, as root or by `sudo` where that asks for no password.
    Allowed,
    /// It only says what to install.
    Refused,
}

impl Install {
    /// From `--no-install`.
    pub(crate) fn from_flag(no_install: bool) -> Self {
        if no_install {
            Self::Refused
        } else {
            Self::Allowed
        }
    }
}

/// A Debian package and the oldest version that serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Package {
    name: String,
    at_least: Option<&'static str>,
}

impl Package {
    /// Any version.
    pub(crate) fn any(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            at_least: None,
        }
    }

    /// This upstream version or a later one.
    pub(crate) fn at_least(name: &str, version: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            at_least: Some(version),
        }
    }

    fn serves(&self, version: &str) -> bool {
        let Some(at_least) = self.at_least else {
            return true;
        };
        Command::new("dpkg")
            .args(["--compare-versions", version, "ge", at_least])
            .status()
            .is_ok_and(|status| status.success())
    }

    fn is_installed(&self) -> bool {
        let mut query = Command::new("dpkg-query");
        query.args(["-W", "-f", "${db:Status-Abbrev}${Version}", &self.name]);
        let Ok(answer) = output(&mut query) else {
            return false;
        };
        answer
            .strip_prefix("ii ")
            .is_some_and(|version| self.serves(version))
    }

    /// Whether the package lists on this machine offer it.
    pub(crate) fn has_candidate(&self) -> bool {
        let Ok(policy) = output(Command::new("apt-cache").args(["policy", &self.name])) else {
            return false;
        };
        policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .is_some_and(|version| version != "(none)" && self.serves(version))
    }
}

/// A program that a task runs, and the package that brings it.
pub(crate) struct Tool(pub(crate) &'static str, pub(crate) &'static str);

/// Programs of the integration tests.
pub(crate) const TEST: &[Tool] = &[
    Tool("ip", "iproute2"),
    Tool("openssl", "openssl"),
    Tool("curl", "curl"),
    Tool("kdig", "knot-dnsutils"),
    Tool("dnsmasq", "dnsmasq-base"),
    Tool("chromium", "chromium"),
    Tool("firefox-esr", "firefox-esr"),
    Tool("certutil", "libnss3-tools"),
];
/// Packages without programs that the tests' browsers need: letters of both languages.
pub(crate) const TEST_FILES: &[&str] = &["fonts-dejavu-core"];
/// Programs of the demo.
pub(crate) const DEMO: &[Tool] = &[
    Tool("ip", "iproute2"),
    Tool("openssl", "openssl"),
    Tool("curl", "curl"),
    Tool("ethtool", "ethtool"),
    Tool("dig", "bind9-dnsutils"),
    Tool("chromium", "chromium"),
    Tool("firefox-esr", "firefox-esr"),
    Tool("certutil", "libnss3-tools"),
];
/// Programs that make and boot the test machine.
pub(crate) const VM: &[Tool] = &[
    Tool("qemu-system-x86_64", "qemu-system-x86"),
    Tool("busybox", "busybox-static"),
    Tool("cpio", "cpio"),
    Tool("depmod", "kmod"),
    Tool("xz", "xz-utils"),
    Tool("ip", "iproute2"),
    Tool("strip", "binutils"),
];

/// Makes sure that the tools are there. A tool that is there some other way is left alone.
///
/// # Errors
///
/// When one is missing and may not or cannot be installed; the message is the command to run.
pub(crate) fn ensure_tools(tools: &[Tool], install: Install) -> Result<()> {
    let missing = tools.iter().filter(|tool| find(tool.0).is_none());
    ensure(
        &missing.map(|tool| Package::any(tool.1)).collect::<Vec<_>>(),
        install,
    )
}

/// Makes sure that the packages are there.
///
/// # Errors
///
/// As `ensure_tools`.
pub(crate) fn ensure(packages: &[Package], install: Install) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|package| !package.is_installed())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let list = names.join(" ");
    let typed = format!("apt-get install --no-install-recommends {list}");
    if find("apt-get").is_none() {
        bail!("missing: {list} (Debian's names); install them and run this again");
    }
    if install == Install::Refused || !may_install() {
        bail!("missing packages; run as root:\n    {typed}");
    }
    if !missing.iter().all(|package| package.has_candidate()) {
        refresh(install)?;
    }
    if let Some(absent) = missing.iter().find(|package| !package.has_candidate()) {
        let version = absent
            .at_least
            .map_or(String::new(), |v| format!(" {v} or later"));
        bail!(
            "apt offers no {}{version}: check /etc/apt/sources.list",
            absent.name
        );
    }
    say(&format!("setup: {typed}"));
    run(apt_get()
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&names))
    .with_context(|| format!("could not install; run as root:\n    {typed}"))
}

/// Refreshes the package lists.
///
/// # Errors
///
/// When that is not allowed or fails.
pub(crate) fn refresh(install: Install) -> Result<()> {
    if install == Install::Refused || !may_install() {
        bail!("the package lists are too old; run as root:\n    apt-get update");
    }
    say("setup: refreshing the package lists (apt-get update)");
    run(apt_get().args(["update", "-qq"]))
}

fn is_root() -> bool {
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn may_install() -> bool {
    is_root() || output(Command::new("sudo").args(["-n", "true"])).is_ok()
}

fn apt_get() -> Command {
    let mut command = if is_root() {
        clean("apt-get")
    } else {
        let mut sudo = clean("sudo");
        sudo.args(["-n", "--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
