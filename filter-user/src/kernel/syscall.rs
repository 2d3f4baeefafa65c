//! The few system calls of `bpf(2)` that the BPF library does not offer, each wrapped once.

use std::ffi::{CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::error::KernelError;

// Commands of bpf(2), `linux/bpf.h`.
const OBJ_PIN: c_int = 6;
const OBJ_GET: c_int = 7;
const PROG_TEST_RUN: c_int = 10;
const OBJ_GET_INFO: c_int = 15;
const LINK_CREATE: c_int = 28;
const LINK_UPDATE: c_int = 29;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
/// Wait where the kernel offers no barrier: far beyond the time a packet takes.
const GRACE_FALLBACK: Duration = Duration::from_millis(20);
/// `MEMBARRIER_CMD_GLOBAL`: returns after an RCU grace period, which XDP programs run inside of.
const MEMBARRIER_GLOBAL: c_int = 1;

/// `union bpf_attr` as words; the commands here use the first 128 bytes at most.
type Attr = [u64; 16];

fn bpf(command: c_int, attr: &mut Attr) -> io::Result<c_int> {
    // SAFETY: `attr` is as long as is told, lives through the call, and every address in it was
    // made from a reference or buffer that the caller holds.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of::<Attr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    c_int::try_from(result).map_err(|_beyond| io::ErrorKind::InvalidData.into())
}

/// Two 32-bit fields as one word of the attribute.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// A file descriptor as a field.
fn fd_field(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

/// Waits until every packet that is being processed has ended.
pub(crate) fn wait_for_packets() {
    // SAFETY: the call takes integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL, 0, 0) };
    if result != 0 {
        std::thread::sleep(GRACE_FALLBACK);
    }
}

fn path_text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| io::ErrorKind::InvalidInput.into())
}

/// Pins an object at `path`.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<(), KernelError> {
    let error = KernelError::io(format!("pinning {}", path.display()));
    let text = path_text(path);
    let attempt = text.and_then(|text| {
        let mut attr = Attr::default();
        attr[0] = text.as_ptr().expose_provenance() as u64;
        attr[1] = pair(fd_field(fd), 0);
        bpf(OBJ_PIN, &mut attr)
    });
    attempt.map(drop).map_err(error)
}

/// Opens the object pinned at `path`.
pub(crate) fn open_pin(path: &Path) -> Result<OwnedFd, KernelError> {
    let error = KernelError::io(format!("opening {}", path.display()));
    let text = path_text(path);
    let attempt = text.and_then(|text| {
        let mut attr = Attr::default();
        attr[0] = text.as_ptr().expose_provenance() as u64;
        bpf(OBJ_GET, &mut attr)
    });
    attempt.map(owned).map_err(error)
}

/// A file descriptor that a call has just made.
fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: the kernel has just made `fd` for us, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Attaches a program to an interface; `flags` are `XDP_FLAGS_*`.
pub(crate) fn attach(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::default();
    attr[0] = pair(fd_field(program), ifindex);
    attr[1] = pair(ATTACH_XDP, flags);
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// Puts another program under a link, between two packets.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attr::default();
    attr[0] = pair(fd_field(link), fd_field(program));
    bpf(LINK_UPDATE, &mut attr).map(drop)
}

/// Facts of an XDP link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkFacts {
    pub(crate) id: u32,
    pub(crate) program: u32,
    /// 0 where the interface is gone.
    pub(crate) ifindex: u32,
}

/// Reads the facts of an XDP link: the front of `struct bpf_link_info`.
pub(crate) fn link_facts(link: BorrowedFd<'_>) -> io::Result<LinkFacts> {
    // type, id, prog_id, padding; then for XDP: ifindex.
    let mut info = [0u32; 8];
    let length = u32::try_from(size_of_val(&info)).unwrap_or(0);
    let mut attr = Attr::default();
    attr[0] = pair(fd_field(link), length);
    attr[1] = info.as_mut_ptr().expose_provenance() as u64;
    bpf(OBJ_GET_INFO, &mut attr)?;
    Ok(LinkFacts {
        id: info[1],
        program: info[2],
        ifindex: info[4],
    })
}

/// What a test run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestRun {
    pub(crate) result: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) nanoseconds: u32,
}

/// Runs a program on a frame, `repeat` times.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: Option<&[u8]>,
    repeat: u32,
    room: usize,
) -> io::Result<TestRun> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_beyond| io::ErrorKind::InvalidInput);
    let mut out = vec![0u8; frame.len() + room];
    let mut attr = Attr::default();
    attr[0] = pair(fd_field(program), 0);
    attr[1] = pair(length(frame.len())?, length(out.len())?);
    attr[2] = frame.as_ptr().expose_provenance() as u64;
    attr[3] = out.as_mut_ptr().expose_provenance() as u64;
    attr[4] = pair(repeat, 0);
    if let Some(context) = context {
        attr[5] = pair(length(context.len())?, 0);
        attr[6] = context.as_ptr().expose_provenance() as u64;
    }
    bpf(PROG_TEST_RUN, &mut attr)?;
    let high = |word: u64| u32::try_from(word >> 32).unwrap_or(0);
    out.truncate(high(attr[1]) as usize);
    Ok(TestRun {
        result: high(attr[0]),
        frame: out,
        nanoseconds: high(attr[4]),
    })
}
