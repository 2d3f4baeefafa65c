//! How long the verdict on a QUIC name takes: from the packet that completes it, in the program, to the
//! verdict in the map, at ten thousand new connections a second, each with its hello in two datagrams.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use filter_user::config::Quic;
use filter_user::desired::FlowSizes;
use filter_user::inspect::Inspector;
use filter_user::inspect::copy::Copy;
use filter_user::kernel::grants::monotonic_ns;
use filter_user::kernel::quic::{Copies, watch};
use filter_user::kernel::run::run;
use filter_user::kernel::{Generation, OBJECT, Seed};
use serde::Serialize;

use crate::cases;
use crate::frames::Path;
use crate::quic::{Sender, client_hello};

/// New connections in a second.
const RATE: u32 = 10_000;
/// Connections in all.
const COUNT: u32 = 30_000;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdicts {
    /// `quic_verdict`.
    pub measure: &'static str,
    /// New connections in a second, as they came.
    pub connections_per_second: u32,
    /// Microseconds in the middle.
    pub median_us: u64,
    /// Microseconds that 99 of 100 do not exceed.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub longest_us: u64,
    /// Connections without a verdict, of all.
    pub without: u32,
}

/// The two datagrams of a connection.
fn connection(number: u32, stream: &[u8]) -> Vec<Vec<u8>> {
    let path = Path {
        sport: u16::try_from(1_024 + number % 60_000).unwrap_or(0),
        ..Path::default()
    };
    let sender = Sender {
        to: [&number.to_be_bytes()[..], &[0xd1; 4]].concat(),
        ..Sender::default()
    };
    let half = stream.len() / 2;
    let parts = [vec![half..stream.len(), 0..9], vec![9..half, 0..9]];
    let datagrams = sender.hello(stream, &parts);
    datagrams.iter().map(|bytes| path.udp(bytes)).collect()
}

/// Measures.
///
/// # Errors
/// If the kernel refuses the program or a frame.
pub fn measure() -> Result<Verdicts> {
    let seed = Seed(0x5eed_0123_4567_89ab);
    let setup = cases::world_with(|school| school.quic = Quic::Inspect);
    let (generation, _) =
        Generation::filled(OBJECT, &setup.desired(seed.0), FlowSizes::default(), seed)?;
    watch(&generation.tables().quic_watch, u64::MAX, u32::MAX);
    let stream = client_hello("www.fine.example");
    let connections: Vec<_> = (0..COUNT)
        .map(|number| connection(number, &stream))
        .collect();
    let copies = Copies::open(generation.maps())?;
    let ended = AtomicBool::new(false);
    let (mut times, seconds) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(&generation, copies, &ended));
        let sent = send(&generation, &connections);
        ended.store(true, Ordering::Relaxed);
        let times = reader.join().unwrap_or_default();
        sent.map(|seconds| (times, seconds))
    })?;
    times.sort_unstable();
    ensure!(!times.is_empty(), "no verdict came");
    let at = |percent: usize| {
        let place = (times.len() * percent / 100).min(times.len() - 1);
        times.get(place).copied().unwrap_or(0) / 1_000
    };
    Ok(Verdicts {
        measure: "quic_verdict",
        connections_per_second: rate(seconds),
        median_us: at(50),
        p99_us: at(99),
        longest_us: at(100),
        without: COUNT - u32::try_from(times.len()).unwrap_or(COUNT).min(COUNT),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded rate, far below the type's end"
)]
fn rate(seconds: f64) -> u32 {
    (f64::from(COUNT) / seconds) as u32
}

/// Runs all frames at the rate; gives the seconds that it took.
fn send(generation: &Generation, connections: &[Vec<Vec<u8>>]) -> Result<f64> {
    let begun = Instant::now();
    for (number, frames) in (0u32..).zip(connections) {
        let due = Duration::from_secs(1) * number / RATE;
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            thread::sleep(early);
        }
        for frame in frames {
            run(generation.program().fd(), frame, None, 1)?;
        }
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Reads as the daemon does; gives the nanoseconds of each verdict.
fn read(generation: &Generation, mut copies: Copies, ended: &AtomicBool) -> Vec<u64> {
    let (mut inspector, mut times) = (Inspector::new(), Vec::new());
    loop {
        let last = ended.load(Ordering::Relaxed);
        copies.wait(Duration::from_millis(50));
        while copies.next(|record| {
            let now = monotonic_ns();
            if let Some(copy) = Copy::read(record)
                && inspector.read(&copy, generation.tables(), now).is_some()
            {
                times.push(monotonic_ns().saturating_sub(copy.at_ns));
            }
        }) {}
        if last {
            return times;
        }
    }
}
