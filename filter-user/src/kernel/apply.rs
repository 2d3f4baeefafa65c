//! The diff: what the maps hold against what they shall hold, carried out in an order in which no
//! moment lets through what old and new state both block, or blocks what both let through.
//!
//! Rows come before what refers to them, Bloom bits before slots, additions before removals, with a
//! grace time between them in which every packet under way ends; a row is used again only after one.
//! What no order can make right is refused ([`whole`]): it needs a new generation.

use std::time::{Duration, Instant};

use filter_common::abi::{Addresses, CONTROL_PAGE, CONTROL_PASS_ALL, Class, Control};

use super::classes::RowsByValue;
use super::enrolment::EnrolmentPlan;
use super::error::KernelError;
use super::interfaces::InterfacePlan;
use super::nets::NetPlan;
use super::subjects::{Rowed, SubjectPlan};
use super::tables::CLASS_ROWS;
use super::{Seed, Tables, enrolment, interfaces, nets, subjects, whole};
use crate::desired::Desired;

/// Whether packets run through the tables while they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Nothing reads the tables: no need to wait.
    None,
    /// The program is attached: wait until every packet under way has ended.
    Live,
}

impl Grace {
    /// Waits for the packets under way.
    pub fn wait(self) {
        if self == Grace::Live {
            super::syscall::wait_for_packets();
        }
    }
}

/// Counts of one kind of thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New.
    pub added: usize,
    /// Changed in place.
    pub changed: usize,
    /// Gone.
    pub removed: usize,
}

/// What an application of a desired state did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Names and addresses.
    pub subjects: Changes,
    /// Prefixes of destinations.
    pub nets: Changes,
    /// Organisations.
    pub organisations: Changes,
    /// Policies; only new ones count, old ones stay until their rows are needed.
    pub policies: Changes,
    /// Time it took.
    pub duration: Duration,
    /// Whether a new set of maps was made.
    pub new_generation: bool,
}

impl Applied {
    /// Whether the maps were as desired before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [self.subjects, self.nets, self.organisations, self.policies]
            .iter()
            .all(|changes| *changes == Changes::default())
    }
}

/// What is to be done to the tables.
#[derive(Debug)]
pub struct Plan {
    pub(crate) classes: Vec<(u32, Class)>,
    class_rows: Vec<u16>,
    pub(crate) subjects: SubjectPlan,
    pub(crate) nets: NetPlan,
    pub(crate) enrolment: EnrolmentPlan,
    pub(crate) interfaces: InterfacePlan,
}

/// Compares the tables with `desired`. Nothing is written.
///
/// `before` is the state that the tables hold for certain, if the caller knows it: the last one that
/// was applied without an error. Names and addresses are then compared with it, in order, and not
/// with the tables, key by key.
///
/// # Errors
/// [`KernelError::NeedsNewGeneration`] if it does not fit.
pub fn plan(
    tables: &Tables,
    before: Option<&Desired>,
    desired: &Desired,
    seed: Seed,
) -> Result<Plan, KernelError> {
    let mut used = vec![false; CLASS_ROWS as usize];
    subjects::mark_classes(tables, &mut used);
    nets::mark_classes(tables, &mut used);
    let mut rows = RowsByValue::read(&tables.classes, &used, "classes");
    let known = before.and_then(|before| Some((before, known_rows(&rows, before)?)));
    let mut class_rows = Vec::with_capacity(desired.classes.len());
    for class in &desired.classes {
        let row = if *class == Class::default() {
            0
        } else {
            rows.row(*class)?
        };
        let row =
            u16::try_from(row).map_err(|_beyond| KernelError::NeedsNewGeneration("classes"))?;
        class_rows.push(row);
    }
    let before = known.as_ref().map(|(before, class_rows)| Rowed {
        subjects: &before.subjects,
        class_rows,
    });
    let after = Rowed {
        subjects: &desired.subjects,
        class_rows: &class_rows,
    };
    let mut subjects = subjects::plan(tables, before, after)?;
    subjects.soften(tables, &mut rows)?;
    Ok(Plan {
        classes: rows.into_new(),
        subjects,
        nets: nets::plan(tables, desired, &class_rows)?,
        enrolment: enrolment::plan(tables, desired, seed)?,
        interfaces: interfaces::plan(tables, desired)?,
        class_rows,
    })
}

/// The rows of the classes of `before`, if the tables hold them all. Those that no subject refers to
/// may be gone: their row is 0.
fn known_rows(rows: &RowsByValue<Class>, before: &Desired) -> Option<Vec<u16>> {
    let row = |class: &Class| u16::try_from(rows.known(class).unwrap_or(0)).ok();
    before.classes.iter().map(row).collect()
}

impl Plan {
    /// What it will do.
    #[must_use]
    pub fn summary(&self) -> Applied {
        let (slots, v4, v6) = (&self.subjects.slots, &self.nets.v4, &self.nets.v6);
        let enrolment = &self.enrolment;
        Applied {
            subjects: Changes {
                added: slots.adds.len(),
                changed: slots.changes.len(),
                removed: slots.removals.len(),
            },
            nets: Changes {
                added: v4.adds.len() + v6.adds.len(),
                changed: v4.changes.len() + v6.changes.len(),
                removed: v4.removals.len() + v6.removals.len(),
            },
            organisations: Changes {
                added: enrolment.adds.len(),
                changed: enrolment.changes.len(),
                removed: enrolment.removals.len(),
            },
            policies: Changes {
                added: enrolment.policies.len(),
                ..Changes::default()
            },
            duration: Duration::ZERO,
            new_generation: false,
        }
    }

    /// Keys of the names, or of the addresses, that need a slot.
    pub(crate) fn keys<'a>(
        &'a self,
        desired: &'a Desired,
        address: bool,
    ) -> impl Iterator<Item = u64> + 'a {
        let subjects = Rowed {
            subjects: &desired.subjects,
            class_rows: &self.class_rows,
        };
        subjects.keys(address)
    }

    /// Whether entries go, or lose a category or a list.
    fn takes_away(&self) -> bool {
        let (slots, nets) = (&self.subjects.slots, &self.nets);
        !(slots.removals.is_empty()
            && self.subjects.between.is_empty()
            && nets.v4.removals.is_empty()
            && nets.v6.removals.is_empty())
    }

    /// Whether rows are written that may have been referred to until the last application.
    fn takes_rows(&self) -> bool {
        !self.classes.is_empty()
            || !self.enrolment.policies.is_empty()
            || !self.enrolment.adds.is_empty()
    }
}

/// Makes the tables equal to `desired`; `before` as in [`plan`]. `forget` zeroes the per-processor counters of organisation
/// numbers that become free.
///
/// # Errors
/// [`KernelError::NeedsNewGeneration`] if it does not fit (nothing was taken away then), or what a
/// system call met.
pub fn apply(
    tables: &Tables,
    before: Option<&Desired>,
    desired: &Desired,
    seed: Seed,
    grace: Grace,
    forget: &dyn Fn(&[u32]) -> Result<(), KernelError>,
) -> Result<Applied, KernelError> {
    let start = Instant::now();
    let plan = plan(tables, before, desired, seed)?;
    if grace == Grace::Live
        && let Some(what) = whole::reason(tables, before, desired, &plan)
    {
        return Err(KernelError::NeedsNewGeneration(what));
    }
    if plan.takes_rows() {
        grace.wait();
    }
    for (row, class) in &plan.classes {
        tables.classes.set(*row, *class);
    }
    let subjects = Rowed {
        subjects: &desired.subjects,
        class_rows: &plan.class_rows,
    };
    subjects::add(tables, subjects, &plan.subjects, grace)?;
    nets::add(tables, desired, &plan.nets, seed)?;
    set_switches(tables, desired);
    enrolment::apply(tables, &plan.enrolment, grace, forget)?;
    interfaces::apply(tables, &plan.interfaces, grace);
    if plan.takes_away() {
        // A packet that looked for what is new before it was there must not look for what is gone behind it.
        grace.wait();
    }
    subjects::remove(tables, subjects, &plan.subjects);
    nets::remove(tables, desired, &plan.nets, seed)?;
    Ok(Applied {
        duration: start.elapsed(),
        ..plan.summary()
    })
}

/// Switches of the whole filter, and the addresses that answers lead to.
fn set_switches(tables: &Tables, desired: &Desired) {
    for (row, addresses) in wrong_answers(tables, desired) {
        tables.answers.set(row, addresses);
    }
    let page = desired.page.row();
    if tables.page.get(0) != Some(page) {
        tables.page.set(0, page);
    }
    let control = tables.control_row();
    tables.set_control(Control {
        flags: control.flags & !SWITCHES | switches(desired),
        syn_limit: desired.syn_limit,
        ..control
    });
}

/// `Control::flags` that follow from a desired state.
const SWITCHES: u32 = CONTROL_PASS_ALL | CONTROL_PAGE;

/// Those that are on.
#[must_use]
pub(crate) fn switches(desired: &Desired) -> u32 {
    let told = desired.page.row().len != 0;
    (u32::from(desired.pass_all) * CONTROL_PASS_ALL) | (u32::from(told) * CONTROL_PAGE)
}

/// Rows of `ANSWERS` that differ. One that nothing leads to any more stays: policies that lead there are changed later.
pub(crate) fn wrong_answers<'a>(
    tables: &'a Tables,
    desired: &'a Desired,
) -> impl Iterator<Item = (u32, Addresses)> + 'a {
    let safe_search = desired.safe_search.iter();
    let rows = safe_search.map(|(row, addresses)| (*row, addresses.row()));
    let rows = rows.chain([(0, desired.portal.row())]);
    rows.filter(|(row, addresses)| tables.answers.get(*row) != Some(*addresses))
}
