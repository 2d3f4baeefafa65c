//! One daemon for one runtime directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The lock; given back when it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; `None`: another daemon holds it.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub(crate) fn take(runtime_dir: &Path) -> io::Result<Option<Lock>> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(runtime_dir)?;
        let path = runtime_dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        // SAFETY: the descriptor is open while `file` lives; `flock` touches no memory.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(Some(Lock { _file: file }));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            Ok(None)
        } else {
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_daemon_finds_the_lock_taken() {
        let dir = crate::testing::TempDir::new();
        let lock = Lock::take(dir.path()).unwrap();
        assert!(lock.is_some());
        assert!(Lock::take(dir.path()).unwrap().is_none());
        drop(lock);
        assert!(Lock::take(dir.path()).unwrap().is_some());
    }
}
