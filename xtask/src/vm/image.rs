//! The initramfs: busybox, the kernel's modules, and programs with their libraries, each at the path
//! it has on this machine, so that paths compiled into the tests hold.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::binaries::TestBinary;
use crate::shell::{find, make_dir, output, run};

/// What the namespace tests ask of the kernel beyond what Debian builds in.
const MODULES: [&str; 6] = ["veth", "8021q", "dummy", "tun", "sch_ingress", "cls_bpf"];

/// Directories that init mounts something on, or programs expect.
const DIRECTORIES: [&str; 13] = [
    "bin", "busybox", "dev", "etc", "modules", "proc", "root", "run", "sys", "tests", "tmp", "var",
    "var/lib",
];

/// A root directory that is being filled.
pub(crate) struct Image {
    root: PathBuf,
    archive: PathBuf,
    libraries: BTreeSet<PathBuf>,
}

/// Where the machine has a test binary.
pub(crate) fn guest_path(binary: &TestBinary) -> PathBuf {
    Path::new("/tests").join(&binary.target)
}

/// Packs `root` as the kernel reads it. Not compressed: under emulation reading is cheaper.
pub(crate) fn cpio(root: &Path, archive: &Path) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(root).args([
        "-c",
        "find . -print0 | cpio --null --create --quiet --format=newc --owner=0:0 >\"$1\"",
        "cpio",
    ]);
    command.arg(archive);
    command
}

impl Image {
    /// An image with busybox and nothing else, made anew in `work`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written, or busybox is not a static one.
    pub(crate) fn new(work: &Path) -> Result<Self> {
        let root = work.join("root");
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        }
        for dir in DIRECTORIES {
            make_dir(&root.join(dir))?;
        }
        symlink("/run", root.join("var/run"))?;
        fs::write(root.join("etc/passwd"), PASSWD)?;
        fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        fs::write(
            root.join("etc/hosts"),
            "127.0.0.1 localhost\n::1 localhost\n",
        )?;
        let archive = work.join("initramfs.cpio");
        let mut image = Self {
            root,
            archive,
            libraries: BTreeSet::new(),
        };
        let busybox = find("busybox").context("no busybox")?;
        image.copy(&busybox, Path::new("/bin/busybox"))?;
        if !libraries(&busybox).is_empty() {
            bail!(
                "{} is not static: install busybox-static",
                busybox.display()
            );
        }
        Ok(image)
    }

    /// The modules, numbered in the order of loading, unpacked.
    ///
    /// # Errors
    ///
    /// When one cannot be read or unpacked.
    pub(crate) fn modules(&mut self, kernel: &Kernel) -> Result<()> {
        for (number, file) in kernel.modules(&MODULES)?.iter().enumerate() {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_packed = name.ends_with(".xz");
            let target = Path::new("/modules").join(format!("{number:02}-{name}"));
            self.copy(file, &target)?;
            if is_packed {
                run(Command::new("xz").arg("-d").arg(self.inside(&target)))?;
            }
        }
        Ok(())
    }

    /// A program of this machine, if it is there, with its libraries.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub(crate) fn host_program(&mut self, name: &str) -> Result<()> {
        let Some(path) = find(name) else {
            return Ok(());
        };
        self.copy(&path, &Path::new("/bin").join(name))?;
        self.add_libraries(&path)
    }

    /// A program just built, without its debugging information, with its libraries.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub(crate) fn stripped(&mut self, program: &Path, target: &Path) -> Result<()> {
        let inside = self.inside(target);
        make_dir(inside.parent().unwrap_or(&self.root))?;
        run(Command::new("strip")
            .args(["--strip-debug", "-o"])
            .arg(&inside)
            .arg(program))?;
        self.add_libraries(program)
    }

    /// A directory with all below it; one that is not there is left out.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub(crate) fn tree(&mut self, dir: &Path) -> Result<()> {
        if !dir.is_dir() {
            return Ok(());
        }
        let above = self.inside(dir.parent().unwrap_or(dir));
        make_dir(&above)?;
        run(Command::new("cp").arg("-rL").arg(dir).arg(&above))
    }

    /// The script that the kernel starts.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn init(&mut self, script: &str) -> Result<()> {
        let path = self.root.join("init");
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Packs the image by `pack(root, archive)` and gives the archive.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub(crate) fn pack(self, pack: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
        pack(&self.root, &self.archive)?;
        Ok(self.archive)
    }

    fn inside(&self, target: &Path) -> PathBuf {
        self.root.join(target.strip_prefix("/").unwrap_or(target))
    }

    /// A file as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub(crate) fn copy(&mut self, file: &Path, target: &Path) -> Result<()> {
        let inside = self.inside(target);
        make_dir(inside.parent().unwrap_or(&self.root))?;
        fs::copy(file, &inside).with_context(|| format!("could not copy {}", file.display()))?;
        Ok(())
    }

    fn add_libraries(&mut self, program: &Path) -> Result<()> {
        for library in libraries(program) {
            if self.libraries.insert(library.clone()) {
                self.copy(&library, &library)?;
            }
        }
        Ok(())
    }
}

/// `root` and one user without any right, for tests of who may do what.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";

/// What the loader loads with the program; nothing for a static one, which `ldd` refuses.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let told = output(Command::new("ldd").arg(program)).unwrap_or_default();
    let paths = told.lines().filter_map(|line| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    });
    paths.collect()
}
