//! What `ip` cannot say about a device: offloads, and the empty XDP program that a veth end needs
//! before the other end can answer with `XDP_TX`.

use std::ffi::{CString, c_long};
use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::Context as _;

use super::namespace::Namespace;

const ETHTOOL_STXCSUM: u32 = 0x17;
const BPF_PROG_LOAD: c_long = 5;
const BPF_LINK_CREATE: c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// Number of an interface in the namespace.
///
/// # Errors
/// There is no such interface.
pub fn index(namespace: &Namespace, interface: &str) -> anyhow::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: the name is a C string that lives through the call.
    let number = namespace.enter(|| unsafe { libc::if_nametoindex(name.as_ptr()) })?;
    anyhow::ensure!(
        number != 0,
        "no interface {interface} in {}",
        namespace.name()
    );
    Ok(number)
}

/// Makes the sender compute checksums itself, so that frames on the link carry what a cable would.
///
/// # Errors
/// The device has no such switch.
pub fn transmit_checksums_in_software(
    namespace: &Namespace,
    interface: &str,
) -> anyhow::Result<()> {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    namespace
        .enter(|| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            let mut value = EthtoolValue {
                command: ETHTOOL_STXCSUM,
                data: 0,
            };
            // SAFETY: all-zero bytes are a valid ifreq.
            let mut request: libc::ifreq = unsafe { mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()).take(15) {
                *to = from.cast_signed();
            }
            request.ifr_ifru.ifru_data = (&raw mut value).cast();
            // SAFETY: the request and the value it points to live through the call.
            match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })?
        .with_context(|| format!("switching off transmit checksums of {interface}"))
}

/// Attaches an XDP program that passes everything, in driver mode. It stays while the value lives.
///
/// # Errors
/// The kernel refuses the program or the attachment.
pub fn attach_pass(namespace: &Namespace, interface: &str) -> anyhow::Result<OwnedFd> {
    let number = index(namespace, interface)?;
    let program = load_pass().context("loading the program that passes everything")?;
    namespace
        .enter(|| link_create(&program, number))?
        .with_context(|| format!("attaching to {interface}"))
}

fn load_pass() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
    }
    let load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: PASS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    bpf(BPF_PROG_LOAD, &load)
}

fn link_create(program: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    let create = Create {
        program: program.as_raw_fd().cast_unsigned(),
        target: interface,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    bpf(BPF_LINK_CREATE, &create)
}

/// The system call, for commands that return a descriptor.
fn bpf<T>(command: c_long, attributes: &T) -> io::Result<OwnedFd> {
    let size = mem::size_of::<T>();
    // SAFETY: `T` is the prefix of `union bpf_attr` that `command` reads, `size` is its length,
    // and everything it points to is static.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size) };
    match i32::try_from(result) {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
