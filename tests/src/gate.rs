//! The real program in the running kernel, for tests: loads it, brings setups into its maps, runs
//! frames by `BPF_PROG_TEST_RUN`, reads back what became of them and which counters moved.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use filter_common::abi::{Outcome, drain_flags, without_drain};
use filter_common::limits::{NAME_PAD, REASONS};
use filter_common::name::org_id_key;
use filter_user::desired::{Desired, FlowSizes};
use filter_user::kernel::apply::{Grace, apply};
use filter_user::kernel::grants::monotonic_ns;
use filter_user::kernel::load::{MapSource, PROGRAM, Program, load};
use filter_user::kernel::quic::{Copies, watch};
use filter_user::kernel::read::{Counters, Outcomes};
use filter_user::kernel::run::{FRAME_MIN, XDP_PASS, run};
use filter_user::kernel::tables::Maps;
use filter_user::kernel::{OBJECT, Seed, Sizes, Tables};

use crate::cases::{Grant, QuicVerdict, Want};
use crate::lab::daemon::built;
use crate::setup::Setup;

/// Seed of the tests' keys. Any would do; a fixed one makes failures repeat.
pub const SEED: u64 = 0x5eed_0000_1234_5678;
/// Rows of organisations that the tests use at most, with row 0.
const ORGS: u32 = 64;
/// Flow tables of the size that the tables need: small, so that they are quickly emptied.
pub const SMALL: FlowSizes = FlowSizes {
    flows: 4_096,
    hellos: 1_024,
};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// `XDP_*`.
    pub result: u32,
    /// `None`: nobody's frame.
    pub outcome: Option<Outcome>,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// The name it completed, as in the frame or in the row.
    pub name: Vec<u8>,
}

/// Which counters stand where. Only those that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets by organisation number and reason.
    pub reasons: BTreeMap<(u32, u32), u64>,
    /// Blocked and warned packets by organisation number and category.
    pub categories: BTreeMap<(u32, u32), u64>,
    /// Blocked and warned packets by reason and category.
    pub reason_categories: BTreeMap<(u32, u32), u64>,
    /// Packets of nobody enrolled.
    pub untouched: u64,
}

impl Totals {
    /// Counts one frame as it must be counted.
    pub fn expect(&mut self, want: &Want, number: u32) {
        let Some(reason) = want.reason else {
            self.untouched += 1;
            return;
        };
        *self.reasons.entry((number, reason.number())).or_insert(0) += 1;
        if want.category < 64 {
            *self.categories.entry((number, want.category)).or_insert(0) += 1;
            let key = (reason.number(), want.category);
            *self.reason_categories.entry(key).or_insert(0) += 1;
        }
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Totals) -> Totals {
        let less = |now: &BTreeMap<(u32, u32), u64>, then: &BTreeMap<(u32, u32), u64>| {
            now.iter()
                .map(|(key, count)| (*key, count.wrapping_sub(*then.get(key).unwrap_or(&0))))
                .filter(|(_, count)| *count != 0)
                .collect()
        };
        Totals {
            reasons: less(&self.reasons, &before.reasons),
            categories: less(&self.categories, &before.categories),
            reason_categories: less(&self.reason_categories, &before.reason_categories),
            untouched: self.untouched.wrapping_sub(before.untouched),
        }
    }
}

/// The loaded program with its maps. It is attached to nothing.
pub struct Gate {
    program: Program,
    /// The maps, as this process sees them.
    pub tables: Tables,
    counters: Counters,
    outcomes: Outcomes,
    maps: Maps,
}

impl Gate {
    /// Loads the program with flow tables of this size; the calling thread stays on its processor,
    /// where the outcomes are read back from.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(flows: FlowSizes) -> Result<Gate> {
        Gate::with_object(OBJECT, flows)
    }

    /// The same with another program.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn with_object(object: &[u8], flows: FlowSizes) -> Result<Gate> {
        let room = Sizes::measure(
            &Desired {
                realms: 4,
                ..Desired::default()
            },
            flows,
        );
        let sizes = Sizes {
            orgs: ORGS,
            org4_page_words: 32 * 16_384,
            ..room
        };
        let sizes = Sizes {
            vlan_words: 2_048,
            ..sizes
        };
        let (program, maps) = load(object, PROGRAM, MapSource::New(&sizes))?;
        let tables = Tables::kernel(&maps)?;
        tables.initialise(Seed(SEED));
        stay_on_one_processor()?;
        Ok(Gate {
            program,
            tables,
            counters: Counters::open(&maps)?,
            outcomes: Outcomes::open(&maps)?,
            maps,
        })
    }

    /// The loaded program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The maps once more, for another thread to write to; nothing else may write to them then.
    ///
    /// # Errors
    /// If they cannot be mapped.
    pub fn second_tables(&self) -> Result<Tables> {
        Ok(Tables::kernel(&self.maps)?)
    }

    /// Brings a setup into the maps. Flow tables stay as they are.
    ///
    /// # Errors
    /// If it does not fit, or the kernel refuses.
    pub fn apply(&mut self, setup: &Setup) -> Result<()> {
        self.apply_desired(&setup.desired(SEED))
    }

    /// Brings a state into the maps.
    ///
    /// # Errors
    /// If it does not fit, or the kernel refuses.
    pub fn apply_desired(&mut self, desired: &Desired) -> Result<()> {
        apply(
            &self.tables,
            None,
            desired,
            Seed(SEED),
            Grace::None,
            &|_numbers| Ok(()),
        )?;
        Ok(())
    }

    /// Makes the program hold whatever would change a flow, as a hand-over does that started this
    /// many nanoseconds ago.
    pub fn set_drain(&self, age_ns: Option<u64>) {
        let mut control = self.tables.control_row();
        let start = |age_ns| monotonic_ns().saturating_sub(age_ns);
        control.flags = without_drain(control.flags);
        control.flags |= age_ns.map_or(0, |age_ns| drain_flags(start(age_ns)));
        self.tables.set_control(control);
    }

    /// Puts these grants in place of those that stand.
    pub fn set_grants(&self, grants: &[Grant]) {
        self.tables.grants.clear();
        for grant in grants {
            self.tables.grants.add(grant.key(SEED), grant.until_ns);
        }
    }

    /// Puts these verdicts on QUIC flows in place of those that stand, and somebody who reads copies, or
    /// nobody.
    pub fn set_quic(&self, flows: &[QuicVerdict], read: bool) {
        self.tables.quic_flows.clear();
        for flow in flows {
            let verdict = filter_user::kernel::quic::QuicVerdict {
                reason: flow.reason.number(),
                category: flow.category,
                entry: flow.entry,
            };
            let born = monotonic_ns().wrapping_sub(flow.age_ns());
            self.tables.quic_flows.set(flow.key(SEED), verdict, born);
        }
        let until = if read { u64::MAX } else { 0 };
        watch(&self.tables.quic_watch, until, u32::MAX);
    }

    /// The copies that the program hands over.
    ///
    /// # Errors
    /// If the ring cannot be mapped.
    pub fn copies(&self) -> Result<Copies> {
        Ok(Copies::open(&self.maps)?)
    }

    /// Number of a school by its id.
    #[must_use]
    pub fn number(&self, id: &str) -> Option<u32> {
        let key = org_id_key(SEED, id.as_bytes());
        (1..self.tables.orgs.rows()).find(|row| {
            self.tables
                .orgs
                .get(*row)
                .is_some_and(|org| org.id_key == key)
        })
    }

    /// Runs a frame and reads back what became of it.
    ///
    /// # Errors
    /// If the kernel refuses the frame.
    pub fn run(&mut self, frame: &[u8]) -> Result<Ran> {
        self.outcomes.clear()?;
        let ran = run(self.program.fd(), frame, None, 1)?;
        let outcome = self.outcome()?;
        let name = outcome
            .map(|outcome| self.name(frame, &outcome))
            .unwrap_or_default();
        Ok(Ran {
            result: ran.result,
            outcome,
            frame: ran.frame,
            name,
        })
    }

    /// Runs a frame; whether it passes. The quick way, for hundreds of thousands of frames.
    ///
    /// # Errors
    /// If the kernel refuses the frame.
    pub fn passes(&self, frame: &[u8]) -> Result<bool> {
        Ok(run(self.program.fd(), frame, None, 1)?.result == XDP_PASS)
    }

    /// What the last frame left, on this processor.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn outcome(&self) -> Result<Option<Outcome>> {
        let outcome = self.outcomes.outcome(processor()?)?;
        Ok((outcome.reason != 0).then_some(outcome))
    }

    fn name(&self, frame: &[u8], outcome: &Outcome) -> Vec<u8> {
        let (at, len) = (outcome.name_at as usize, outcome.name_len as usize);
        if at != 0 {
            return crate::dns::name_in_frame(frame, at, len);
        }
        let row = outcome
            .name_row
            .checked_sub(1)
            .and_then(|row| self.tables.hellos.get(row));
        let name = row.map(|row| {
            row.name
                .get(NAME_PAD..NAME_PAD + len)
                .unwrap_or_default()
                .to_vec()
        });
        name.unwrap_or_default()
    }

    /// All counters.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn totals(&self) -> Result<Totals> {
        let mut totals = Totals {
            untouched: self.counters.untouched()?,
            ..Totals::default()
        };
        for number in 0..ORGS {
            note(
                &mut totals.reasons,
                number,
                &self.counters.organisation(number)?,
            );
            let categories = self
                .tables
                .category_counters
                .get(number)
                .context("a row of categories")?;
            note(&mut totals.categories, number, &categories.packets);
        }
        for reason in (0u32..).take(REASONS) {
            let row = self.counters.reason_categories(reason)?;
            note(&mut totals.reason_categories, reason, &row);
        }
        Ok(totals)
    }
}

fn note(to: &mut BTreeMap<(u32, u32), u64>, row: u32, counts: &[u64]) {
    let numbered = (0u32..).zip(counts).filter(|(_, count)| **count != 0);
    to.extend(numbered.map(|(at, count)| ((row, at), *count)));
}

/// The processor that the calling thread is on.
fn processor() -> Result<usize> {
    // SAFETY: a call without arguments that touches no memory.
    let processor = unsafe { libc::sched_getcpu() };
    usize::try_from(processor).context("no processor")
}

fn stay_on_one_processor() -> Result<()> {
    stay_on(processor()?)
}

/// Ties the calling thread to a processor.
///
/// # Errors
/// If there is no such processor.
pub fn stay_on(processor: usize) -> Result<()> {
    // SAFETY: `cpu_set_t` is plain integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid set; a processor beyond its size is a panic in `CPU_SET`, not a write.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: `set` lives through the call and its size is told; 0 means the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    anyhow::ensure!(
        result == 0,
        "no processor {processor}: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// The program with diagnostics: `SCHOOLGATE_XDP_OBJECT_DIAGNOSTICS`, or what `cargo xtask build
/// --diagnostics` leaves.
#[must_use]
pub fn diagnostics_object() -> Option<Vec<u8>> {
    let named = std::env::var_os("SCHOOLGATE_XDP_OBJECT_DIAGNOSTICS").map(PathBuf::from);
    let path = named.or_else(|| built("diagnostics/schoolgate-xdp"))?;
    std::fs::read(path).ok()
}

/// How many random cases a test runs where it would run `count`: all of them, or the share that
/// `SCHOOLGATE_TEST_SCALE` tells (virtual machines without hardware help are slow), at least one.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rounded share of a small number"
)]
pub fn scaled(count: usize) -> usize {
    let share = std::env::var("SCHOOLGATE_TEST_SCALE")
        .ok()
        .and_then(|text| text.parse().ok());
    let share: f64 = share.unwrap_or(1.0);
    ((count as f64 * share) as usize).max(1)
}

/// Whether a frame is one that a test run takes.
#[must_use]
pub fn runs(frame: &[u8]) -> bool {
    (FRAME_MIN..=filter_user::kernel::run::FRAME_MAX).contains(&frame.len())
}
