//! The private BPF file system: what keeps programs, maps and links alive without the daemon, and
//! keeps other users of the machine away from them. Whoever can write a map can open the school.

use std::ffi::CString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::KernelError;

/// `BPF_FS_MAGIC`, `linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Mode of directories.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of pins.
const PIN_MODE: u32 = 0o600;
/// Name of the mount point below the runtime directory.
const MOUNT_NAME: &str = "bpf";
const LINK_PREFIX: &str = "link-";
const GENERATION_PREFIX: &str = "gen-";
/// Pin of a generation's program.
pub(crate) const PROGRAM_PIN: &str = "program";

/// The mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Opens `<runtime>/bpf`, and makes and mounts it first where it is not.
    ///
    /// # Errors
    /// [`KernelError::NotPrivate`] if it belongs to another user or is open to others; else what the
    /// system said.
    pub fn open(runtime: &Path) -> Result<Pins, KernelError> {
        if let Some(pins) = Pins::existing(runtime)? {
            return Ok(pins);
        }
        let root = runtime.join(MOUNT_NAME);
        let made = fs::create_dir_all(runtime).and_then(|()| make_directory(&root));
        made.map_err(KernelError::io(format!("making {}", root.display())))?;
        check_private(&root)?;
        mount(&root)?;
        check_private(&root)?;
        Ok(Pins { root })
    }

    /// Opens `<runtime>/bpf` if it is mounted; `None` if it is not.
    ///
    /// # Errors
    /// As [`Pins::open`].
    pub fn existing(runtime: &Path) -> Result<Option<Pins>, KernelError> {
        let root = runtime.join(MOUNT_NAME);
        if !is_bpf_fs(&root)? {
            return Ok(None);
        }
        check_private(&root)?;
        Ok(Some(Pins { root }))
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of a generation.
    #[must_use]
    pub fn generation(&self, number: u32) -> PathBuf {
        self.root.join(format!("{GENERATION_PREFIX}{number}"))
    }

    /// Numbers of the generations that are pinned, from old to new.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn generations(&self) -> Result<Vec<u32>, KernelError> {
        let mut numbers: Vec<u32> = self
            .names()?
            .iter()
            .filter_map(|name| name.strip_prefix(GENERATION_PREFIX)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Pin of the link of an interface.
    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        self.root
            .join(format!("{LINK_PREFIX}{}", escape(interface)))
    }

    /// Interfaces that have a pinned link.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn links(&self) -> Result<Vec<String>, KernelError> {
        let names = self.names()?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix(LINK_PREFIX).map(unescape))
            .collect())
    }

    /// Makes the directory of a generation, empty.
    pub(crate) fn make_generation(&self, number: u32) -> Result<PathBuf, KernelError> {
        let path = self.generation(number);
        make_directory(&path).map_err(KernelError::io(format!("making {}", path.display())))?;
        Ok(path)
    }

    /// Removes a generation's pins. The program and its maps live on while a link uses them.
    pub(crate) fn remove_generation(&self, number: u32) -> Result<(), KernelError> {
        let path = self.generation(number);
        fs::remove_dir_all(&path).map_err(KernelError::io(format!("removing {}", path.display())))
    }

    /// Removes the pin of a link, which detaches the program unless the link is held elsewhere.
    pub(crate) fn remove_link(&self, interface: &str) -> Result<(), KernelError> {
        let path = self.link(interface);
        fs::remove_file(&path).map_err(KernelError::io(format!("removing {}", path.display())))
    }

    /// Unmounts the file system if nothing of ours is left in it (the kernel puts two listings of its
    /// own into every one).
    pub(crate) fn unmount_if_empty(&self) -> Result<(), KernelError> {
        if !self.links()?.is_empty() || !self.generations()?.is_empty() {
            return Ok(());
        }
        let action = || format!("unmounting {}", self.root.display());
        let path = c_path(&self.root).map_err(KernelError::io(action()))?;
        // SAFETY: `path` is a string that lives through the call.
        if unsafe { libc::umount2(path.as_ptr(), libc::UMOUNT_NOFOLLOW) } != 0 {
            return Err(KernelError::last(action()));
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, KernelError> {
        let action = || format!("reading {}", self.root.display());
        let entries = fs::read_dir(&self.root).map_err(KernelError::io(action()))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(KernelError::io(action()))?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }
}

/// Gives a pin its mode, whatever the process's mask was.
pub(crate) fn close_pin(path: &Path) -> Result<(), KernelError> {
    fs::set_permissions(path, Permissions::from_mode(PIN_MODE)).map_err(KernelError::io(format!(
        "closing {} to others",
        path.display()
    )))
}

/// A name without dots, which the BPF file system refuses in pins.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2e")
}

fn unescape(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| io::ErrorKind::InvalidInput.into())
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn is_bpf_fs(path: &Path) -> Result<bool, KernelError> {
    let action = || format!("looking at {}", path.display());
    let name = c_path(path).map_err(KernelError::io(action()))?;
    // SAFETY: `statfs` is plain integers, for which zero is a value.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `name` and `facts` live through the call.
    if unsafe { libc::statfs(name.as_ptr(), &raw mut facts) } == 0 {
        return Ok(facts.f_type == BPF_FS_MAGIC);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(false);
    }
    Err(KernelError::io(action())(error))
}

fn mount(path: &Path) -> Result<(), KernelError> {
    let action = || format!("mounting a BPF file system at {}", path.display());
    let target = c_path(path).map_err(KernelError::io(action()))?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all strings live through the call; the last is the file system's options.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            target.as_ptr(),
            c"bpf".as_ptr(),
            flags,
            c"mode=0700".as_ptr().cast(),
        )
    };
    if result != 0 {
        return Err(KernelError::last(action()));
    }
    Ok(())
}

/// Refuses a directory of another user, or one that others may enter.
fn check_private(path: &Path) -> Result<(), KernelError> {
    let facts = fs::symlink_metadata(path)
        .map_err(KernelError::io(format!("looking at {}", path.display())))?;
    let refuse = |why: String| {
        Err(KernelError::NotPrivate {
            path: path.to_path_buf(),
            why,
        })
    };
    // SAFETY: a call without arguments that touches no memory and cannot fail.
    let own = unsafe { libc::geteuid() };
    if !facts.is_dir() {
        return refuse("it is no directory".into());
    }
    if facts.uid() != own {
        return refuse(format!("user {} owns it, not {own}", facts.uid()));
    }
    if facts.mode() & 0o077 != 0 {
        return refuse(format!(
            "its mode {:o} is open to others",
            facts.mode() & 0o7777
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_come_back() {
        for name in ["eth0", "eth0.100", "a%2eb", "x.%25"] {
            assert!(!escape(name).contains('.'));
            assert_eq!(unescape(&escape(name)), name);
        }
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let path = std::env::temp_dir().join(format!("schoolgate-pins-{}", std::process::id()));
        make_directory(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let open = check_private(&path);
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        let private = check_private(&path);
        fs::remove_dir(&path).unwrap();
        assert!(matches!(open, Err(KernelError::NotPrivate { .. })));
        assert!(private.is_ok());
    }
}
