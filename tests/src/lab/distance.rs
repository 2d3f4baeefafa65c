//! Distance: what the internet sends to the customers arrives later, by as much as is set.
//!
//! Two TUN devices stand beside the internet's cable: the internet's routes to the customers lead into
//! one of them, and what comes out there is put, after its time, into the other, at the edge. Kernels
//! without the network emulator can do this too.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::namespace::Namespace;
use super::topology::Topology;

/// Where the internet's packets go in.
const NEAR: &str = "far0";
/// Where they come out at the edge.
const FAR: &str = "far1";
/// Addresses of customers: all of IPv4, the school's of IPv6.
const CUSTOMERS: [&str; 2] = ["192.0.2.0/24", "2001:db8:100::/48"];
/// Longest packet of the devices.
const PACKET_MAX: usize = 2048;
/// How long the end may take, and the longest wait for a packet.
const TURN: Duration = Duration::from_millis(100);

/// The distance of the internet from the customers; on drop it is near again.
#[derive(Debug)]
pub struct Distance {
    microseconds: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Distance {
    /// Lays the detour, at first without a delay.
    ///
    /// # Errors
    /// The kernel has no TUN devices, or this process has not the right to make them.
    pub fn new(topology: &Topology) -> anyhow::Result<Distance> {
        let entry = device(&topology.internet, NEAR)?;
        let exit = device(&topology.edge, FAR)?;
        for customers in CUSTOMERS {
            topology
                .internet
                .ip(&format!("route add {customers} dev {NEAR}"))?;
        }
        let microseconds = Arc::new(AtomicU64::new(0));
        let ending = Arc::new(AtomicBool::new(false));
        let (delay, end) = (Arc::clone(&microseconds), Arc::clone(&ending));
        let thread = thread::Builder::new()
            .name("distance".into())
            .spawn(move || carry(entry, exit, &delay, &end))?;
        Ok(Distance {
            microseconds,
            ending,
            thread: Some(thread),
        })
    }

    /// Sets how much longer a round trip takes from now on.
    pub fn set(&self, round_trip: Duration) {
        let microseconds = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.store(microseconds, Ordering::Relaxed);
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been printed. The devices go with their files.
            let _ = thread.join();
        }
    }
}

/// A TUN device in a namespace, up, read and written as whole IP packets without waiting.
fn device(namespace: &Namespace, name: &str) -> anyhow::Result<File> {
    let file = namespace
        .enter(|| open(name))?
        .with_context(|| format!("making the TUN device {name}"))?;
    namespace.ip(&format!("link set {name} up"))?;
    Ok(file)
}

fn open(name: &str) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(15) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the request lives through the call, which reads and writes nothing else.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes packets from one device and puts each, after its time, into the other.
fn carry(mut entry: File, mut exit: File, delay: &AtomicU64, ending: &AtomicBool) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = [0; PACKET_MAX];
    while !ending.load(Ordering::Relaxed) {
        let now = Instant::now();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, packet)) = waiting.pop_front() {
                // What does not fit is lost, as on any line.
                let _ = exit.write(&packet);
            }
        }
        let next = waiting.front();
        wait(
            &entry,
            next.map_or(TURN, |(due, _)| due.saturating_duration_since(now)),
        );
        while let Ok(length) = entry.read(&mut buffer) {
            let delay = Duration::from_micros(delay.load(Ordering::Relaxed));
            let packet = buffer.get(..length).unwrap_or_default().to_vec();
            waiting.push_back((Instant::now() + delay, packet));
        }
    }
}

/// Waits until the device has a packet, but not longer than `limit`.
fn wait(device: &File, limit: Duration) {
    let limit = limit.min(TURN);
    let mut poll = libc::pollfd {
        fd: device.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let limit = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    // SAFETY: both structures live through the call, and no signal mask is given.
    unsafe { libc::ppoll(&raw mut poll, 1, &raw const limit, std::ptr::null()) };
}
