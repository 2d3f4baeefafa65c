//! Reading back: counters, fill levels and memory.

use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use filter_common::abi::{CategoryCounters, OrgCounters, Outcome, Scratch};
use filter_common::limits::{CATEGORIES, REASONS};

use super::Tables;
use super::error::KernelError;
use super::tables::{Maps, map_of};

/// Packets by reason number.
pub type ByReason = [u64; REASONS];
/// Packets by category number.
pub type ByCategory = [u64; CATEGORIES];

/// The per-processor counters of a set of maps.
pub struct Counters {
    by_org: PerCpuArray<MapData, OrgCounters>,
    by_reason_category: PerCpuArray<MapData, CategoryCounters>,
    untouched: PerCpuArray<MapData, u64>,
}

impl Counters {
    /// Those of `maps`.
    ///
    /// # Errors
    /// If one is missing or of another shape.
    pub fn open(maps: &Maps) -> Result<Counters, KernelError> {
        Ok(Counters {
            by_org: per_cpu(maps, "COUNTERS")?,
            by_reason_category: per_cpu(maps, "REASON_CATEGORIES")?,
            untouched: per_cpu(maps, "UNTOUCHED")?,
        })
    }

    /// Packets of an organisation by reason, all processors together.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn organisation(&self, number: u32) -> Result<ByReason, KernelError> {
        let rows = self
            .by_org
            .get(&number, 0)
            .map_err(KernelError::bpf("reading counters"))?;
        Ok(sum(rows.iter().map(|row| row.packets)))
    }

    /// Blocked and warned packets of a reason by category, all organisations together.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn reason_categories(&self, reason: u32) -> Result<ByCategory, KernelError> {
        let rows = self.by_reason_category.get(&reason, 0);
        let rows = rows.map_err(KernelError::bpf("reading counters"))?;
        Ok(sum(rows.iter().map(|row| row.packets)))
    }

    /// Packets of nobody enrolled.
    ///
    /// # Errors
    /// If the counter cannot be read.
    pub fn untouched(&self) -> Result<u64, KernelError> {
        let rows = self
            .untouched
            .get(&0, 0)
            .map_err(KernelError::bpf("reading counters"))?;
        Ok(rows.iter().fold(0, |sum: u64, row| sum.wrapping_add(*row)))
    }

    /// Zeroes the counters of organisation numbers that become free.
    ///
    /// # Errors
    /// If a row cannot be written.
    pub fn forget(&mut self, numbers: &[u32]) -> Result<(), KernelError> {
        for number in numbers {
            self.set(*number, [0; REASONS])?;
        }
        Ok(())
    }

    /// Sets the counters of an organisation: all of it on the first processor.
    fn set(&mut self, number: u32, packets: ByReason) -> Result<(), KernelError> {
        let zero = OrgCounters {
            packets: [0; REASONS],
        };
        let rows = on_first_processor(OrgCounters { packets }, zero)?;
        self.by_org
            .set(number, rows, 0)
            .map_err(KernelError::bpf("writing counters"))
    }

    /// Takes over the totals of an older set of counters: organisation `from.0` there is `from.1`
    /// here; reasons and categories have the same numbers in both. Packets counted between the reading and the switch of programs are lost to the totals.
    ///
    /// # Errors
    /// If a row cannot be read or written.
    pub fn take_over(&mut self, old: &Counters, numbers: &[(u32, u32)]) -> Result<(), KernelError> {
        for (from, to) in numbers {
            let packets = old.organisation(*from)?;
            if packets.iter().any(|count| *count != 0) {
                self.set(*to, packets)?;
            }
        }
        for reason in (0u32..).take(REASONS) {
            let packets = old.reason_categories(reason)?;
            if packets.iter().any(|count| *count != 0) {
                let zero = CategoryCounters {
                    packets: [0; CATEGORIES],
                };
                let rows = on_first_processor(CategoryCounters { packets }, zero)?;
                self.by_reason_category
                    .set(reason, rows, 0)
                    .map_err(KernelError::bpf("writing counters"))?;
            }
        }
        let rows = on_first_processor(old.untouched()?, 0)?;
        self.untouched
            .set(0, rows, 0)
            .map_err(KernelError::bpf("writing counters"))
    }
}

/// A row of a per-processor map that the first processor has all of, and the others nothing.
fn on_first_processor<T: aya::Pod>(row: T, zero: T) -> Result<PerCpuValues<T>, KernelError> {
    let mut rows = vec![zero; processors()?];
    if let Some(first) = rows.first_mut() {
        *first = row;
    }
    PerCpuValues::try_from(rows).map_err(KernelError::io("counting processors"))
}

/// Processors that per-processor maps have room for.
fn processors() -> Result<usize, KernelError> {
    aya::util::nr_cpus().map_err(|(file, error)| KernelError::io(format!("reading {file}"))(error))
}

fn sum<const N: usize>(rows: impl Iterator<Item = [u64; N]>) -> [u64; N] {
    let mut total = [0u64; N];
    for row in rows {
        for (to, from) in total.iter_mut().zip(row) {
            *to = to.wrapping_add(from);
        }
    }
    total
}

/// Opens a per-processor array.
fn per_cpu<T: aya::Pod>(
    maps: &Maps,
    name: &'static str,
) -> Result<PerCpuArray<MapData, T>, KernelError> {
    let fd = map_of(maps, name)?.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(KernelError::io("sharing a map"))?;
    let data = MapData::from_fd(fd).map_err(KernelError::bpf(format!("opening {name}")))?;
    PerCpuArray::try_from(Map::PerCpuArray(data))
        .map_err(KernelError::bpf(format!("opening {name}")))
}

/// What became of the last packet on each processor.
pub struct Outcomes {
    scratch: PerCpuArray<MapData, Scratch>,
}

impl Outcomes {
    /// Those of `maps`.
    ///
    /// # Errors
    /// If the map is missing or of another shape.
    pub fn open(maps: &Maps) -> Result<Outcomes, KernelError> {
        Ok(Outcomes {
            scratch: per_cpu(maps, "SCRATCH")?,
        })
    }

    /// The facts that the program left on `processor`.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn scratch(&self, processor: usize) -> Result<Option<Scratch>, KernelError> {
        let rows = self
            .scratch
            .get(&0, 0)
            .map_err(KernelError::bpf("reading the outcome"))?;
        Ok(rows.get(processor).copied())
    }

    /// What became of the last packet on `processor`.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn outcome(&self, processor: usize) -> Result<Outcome, KernelError> {
        Ok(self
            .scratch(processor)?
            .map(|scratch| scratch.outcome)
            .unwrap_or_default())
    }

    /// Forgets all outcomes, so that a packet of nobody enrolled leaves none behind.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn clear(&mut self) -> Result<(), KernelError> {
        let rows = self
            .scratch
            .get(&0, 0)
            .map_err(KernelError::bpf("reading the outcome"))?;
        let mut rows = rows.to_vec();
        rows.iter_mut()
            .for_each(|row| row.outcome = Outcome::default());
        let rows = PerCpuValues::try_from(rows).map_err(KernelError::io("counting processors"))?;
        self.scratch
            .set(0, rows, 0)
            .map_err(KernelError::bpf("clearing the outcome"))
    }
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Map name.
    pub map: &'static str,
    /// Rows, slots or prefixes in use.
    pub used: u64,
    /// Rows, slots or prefixes it has.
    pub capacity: u64,
}

/// Fill levels of the maps that can fill up.
#[must_use]
pub fn fill(tables: &Tables) -> Vec<Fill> {
    let slots = |array: &super::memory::Array<_>| {
        let words = array.words();
        let used = words
            .iter()
            .filter(|word| word.load(std::sync::atomic::Ordering::Relaxed) != 0);
        (used.count() as u64, words.len() as u64)
    };
    let organisations = super::enrolment::numbers(tables).len() as u64;
    let (subjects, blocks) = (slots(&tables.subjects), slots(&tables.org6));
    let (pages, page_rows) = super::enrolment::page_counts(tables);
    let level = |map, (used, capacity)| Fill {
        map,
        used,
        capacity,
    };
    vec![
        level("SUBJECTS", subjects),
        level(
            "NET4",
            (
                tables.net4.entries().len() as u64,
                u64::from(tables.net4.capacity()),
            ),
        ),
        level(
            "NET6",
            (
                tables.net6.entries().len() as u64,
                u64::from(tables.net6.capacity()),
            ),
        ),
        level(
            "ORGS",
            (
                organisations,
                u64::from(tables.orgs.rows().saturating_sub(1)),
            ),
        ),
        level("ORG4_PAGES", (pages, page_rows)),
        level("ORG6", blocks),
        level("FLOWS", flows_in_use(tables)),
        level("HELLOS", hellos_in_use(tables)),
        level("GRANTS", tables.grants.fill()),
        level("QUIC_FLOWS", tables.quic_flows.fill()),
    ]
}

/// Flow slots with a key, and all of them.
fn flows_in_use(tables: &Tables) -> (u64, u64) {
    let (mut used, mut all) = (0, 0);
    for set in (0..tables.flows.rows()).filter_map(|row| tables.flows.get(row)) {
        all += set.keys.len() as u64;
        used += set
            .keys
            .iter()
            .filter(|key| key.a != 0 || key.b != 0)
            .count() as u64;
    }
    (used, all)
}

/// Rows of unfinished ClientHellos with a stamp, and all of them.
fn hellos_in_use(tables: &Tables) -> (u64, u64) {
    let rows = tables.hellos.rows();
    let used = (0..rows)
        .filter_map(|row| tables.hellos.get(row))
        .filter(|slot| slot.stamp != 0);
    (used.count() as u64, u64::from(rows))
}

/// Bytes of kernel memory that the maps take.
#[must_use]
pub fn memory(maps: &Maps) -> u64 {
    maps.values().filter_map(map_memory).sum()
}

/// Bytes of one map, as `/proc` tells.
fn map_memory(map: &MapData) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))?;
    line.trim().parse().ok()
}
