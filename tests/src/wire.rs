//! A raw TCP client on a real link: its frames go by AF_PACKET through a veth, at whose far end the
//! program is attached in driver mode, to a stock TCP stack and a stock TLS server.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::frame_reader::{Segment, read};
use crate::frames::{ACK, Path, SYN};
use crate::lab::namespace::Namespace;
use crate::lab::device;

/// A socket that sends and receives whole frames on one interface.
#[derive(Debug)]
pub struct Wire(OwnedFd);

impl Wire {
    /// Opens it on an interface of a namespace.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Wire> {
        let index = i32::try_from(device::index(namespace, interface)?)?;
        namespace.enter(|| bind(index))?.map(Wire).context("opening a packet socket")
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the frame's bytes live through the call and its length is told.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame, if one comes in this time.
    #[must_use]
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let mut waits = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one `pollfd` lives through the call.
        if unsafe { libc::poll(&raw mut waits, 1, milliseconds) } <= 0 {
            return None;
        }
        let mut frame = vec![0u8; 4_096];
        // SAFETY: the buffer lives through the call and its length is told.
        let got = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        frame.truncate(usize::try_from(got).ok()?);
        Some(frame)
    }
}

fn bind(index: i32) -> io::Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(3).to_be();
    // SAFETY: `socket` takes numbers only; the descriptor it gives is ours alone.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `sockaddr_ll` is plain integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(17);
    address.sll_protocol = protocol;
    address.sll_ifindex = index;
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    // SAFETY: the address lives through the call and its size is told.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// Attaches a loaded program in driver mode. It stays while the value lives.
///
/// # Errors
/// If the kernel refuses.
pub fn attach(program: BorrowedFd<'_>, namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_XDP: u32 = 37;
    const DRIVER_MODE: u32 = 1 << 2;
    let index = device::index(namespace, interface)?;
    let create = [program.as_raw_fd().cast_unsigned(), index, BPF_XDP, DRIVER_MODE];
    let link = namespace.enter(|| {
        // SAFETY: the attributes are the first fields of `union bpf_attr` that this command reads,
        // live through the call, and their size is told.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, create.as_ptr(), size_of_val(&create)) };
        match i32::try_from(fd) {
            // SAFETY: the kernel has just given this descriptor to us alone.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    })?;
    link.with_context(|| format!("attaching to {interface}"))
}

/// A TCP connection of the raw client.
#[derive(Debug)]
pub struct Connection<'a> {
    wire: &'a Wire,
    /// Addresses, ports and what the next segment acknowledges.
    pub path: Path,
    /// Sequence number of the stream's first byte.
    pub first: u32,
}

impl<'a> Connection<'a> {
    /// Shakes hands with the server.
    ///
    /// # Errors
    /// If no SYN-ACK comes.
    pub fn open(wire: &'a Wire, path: Path, first: u32) -> Result<Connection<'a>> {
        let mut connection = Connection { wire, path, first };
        for _ in 0..5 {
            wire.send(&connection.path.syn(first))?;
            let answer = connection.wait(Duration::from_secs(1), |seen| {
                seen.flags & (SYN | ACK) == SYN | ACK && seen.ack == first
            });
            if let Some(answer) = answer {
                connection.path.ack = answer.seq.wrapping_add(1);
                wire.send(&connection.path.tcp(first, ACK, &[]))?;
                return Ok(connection);
            }
        }
        anyhow::bail!("no answer to the SYN of port {}", connection.path.sport)
    }

    /// Sends bytes that stand at `offset` of the stream.
    ///
    /// # Errors
    /// If the kernel refuses the frame.
    pub fn data(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let seq = self.first.wrapping_add(u32::try_from(offset)?);
        Ok(self.wire.send(&self.path.data(seq, bytes))?)
    }

    /// The first segment from the server for which `wanted` holds.
    pub fn wait(&self, patience: Duration, wanted: impl Fn(&Segment) -> bool) -> Option<Segment> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let Some(frame) = self.wire.receive(left) else { continue };
            let Ok(seen) = read(&frame) else { continue };
            let Ok(segment) = seen.segment_unchecked() else { continue };
            let ours = (seen.source, segment.sport, segment.dport)
                == (self.path.destination, self.path.dport, self.path.sport);
            if ours && wanted(&segment) {
                return Some(segment);
            }
        }
        None
    }
}

/// A link between the raw client's namespace and the server's.
#[derive(Debug)]
pub struct Link {
    /// Where the raw client sends from; its own stack has no address there.
    pub client: Namespace,
    /// Where the server is; the program is attached to its end, `edge`.
    pub server: Namespace,
}

/// Addresses of the raw client and of the server.
pub const CLIENTS: [&str; 2] = ["10.0.0.5", "fd01::5"];
/// Addresses of the server.
pub const SERVERS: [&str; 2] = ["10.0.9.1", "fd09::1"];

impl Link {
    /// Makes both namespaces and the link, with the neighbour entries that no stack would answer for.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn new() -> Result<Link> {
        let (client, server) = (Namespace::new("raw")?, Namespace::new("tls")?);
        client.ip(&format!("link add out type veth peer name edge netns {}", server.name()))?;
        client.ip("link set out addrgenmode none address 02:00:00:00:00:02 up")?;
        server.ip("link set edge address 02:00:00:00:00:01 up")?;
        server.ip("addr add 10.0.9.1/32 dev edge")?;
        server.ip("addr add fd09::1/128 dev edge nodad")?;
        for (client, route) in CLIENTS.iter().zip(["10.0.0.0/24", "fd01::/64"]) {
            server.ip(&format!("route add {route} dev edge"))?;
            server.ip(&format!("neigh add {client} lladdr 02:00:00:00:00:02 dev edge nud permanent"))?;
        }
        device::transmit_checksums_in_software(&server, "edge")?;
        Ok(Link { client, server })
    }

    /// The raw client's path to the server, from this port.
    ///
    /// # Errors
    /// Never for the addresses above.
    pub fn path(six: bool, sport: u16, dport: u16) -> Result<Path> {
        let at = usize::from(six);
        let address = |list: [&str; 2]| -> Result<IpAddr> {
            Ok(list.get(at).context("an address")?.parse()?)
        };
        let path = Path { sport, dport, source: address(CLIENTS)?, destination: address(SERVERS)?, ..Path::default() };
        ensure!(path.source.is_ipv6() == six, "addresses of one family");
        Ok(path)
    }
}
