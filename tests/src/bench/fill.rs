//! Time and memory of filling the maps: a cold load, and a delta.

use anyhow::Result;
use filter_user::kernel::Seed;
use filter_user::kernel::apply::{Grace, apply};
use filter_user::kernel::read::memory;
use serde::Serialize;

use super::Load;
use super::rig::Rig;
use super::state::desired;

/// What filling took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filling {
    /// `cold_load` or `delta`.
    pub measure: &'static str,
    /// Entries that were added, changed and removed.
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
    applied: filter_user::kernel::Applied,
    load: Load,
) -> Filling {
    let subjects = applied.subjects;
    Filling {
        measure,
        entries: subjects.added + subjects.changed + subjects.removed,
        milliseconds: applied.duration.as_secs_f64() * 1e3,
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
    filling("cold_load", rig, rig.applied, load)
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
    Ok(filling("delta", rig, applied, load))
}
