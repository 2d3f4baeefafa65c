//! Reads the names of QUIC for as long as the daemon lives: copies of first packets come from the program,
//! verdicts go into its map, and who is stopped is told at once, by the interface that the copy came from.
//!
//! The program is promised half a second at a time that somebody reads. A daemon that hangs or dies opens
//! nothing: without a verdict no connection is completed, and without a promise clients are turned to TCP.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use crate::inspect::copy::Copy;
use crate::inspect::{Inspector, answer};
use crate::kernel::grants::monotonic_ns;
use crate::kernel::quic::{Copies, watch};
use crate::kernel::{Generation, KernelError, Tables};
use crate::status::QuicStatus;

/// How long the program may rely on somebody who reads.
const PROMISE_NS: u64 = 500_000_000;
/// Time between two promises at most.
const BEAT: Duration = Duration::from_millis(50);
/// Nanoseconds from the packet to the verdict above which a verdict counts as late.
const LATE_NS: u64 = 1_000_000;

/// Where copies come from and verdicts go to.
struct Source {
    /// The kernel's number of the program that hands copies over.
    program: u32,
    tables: Tables,
    copies: Copies,
    /// Copies of one organisation in a second.
    limit: u32,
}

#[derive(Default)]
struct Shared {
    /// What to read from now on.
    next: Mutex<Option<Source>>,
    /// The program that is read.
    program: AtomicU64,
    running: AtomicBool,
    stop: AtomicBool,
    status: Mutex<QuicStatus>,
}

/// The thread that reads. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Reader(Arc<Shared>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads the copies of a generation from now on. Where that is not possible QUIC is turned to TCP, and
    /// the log tells why.
    pub(super) fn follow(&self, generation: &Generation, limit: u32) {
        let program = generation.facts().id;
        if self.0.program.load(Ordering::Relaxed) == u64::from(program) {
            return;
        }
        let started = open(generation, program, limit).map_err(|error| error.to_string());
        let started = started.and_then(|source| {
            self.start().map_err(|error| error.to_string())?;
            // The daemon is READY next: who comes before the thread first wakes is read as well.
            beat(&source, monotonic_ns() + PROMISE_NS);
            *lock(&self.0.next) = Some(source);
            Ok(())
        });
        match started {
            Ok(()) => self.0.program.store(u64::from(program), Ordering::Relaxed),
            Err(error) => warn!("the names of QUIC cannot be read, it is turned to TCP: {error}"),
        }
    }

    fn start(&self) -> io::Result<()> {
        if self.0.running.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let socket = packet_socket();
        let shared = Arc::clone(&self.0);
        let spawned = socket.and_then(|socket| {
            thread::Builder::new()
                .name("quic".to_owned())
                .spawn(move || read(&shared, &socket))
        });
        if spawned.is_err() {
            self.0.running.store(false, Ordering::Relaxed);
        }
        spawned.map(|_thread| info!("the names of QUIC are read"))
    }

    /// Ends the reading: from now on the program turns QUIC to TCP.
    pub(super) fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// What was done since the start; none: nothing is read.
    pub(super) fn status(&self) -> Option<QuicStatus> {
        let running = self.0.running.load(Ordering::Relaxed);
        running.then(|| lock(&self.0.status).clone())
    }
}

/// A panic elsewhere leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(generation: &Generation, program: u32, limit: u32) -> Result<Source, KernelError> {
    Ok(Source {
        program,
        tables: Tables::kernel(generation.maps())?,
        copies: Copies::open(generation.maps())?,
        limit,
    })
}

/// The thread's whole life.
fn read(shared: &Shared, socket: &OwnedFd) {
    let mut inspector = Inspector::new();
    let mut source: Option<Source> = None;
    let (mut late, mut urgency) = (0, Urgency::default());
    while !shared.stop.load(Ordering::Relaxed) {
        if let Some(next) = lock(&shared.next).take() {
            info!("program {} hands QUIC over", next.program);
            source = Some(next);
        }
        let Some(source) = &mut source else {
            thread::park_timeout(BEAT);
            continue;
        };
        beat(source, monotonic_ns() + PROMISE_NS);
        source.copies.wait(BEAT);
        let round = read_all(source, &mut inspector, socket);
        urgency.set(round.dry);
        late += round.late;
        let totals = inspector.totals();
        *lock(&shared.status) = QuicStatus {
            copies: totals.copies,
            names: totals.names,
            stopped: totals.stopped,
            crowded: totals.crowded,
            late,
            kept: inspector.kept() as u64,
        };
    }
    if let Some(source) = &source {
        beat(source, 0);
    }
}

fn beat(source: &Source, until_ns: u64) {
    watch(&source.tables.quic_watch, until_ns, source.limit);
}

/// What reading what is there came to.
struct Round {
    /// Verdicts that were late.
    late: u64,
    /// Whether nothing was left.
    dry: bool,
}

/// Reads what is there, for a beat at most.
fn read_all(source: &mut Source, inspector: &mut Inspector, socket: &OwnedFd) -> Round {
    let (mut late, mut now) = (0, monotonic_ns());
    let end = now + u64::try_from(BEAT.as_nanos()).unwrap_or(u64::MAX);
    let tables = &source.tables;
    while now < end {
        let one = source.copies.next(|record| {
            let Some(copy) = Copy::read(record) else {
                return;
            };
            let Some(finding) = inspector.read(&copy, tables, now) else {
                return;
            };
            if finding.is_answered() {
                let answers = [answer::frame(&copy), answer::unreachable(&copy)];
                for frame in answers.into_iter().flatten() {
                    send(socket, copy.ifindex, &frame);
                }
            }
            late += u64::from(monotonic_ns().saturating_sub(copy.at_ns) > LATE_NS);
        });
        if !one {
            return Round { late, dry: true };
        }
        now = monotonic_ns();
    }
    Round { late, dry: false }
}

/// How soon the thread runs when a copy comes. A verdict is worth most before the server's answer: the
/// thread goes before all that is not of real time (`sched(7)`), as the little that it does is done in
/// microseconds. Under a flood that it cannot read dry it is a thread like any other, and starves nobody.
#[derive(Debug, Default)]
struct Urgency {
    urgent: bool,
}

impl Urgency {
    fn set(&mut self, urgent: bool) {
        if self.urgent == urgent {
            return;
        }
        self.urgent = urgent;
        let (class, priority) = if urgent {
            (libc::SCHED_RR, 1)
        } else {
            (libc::SCHED_OTHER, 0)
        };
        let parameters = libc::sched_param {
            sched_priority: priority,
        };
        // SAFETY: the parameters live through the call, which is about the calling thread. Without the right
        // to (CAP_SYS_NICE) it stays a thread like any other, which is slower only.
        unsafe { libc::sched_setscheduler(0, class, &raw const parameters) };
    }
}

/// A socket that sends whole frames and receives none (`packet(7)`).
fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: a call without addresses; protocol 0 receives nothing.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(
            error.kind(),
            format!("{error}: answers need CAP_NET_RAW"),
        ));
    }
    // SAFETY: the socket was just made and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Sends a frame. One that is lost is made good: the verdict stands, and the client's next packet is
/// answered by the program.
fn send(socket: &OwnedFd, ifindex: u32, frame: &[u8]) {
    // SAFETY: `sockaddr_ll` is plain integers, for which zero is a value.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
    to.sll_ifindex = i32::try_from(ifindex).unwrap_or(0);
    let len = libc::socklen_t::try_from(size_of_val(&to)).unwrap_or(0);
    // SAFETY: the frame and the address live through the call and their lengths are told.
    unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw const to).cast(),
            len,
        )
    };
}
