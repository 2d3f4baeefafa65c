//! Debian's kernels: which there are, fetching one without installing it, and its modules.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::packages::{self, Install, Package};
use crate::paths;
use crate::shell::{clean, make_dir, output, run, say};

/// A kernel series that is tested. 6.1 is the oldest supported.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Series {
    /// Debian 12's own.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's, which Debian 12 offers too.
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    /// Every series, the oldest first.
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        })
    }
}

/// A kernel unpacked in the cache.
pub(crate) struct Kernel {
    /// As `uname -r` tells it.
    pub(crate) release: String,
    /// The unpacked package.
    dir: PathBuf,
}

impl Kernel {
    /// Finds the newest kernel of the series, and fetches it when it is not in the cache.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be fetched.
    pub(crate) fn fetch(series: Series, install: Install) -> Result<Self> {
        let kernels = paths::cache()?.join("kernels");
        make_dir(&kernels)?;
        let release = newest(series, &kernels, install)?;
        let dir = kernels.join(&release);
        if !dir.is_dir() {
            download(&release, &dir)?;
        }
        Ok(Self { release, dir })
    }

    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// A file in which something learnt of this kernel is kept.
    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The files of the modules and of what they depend on, in the order of loading. A name that
    /// this kernel has built in is left out.
    ///
    /// # Errors
    ///
    /// When the list of dependencies cannot be read.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let dir = self.dir.join("lib/modules").join(&self.release);
        let path = dir.join("modules.dep");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(load_order(&text, names)
            .into_iter()
            .map(|file| dir.join(file))
            .collect())
    }
}

/// From `modules.dep` (`file: what it needs, the farthest last`).
fn load_order<'a>(dependencies: &'a str, names: &[&str]) -> Vec<&'a str> {
    let by_name: BTreeMap<_, _> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs)))
        .collect();
    let mut order: Vec<&str> = Vec::new();
    for (file, needs) in names.iter().filter_map(|name| by_name.get(*name)) {
        for wanted in needs.split_whitespace().rev().chain([*file]) {
            if !order.contains(&wanted) {
                order.push(wanted);
            }
        }
    }
    order
}

fn module_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name)
}

/// The release of the newest kernel that apt offers, or else of the newest in the cache.
fn newest(series: Series, kernels: &Path, install: Install) -> Result<String> {
    if let Some(release) = offered(series)? {
        return Ok(release);
    }
    let cached = fs::read_dir(kernels)?.flatten().map(|e| e.file_name());
    let cached = cached.filter_map(|name| name.into_string().ok());
    let mut cached: Vec<_> = cached.filter(|name| is_of(series, name)).collect();
    cached.sort_by_key(|release| numbers(release));
    if let Some(release) = cached.pop() {
        return Ok(release);
    }
    packages::refresh(install)?;
    offered(series)?.with_context(|| format!("apt offers no cloud kernel of {series}"))
}

fn offered(series: Series) -> Result<Option<String>> {
    let prefix = format!("linux-image-{series}.");
    let names = output(Command::new("apt-cache").args(["pkgnames", &prefix]))?;
    let releases = names
        .lines()
        .filter_map(|name| name.strip_prefix("linux-image-"));
    let mut releases: Vec<_> = releases.filter(|release| is_of(series, release)).collect();
    releases.sort_by_key(|release| numbers(release));
    // apt also knows names that it only met as another package's dependency.
    let is_there = |release: &&&str| Package::any(package(release)).has_candidate();
    Ok(releases
        .iter()
        .rev()
        .find(is_there)
        .map(|release| (*release).to_owned()))
}

fn package(release: &str) -> String {
    format!("linux-image-{release}")
}

fn is_of(series: Series, release: &str) -> bool {
    release.starts_with(&format!("{series}.")) && release.ends_with("-cloud-amd64")
}

/// The numbers in a release, by which releases are ordered.
fn numbers(release: &str) -> Vec<u64> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// Unpacks beside the final place, so that an interrupted run leaves nothing half done there.
fn download(release: &str, dir: &Path) -> Result<()> {
    let name = package(release);
    say(&format!("test-vm: fetching {name} into {}", dir.display()));
    let partial = dir.with_extension(format!("partial-{}", std::process::id()));
    make_dir(&partial)?;
    run(clean("apt-get")
        .args(["download", "-qq", &name])
        .current_dir(&partial))
    .with_context(|| format!("could not fetch {name}"))?;
    let mut debs = fs::read_dir(&partial)?.flatten().map(|entry| entry.path());
    let Some(deb) = debs.find(|path| path.extension().is_some_and(|e| e == "deb")) else {
        bail!("apt-get download of {name} left no package");
    };
    run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
    fs::remove_file(&deb)?;
    let depmod = crate::shell::find("depmod").unwrap_or_else(|| "depmod".into());
    run(Command::new(depmod).arg("-b").arg(&partial).arg(release))?;
    fs::rename(&partial, dir).with_context(|| format!("could not make {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_what_they_need() {
        let dependencies = "\
kernel/net/8021q/8021q.ko: kernel/net/802/mrp.ko kernel/net/802/stp.ko kernel/net/llc/llc.ko
kernel/drivers/net/veth.ko.xz:
kernel/net/802/stp.ko: kernel/net/llc/llc.ko
";
        let order = load_order(dependencies, &["veth", "built_in", "stp", "8021q"]);
        let expected = [
            "kernel/drivers/net/veth.ko.xz",
            "kernel/net/llc/llc.ko",
            "kernel/net/802/stp.ko",
            "kernel/net/802/mrp.ko",
            "kernel/net/8021q/8021q.ko",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        assert!(numbers("6.1.0-100-cloud-amd64") > numbers("6.1.0-56-cloud-amd64"));
        assert!(is_of(Series::V6_1, "6.1.0-56-cloud-amd64"));
        assert!(!is_of(Series::V6_1, "6.12.117+deb12-cloud-amd64"));
        assert!(!is_of(Series::V6_12, "6.12.117+deb12-cloud-amd64-dbg"));
    }
}
