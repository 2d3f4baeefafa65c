//! Another user of the machine: what the rights of files are worth.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;

/// Number of `nobody` on Debian.
pub const NOBODY: libc::uid_t = 65_534;

/// Runs `work` on a thread that is `nobody`, without groups and capabilities.
///
/// # Errors
/// This process may not become another user.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            become_nobody()?;
            Ok(work())
        });
        thread
            .join()
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
    })
}

/// Changes the calling thread alone: the system calls themselves, as the C library's functions
/// would change the whole process.
fn become_nobody() -> io::Result<()> {
    // SAFETY: the calls take numbers, and an empty list of groups that is not read.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY),
            libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY),
        ]
    };
    if results == [0; 3] {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Opens a pinned map, program or link (`BPF_OBJ_GET`).
///
/// # Errors
/// The kernel refuses.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    const BPF_OBJ_GET: libc::c_long = 7;
    #[repr(C)]
    struct Get {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let get = Get {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    // SAFETY: the structure is the prefix of `union bpf_attr` that the command reads, and the path
    // in it lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            &raw const get,
            mem::size_of::<Get>(),
        )
    };
    match i32::try_from(result) {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
