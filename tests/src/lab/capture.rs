//! Everything that arrives at an interface, kept with its time.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::device;
use super::namespace::Namespace;

/// Room in the socket: many seconds of what the tests send.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;
/// Longest frame, also where the kernel has joined segments.
const FRAME_MAX: usize = 1 << 17;

/// `libc::ETH_P_ALL` and `libc::AF_PACKET` as the address holds them.
const ETH_P_ALL: u16 = 3;
const AF_PACKET: u16 = 17;

/// A frame that arrived.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it was read.
    pub at: Instant,
    /// From the Ethernet header on, without frame check sequence.
    pub bytes: Vec<u8>,
}

/// A running capture; ends on drop.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    socket: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures what arrives at `interface` from now on.
    ///
    /// # Errors
    /// There is no such interface, or this process has not the right to.
    pub fn start(namespace: &Namespace, interface: &str) -> anyhow::Result<Capture> {
        let number = device::index(namespace, interface)?;
        let socket = namespace
            .enter(|| open(number))?
            .context("opening a packet socket")?;
        let mut capture = Capture {
            frames: Arc::default(),
            stop: Arc::default(),
            socket: Arc::new(socket),
            thread: None,
        };
        let (frames, stop) = (Arc::clone(&capture.frames), Arc::clone(&capture.stop));
        let socket = Arc::clone(&capture.socket);
        let thread = thread::Builder::new()
            .name("capture".into())
            .spawn(move || read_frames(&socket, &frames, &stop))?;
        capture.thread = Some(thread);
        Ok(capture)
    }

    /// A copy of what has arrived so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Frames that the socket had no room for since the last call. A capture that lost any proves
    /// nothing.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn lost(&self) -> io::Result<u32> {
        // SAFETY: all-zero bytes are a valid tpacket_stats.
        let mut stats: libc::tpacket_stats = unsafe { mem::zeroed() };
        let mut size = length_of(&stats);
        // SAFETY: the buffer and its size live through the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut size,
            )
        };
        if result == 0 {
            Ok(stats.tp_drops)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, has been printed.
            let _ = thread.join();
        }
    }
}

fn read_frames(socket: &OwnedFd, frames: &Mutex<Vec<Frame>>, stop: &AtomicBool) {
    let mut buffer = vec![0; FRAME_MAX];
    while !stop.load(Ordering::Relaxed) {
        let Some(bytes) = receive(socket, &mut buffer) else {
            continue;
        };
        let frame = Frame {
            at: Instant::now(),
            bytes: bytes.to_vec(),
        };
        frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(frame);
    }
}

/// The next frame that arrived, or nothing where a while passed without one. Frames that were sent
/// here are left out.
fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut size = length_of(&from);
    // SAFETY: the buffer, the address and its size live through the call.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut from).cast(),
            &raw mut size,
        )
    };
    let length = usize::try_from(length).ok()?;
    if from.sll_pkttype == libc::PACKET_OUTGOING {
        None
    } else {
        buffer.get(..length)
    }
}

fn open(interface: u32) -> io::Result<OwnedFd> {
    let protocol = ETH_P_ALL.to_be();
    // SAFETY: socket takes three numbers.
    let descriptor = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol.into(),
        )
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    option(&socket, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
    let wake = libc::timeval {
        tv_sec: 0,
        tv_usec: 50_000,
    };
    option(&socket, libc::SO_RCVTIMEO, &wake)?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = protocol;
    address.sll_ifindex = interface.cast_signed();
    let size = length_of(&address);
    // SAFETY: the address lives through the call, and the size is its own.
    match unsafe { libc::bind(descriptor, (&raw const address).cast(), size) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "structures of a few dozen bytes"
)]
fn length_of<T>(value: &T) -> libc::socklen_t {
    mem::size_of_val(value) as libc::socklen_t
}

fn option<T>(socket: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    let size = length_of(value);
    // SAFETY: the value lives through the call, and the size is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_ref(value).cast(),
            size,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Polls until `enough` holds for the frames so far.
///
/// # Errors
/// It did not hold within `limit`; the message names `what`.
pub fn wait_for(
    capture: &Capture,
    what: &str,
    limit: Duration,
    enough: impl Fn(&[Frame]) -> bool,
) -> anyhow::Result<()> {
    super::wait::until_true(what, limit, || enough(&capture.frames()))
}
