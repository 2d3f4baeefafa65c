//! Time and memory of filling the maps: a cold load, a delta, and the comparison with what they shall hold.

use std::time::{Duration, Instant};

use anyhow::Result;
use filter_user::kernel::Seed;
use filter_user::kernel::apply::{Applied, Grace, apply};
use filter_user::kernel::gauge::measure;
use filter_user::kernel::read::memory;
use serde::Serialize;

use super::Load;
use super::rig::Rig;
use super::state::desired;

/// What filling took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filling {
    /// `cold_load`, `delta` or `gauge`.
    pub measure: &'static str,
    /// Entries that were added, changed and removed, or compared.
    pub entries: usize,
    /// Milliseconds.
    pub milliseconds: f64,
    /// Kernel memory of all maps, in MiB.
    pub kernel_mib: u64,
    /// Memory of this process with the desired state in it, in MiB.
    pub process_mib: u64,
    /// Names on the lists.
    pub domains: u32,
    /// Addresses on the lists.
    pub addresses: u32,
    /// Enrolled organisations.
    pub orgs: u32,
}

/// Resident memory of this process.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn filling(
    measure: &'static str,
    rig: &Rig,
    entries: usize,
    took: Duration,
    load: Load,
) -> Filling {
    Filling {
        measure,
        entries,
        milliseconds: took.as_secs_f64() * 1e3,
        kernel_mib: memory(&rig.maps) >> 20,
        process_mib: resident_mib(),
        domains: load.domains,
        addresses: load.addresses,
        orgs: load.orgs,
    }
}

/// The cold load that made the rig.
#[must_use]
pub fn cold(rig: &Rig, load: Load) -> Filling {
    filling(
        "cold_load",
        rig,
        touched(rig.applied),
        rig.applied.duration,
        load,
    )
}

/// A delta of 3,000 entries: half of them go, half of them come.
///
/// # Errors
/// If it cannot be applied.
pub fn delta(rig: &Rig, seed: Seed, load: Load) -> Result<Filling> {
    // What the daemon knows of the maps: the state that it applied last.
    let before = desired(seed.0, load, 0, 0);
    let next = desired(seed.0, load, 1, 1500);
    let applied = apply(
        &rig.tables,
        Some(&before),
        &next,
        seed,
        Grace::Live,
        &|_numbers| Ok(()),
    )?;
    Ok(filling(
        "delta",
        rig,
        touched(applied),
        applied.duration,
        load,
    ))
}

/// Names and addresses that an application wrote.
fn touched(applied: Applied) -> usize {
    let subjects = applied.subjects;
    subjects.added + subjects.changed + subjects.removed
}

/// The comparison of all maps with the state of the cold load.
///
/// # Errors
/// The maps cannot be read, or differ.
pub fn gauge(rig: &Rig, seed: Seed, load: Load) -> Result<Filling> {
    let state = desired(seed.0, load, 0, 0);
    let started = Instant::now();
    let gauge = measure(&rig.tables, &state, seed)?;
    let took = started.elapsed();
    anyhow::ensure!(gauge.is_exact(), "the maps differ: {gauge:?}");
    let entries = usize::try_from(gauge.expected)?;
    Ok(filling("gauge", rig, entries, took, load))
}
