//! The program loaded for replays, with maps of its own that one capture after another finds empty.

use filter_common::org::PAGE_WORDS;

use crate::desired::{Desired, FlowSizes};
use crate::kernel::error::KernelError;
use crate::kernel::quic::{self, Copies};
use crate::kernel::{Generation, Grace, OBJECT, Seed, Sizes};

/// IPv4 /16s that the sources of a capture may lie in: a page of 128 KiB for each, a gibibyte in all.
const PAGES_MAX: u32 = 8192;

/// A generation of its own, and the reader of what it copies.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) generation: Generation,
    /// Opened once: a reader begins at the ring's start, whoever read before.
    pub(super) copies: Copies,
    flows: FlowSizes,
}

impl Loaded {
    /// `before` emptied of all flows and filled with `desired`, or, where there is none or it does not
    /// fit, the program loaded anew.
    ///
    /// # Errors
    /// If `desired` is over a limit, or the kernel refuses the program or the maps.
    pub(super) fn again(
        before: Option<Loaded>,
        desired: &Desired,
        flows: FlowSizes,
        seed: Seed,
    ) -> Result<Loaded, KernelError> {
        let suits = |loaded: &Loaded| loaded.flows == flows && loaded.generation.seed() == seed;
        if let Some(loaded) = before.filter(suits) {
            let tables = loaded.generation.tables();
            tables.forget_flows();
            tables.quic_flows.clear();
            match loaded.generation.apply(None, desired, Grace::None) {
                Err(KernelError::NeedsNewGeneration(_)) => {}
                applied => return applied.map(|_changes| loaded),
            }
        }
        Loaded::new(desired, flows, seed)
    }

    /// Loads the program, with room for more pages than a live generation may have.
    fn new(desired: &Desired, flows: FlowSizes, seed: Seed) -> Result<Loaded, KernelError> {
        let sizes = Sizes::measure(desired, flows);
        let pages = sizes.org4_page_words / PAGE_WORDS;
        if pages > PAGES_MAX {
            return Err(KernelError::OverLimit {
                what: "IPv4 /16s with organisations",
                wanted: u64::from(pages),
                limit: u64::from(PAGES_MAX),
            });
        }
        let generation = Generation::new(OBJECT, &sizes, seed)?;
        generation.apply(None, desired, Grace::None)?;
        // Whoever reads the copies is here, in line, for as long as the capture lasts.
        quic::watch(&generation.tables().quic_watch, u64::MAX, u32::MAX);
        Ok(Loaded {
            copies: Copies::open(generation.maps())?,
            generation,
            flows,
        })
    }
}
