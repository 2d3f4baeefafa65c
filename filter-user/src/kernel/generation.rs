//! A generation: a loaded program with a full set of maps. It lives in memory only (replay, tests,
//! benchmarks) or is pinned, and then outlives the daemon.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use filter_common::abi::{ABI, Control, without_drain};

use super::apply::{self, Applied, Grace};
use super::error::KernelError;
use super::load::{self, MapSource, PROGRAM, Program, ProgramFacts};
use super::memory::Array;
use super::pins::{PROGRAM_PIN, close_pin};
use super::read::{Counters, Fill};
use super::run::Runner;
use super::sizes::Sizes;
use super::tables::{Maps, map_of};
use super::{Seed, Tables, read, syscall};
use crate::desired::{Change, Desired, FlowSizes};

/// A program with its maps.
pub struct Generation {
    program: Program,
    maps: Maps,
    tables: Tables,
    counters: Mutex<Counters>,
    seed: Seed,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Generation")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// Loads `object` with new maps of these sizes; attached to nothing, pinned nowhere.
    ///
    /// # Errors
    /// If the object is empty or the kernel refuses it.
    pub fn new(object: &[u8], sizes: &Sizes, seed: Seed) -> Result<Generation, KernelError> {
        let (program, maps) = load::load(object, PROGRAM, MapSource::New(sizes))?;
        let tables = Tables::kernel(&maps)?;
        tables.initialise(seed);
        let counters = Mutex::new(Counters::open(&maps)?);
        Ok(Generation {
            program,
            maps,
            tables,
            counters,
            seed,
        })
    }

    /// As [`Generation::new`], filled with `desired`.
    ///
    /// # Errors
    /// As [`Generation::new`], or if `desired` is over a limit.
    pub fn filled(
        object: &[u8],
        desired: &Desired,
        flows: FlowSizes,
        seed: Seed,
    ) -> Result<(Generation, Applied), KernelError> {
        let generation = Generation::new(object, &Sizes::measure(desired, flows), seed)?;
        let applied = generation.apply(None, desired, Grace::None)?;
        Ok((generation, applied))
    }

    /// Opens the generation pinned in `directory`, whose layout must be ours.
    pub(crate) fn open(directory: &Path) -> Result<Generation, KernelError> {
        let program = Program::from_pin(&directory.join(PROGRAM_PIN))?;
        let maps = load::pinned_maps(directory)?;
        let tables = Tables::kernel(&maps)?;
        let control = tables.control_row();
        tables.set_control(Control {
            flags: without_drain(control.flags),
            ..control
        });
        let counters = Mutex::new(Counters::open(&maps)?);
        Ok(Generation {
            program,
            maps,
            tables,
            counters,
            seed: Seed(control.seed),
        })
    }

    /// Pins the maps and the program into `directory`.
    pub(crate) fn pin(&self, directory: &Path) -> Result<(), KernelError> {
        for (name, map) in &self.maps {
            let path = directory.join(name);
            syscall::pin(map.fd().as_fd(), &path)?;
            close_pin(&path)?;
        }
        self.pin_program(directory)
    }

    fn pin_program(&self, directory: &Path) -> Result<(), KernelError> {
        let path = directory.join(PROGRAM_PIN);
        syscall::pin(self.program.fd(), &path)?;
        close_pin(&path)
    }

    /// Loads `object` over the maps pinned in `directory` if it is another program than the one in
    /// place; tells whether it was. Links have to be updated by the caller then.
    pub(crate) fn renew_program(
        &mut self,
        object: &[u8],
        directory: &Path,
    ) -> Result<bool, KernelError> {
        let (program, _maps) = load::load(object, PROGRAM, MapSource::Pinned(directory))?;
        if program.facts().tag == self.program.facts().tag {
            return Ok(false);
        }
        self.program = program;
        let path = directory.join(PROGRAM_PIN);
        std::fs::remove_file(&path)
            .map_err(KernelError::io(format!("removing {}", path.display())))?;
        self.pin_program(directory)?;
        Ok(true)
    }

    /// Makes the maps equal to `desired`; `before` is what they hold, if that is known for certain
    /// (see [`apply::plan`]).
    ///
    /// # Errors
    /// [`KernelError::NeedsNewGeneration`] if it does not fit, or what a system call met.
    pub fn apply(
        &self,
        before: Option<&Desired>,
        desired: &Desired,
        grace: Grace,
    ) -> Result<Applied, KernelError> {
        let forget = |numbers: &[u32]| self.counters().forget(numbers);
        apply::apply(&self.tables, before, desired, self.seed, grace, &forget)
    }

    /// Writes what organisations are under from now on; all else stays. Gives the number of changed rows.
    ///
    /// # Errors
    /// [`KernelError::NeedsNewGeneration`] if there is no room, or an organisation is not in the maps:
    /// nothing is written then.
    pub fn change(&self, changes: &[Change<'_>], grace: Grace) -> Result<usize, KernelError> {
        super::enrolment::change(&self.tables, changes, self.seed, grace)
    }

    /// The arrays.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The maps.
    #[must_use]
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Facts of the program.
    #[must_use]
    pub fn facts(&self) -> ProgramFacts {
        self.program.facts()
    }

    /// The seed of all keys.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// The counters.
    pub fn counters(&self) -> std::sync::MutexGuard<'_, Counters> {
        // A panic elsewhere leaves only a handle behind, which holds no state.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the organisation with this id, if it is enrolled.
    #[must_use]
    pub fn organisation_number(&self, id: &str) -> Option<u32> {
        let key = filter_common::name::org_id_key(self.seed.0, id.as_bytes());
        super::enrolment::numbers(&self.tables).get(&key).copied()
    }

    /// Numbers of the enrolled organisations by the keyed hash of their id
    /// (`filter_common::name::org_id_key`).
    #[must_use]
    pub fn organisation_numbers(&self) -> std::collections::HashMap<u64, u32> {
        super::enrolment::numbers(&self.tables)
    }

    /// Fill levels of the maps.
    #[must_use]
    pub fn fill(&self) -> Vec<Fill> {
        read::fill(&self.tables)
    }

    /// Bytes of kernel memory that the maps take.
    #[must_use]
    pub fn memory(&self) -> u64 {
        read::memory(&self.maps)
    }

    /// A runner of single frames; ties the calling thread to a processor.
    ///
    /// # Errors
    /// As [`Runner::new`].
    pub fn runner(&self) -> Result<Runner<'_>, KernelError> {
        Runner::new(self.program.fd(), &self.maps)
    }
}

/// What the control row of pinned maps says of their layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) control: Control,
}

impl Layout {
    /// Reads it; `None` where the maps have no readable control row.
    pub(crate) fn read(maps: &Maps) -> Option<Layout> {
        let control: Array<Control> = super::tables::array(maps, "CONTROL").ok()?;
        Some(Layout {
            control: control.get(0)?,
        })
    }

    /// Whether this daemon can go on with these maps.
    pub(crate) fn is_ours(&self, maps: &Maps, seed: Seed, flows: FlowSizes) -> bool {
        let wanted = Sizes::measure(&Desired::default(), flows);
        let rows = |name| {
            map_of(maps, name)
                .ok()?
                .info()
                .ok()
                .map(|info| info.max_entries())
        };
        self.control.abi == ABI
            && self.control.seed == seed.0
            && rows("FLOWS") == Some(wanted.flow_sets)
            && rows("HELLOS") == Some(wanted.hello_rows)
    }
}
