//! One frame through the program by `BPF_PROG_TEST_RUN`, and what the program made of it.

use std::os::fd::BorrowedFd;

use filter_common::abi::{Outcome, Scratch};

use super::error::KernelError;
use super::read::Outcomes;
use super::syscall;
use super::tables::Maps;

/// Longest frame that a test run takes: a page less the headroom and the tail room of a frame.
pub const FRAME_MAX: usize = 4096 - 256 - 320;
/// Shortest: an Ethernet header.
pub const FRAME_MIN: usize = 14;
/// Room behind the frame for what a reply may add.
const ROOM: usize = 256;

/// `XDP_DROP`.
pub const XDP_DROP: u32 = 1;
/// `XDP_PASS`.
pub const XDP_PASS: u32 = 2;
/// `XDP_TX`.
pub const XDP_TX: u32 = 3;

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `XDP_*`.
    pub result: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// Nanoseconds a run.
    pub nanoseconds: u32,
}

/// `struct xdp_md` for a run: where the frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Interface; it must exist in this network namespace.
    pub ifindex: u32,
    /// Its receive queue.
    pub queue: u32,
}

impl Ingress {
    /// The six fields of `struct xdp_md`; data, its end, its meta data, and the egress interface
    /// are for the kernel to fill, but the end must tell the length.
    fn context(self, frame: &[u8]) -> Vec<u8> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        [0, length, 0, self.ifindex, self.queue, 0]
            .iter()
            .flat_map(|field| field.to_ne_bytes())
            .collect()
    }
}

/// Runs `program` on `frame`, `repeat` times.
///
/// # Errors
/// If the kernel refuses: the frame is shorter than [`FRAME_MIN`] or longer than [`FRAME_MAX`].
pub fn run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ingress: Option<Ingress>,
    repeat: u32,
) -> Result<Run, KernelError> {
    let context = ingress.map(|ingress| ingress.context(frame));
    let run = syscall::test_run(program, frame, context.as_deref(), repeat, ROOM).map_err(
        KernelError::io(format!("running the program on {} bytes", frame.len())),
    )?;
    Ok(Run {
        result: run.result,
        frame: run.frame,
        nanoseconds: run.nanoseconds,
    })
}

/// Runs frames and reads what became of each. The calling thread stays on one processor.
pub struct Runner<'a> {
    program: BorrowedFd<'a>,
    outcomes: Outcomes,
    processor: usize,
}

impl<'a> Runner<'a> {
    /// A runner of `program` with its `maps`; ties the calling thread to the processor it is on.
    ///
    /// # Errors
    /// If the thread cannot be tied, or the map of outcomes cannot be opened.
    pub fn new(program: BorrowedFd<'a>, maps: &Maps) -> Result<Runner<'a>, KernelError> {
        let processor = stay_here()?;
        Ok(Runner {
            program,
            outcomes: Outcomes::open(maps)?,
            processor,
        })
    }

    /// Runs one frame once.
    ///
    /// # Errors
    /// As [`run`].
    pub fn frame(
        &mut self,
        frame: &[u8],
        ingress: Option<Ingress>,
    ) -> Result<(Run, Outcome), KernelError> {
        self.outcomes.clear()?;
        let run = run(self.program, frame, ingress, 1)?;
        Ok((run, self.outcomes.outcome(self.processor)?))
    }

    /// All the facts that the last run left.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn scratch(&self) -> Result<Option<Scratch>, KernelError> {
        self.outcomes.scratch(self.processor)
    }
}

/// Ties the calling thread to the processor it is on, and gives its number.
fn stay_here() -> Result<usize, KernelError> {
    // SAFETY: a call without arguments that touches no memory.
    let processor = unsafe { libc::sched_getcpu() };
    let processor = usize::try_from(processor)
        .map_err(|_negative| KernelError::last("asking for the processor"))?;
    // SAFETY: `cpu_set_t` is plain integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid set, and the processor we are on is below its size.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: `set` lives through the call and its size is told; 0 means the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result != 0 {
        return Err(KernelError::last("staying on one processor"));
    }
    Ok(processor)
}
