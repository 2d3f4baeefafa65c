//! The filter in force: a pinned generation and its links. It is taken over from a daemon that died,
//! changed in place, and replaced by a larger or newer generation without a packet unjudged.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use filter_common::abi::CategoryCounters;

use super::apply::{Applied, Grace};
use super::error::KernelError;
use super::gauge::{self, Gauge};
use super::generation::{Generation, Layout};
use super::load::{Program, ProgramFacts, pinned_maps};
use super::migrate::{self, Handed, Old};
use super::pins::{PROGRAM_PIN, Pins, close_pin};
use super::read::Counters;
use super::sizes::Sizes;
use super::syscall::{self, LinkFacts};
use super::tables::{Maps, array};
use super::{OBJECT, Seed};
use crate::desired::{Desired, FlowSizes};

/// `XDP_FLAGS_SKB_MODE`, `linux/if_link.h`.
const FLAG_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`, `linux/if_link.h`.
const FLAG_NATIVE: u32 = 1 << 2;

/// Where the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    #[default]
    Native,
    /// In the stack, behind the driver: slower, on any interface.
    Generic,
}

/// An interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// Its number in this network namespace.
    pub ifindex: u32,
    /// Where the program shall run. A link in place keeps its mode until `detach`.
    pub mode: Mode,
}

/// What a filter is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runtime directory; the BPF file system is mounted below it.
    pub runtime: PathBuf,
    /// Secret of this installation.
    pub seed: Seed,
    /// Sizes of the flow tables.
    pub flows: FlowSizes,
    /// The compiled program; [`OBJECT`] but for tests of upgrades.
    pub object: &'static [u8],
}

impl Options {
    /// Those of the program that was compiled in.
    #[must_use]
    pub fn new(runtime: &Path, seed: Seed, flows: FlowSizes) -> Options {
        Options {
            runtime: runtime.to_path_buf(),
            seed,
            flows,
            object: OBJECT,
        }
    }
}

/// What became of the filter at a start or an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What changed in the maps.
    pub applied: Applied,
    /// Whether a filter that was in force was taken over.
    pub taken_over: bool,
    /// Whether another program was put in place.
    pub new_program: bool,
    /// What became of the flows, where a new generation was made.
    pub handed: Option<Handed>,
}

/// A link as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Interface name.
    pub interface: String,
    /// Interface number; 0: the interface is gone.
    pub ifindex: u32,
    /// The kernel's number of the link.
    pub link: u32,
    /// The kernel's number of the program.
    pub program: u32,
}

/// The filter in force.
#[derive(Debug)]
pub struct Filter {
    options: Options,
    pins: Pins,
    number: u32,
    generation: Generation,
    /// Whether the maps hold exactly what was applied last.
    exact: bool,
}

/// A generation that was found pinned.
struct Found {
    number: u32,
    maps: Maps,
}

impl Filter {
    /// Takes over the filter that is in force, or makes one; afterwards the maps hold `desired` and
    /// the program is attached to exactly `attachments`.
    ///
    /// # Errors
    /// If the private file system cannot be had, the program does not load, or an interface refuses
    /// it. A filter that was in force stays in force then.
    pub fn start(
        options: Options,
        desired: &Desired,
        attachments: &[Attachment],
    ) -> Result<(Filter, Report), KernelError> {
        let pins = Pins::open(&options.runtime)?;
        let found = find_current(&pins)?;
        if let Some(found) = &found
            && let Some(layout) = Layout::read(&found.maps)
            && layout.is_ours(&found.maps, options.seed, options.flows)
        {
            let generation = Generation::open(&pins.generation(found.number))?;
            // Entries have other numbers from now on, which old grants must not meet.
            generation.tables().grants.clear();
            generation.tables().quic_flows.forget_blocked();
            let mut filter = Filter {
                options,
                pins,
                number: found.number,
                generation,
                exact: false,
            };
            let mut report = filter.apply(None, desired, attachments)?;
            report.new_program |= filter.renew_program(attachments)?;
            report.taken_over = true;
            filter.remove_others()?;
            return Ok((filter, report));
        }
        let (number, generation, mut report) =
            switch(&options, &pins, found.as_ref(), desired, attachments)?;
        report.taken_over = found.is_some();
        let filter = Filter {
            options,
            pins,
            number,
            generation,
            exact: true,
        };
        filter.remove_others()?;
        Ok((filter, report))
    }

    /// Makes the maps hold `desired`, in place or by a new generation, and the program attached to
    /// exactly `attachments`. `before` is what was applied last, if the caller has kept it: with it
    /// only what differs is looked at.
    ///
    /// # Errors
    /// What was in force stays in force if `desired` is over a limit or a new generation cannot be
    /// made; a system call that fails in the middle leaves the additions in and the removals undone.
    pub fn apply(
        &mut self,
        before: Option<&Desired>,
        desired: &Desired,
        attachments: &[Attachment],
    ) -> Result<Report, KernelError> {
        Sizes::measure(desired, self.options.flows).check(desired)?;
        let before = before.filter(|_| self.exact);
        // An error in the middle leaves something between the two states.
        self.exact = false;
        let report = match self.generation.apply(before, desired, Grace::Live) {
            Ok(applied) => Report {
                applied,
                ..Report::default()
            },
            Err(KernelError::NeedsNewGeneration(_)) => self.replace(desired, attachments)?,
            Err(other) => return Err(other),
        };
        self.exact = true;
        set_links(&self.pins, self.generation.program(), attachments, false)?;
        Ok(report)
    }

    /// Compares what is in force with `desired`, links too.
    ///
    /// # Errors
    /// See [`gauge::measure`].
    pub fn gauge(
        &self,
        desired: &Desired,
        attachments: &[Attachment],
    ) -> Result<Gauge, KernelError> {
        let (tables, seed) = (self.generation.tables(), self.generation.seed());
        let mut gauge = gauge::measure(tables, desired, seed)?;
        let links = self.links()?;
        let program = self.facts().id;
        let holds = |attachment: &&Attachment| {
            links.iter().any(|link| {
                link.interface == attachment.interface
                    && link.ifindex == attachment.ifindex
                    && link.program == program
            })
        };
        let held = attachments.iter().filter(holds).count();
        gauge.add(
            "links",
            attachments.len() - held + links.len().saturating_sub(held),
        );
        Ok(gauge)
    }

    /// Makes what is in force equal to `desired` from whatever it has become.
    ///
    /// # Errors
    /// As [`Filter::apply`].
    pub fn repair(
        &mut self,
        desired: &Desired,
        attachments: &[Attachment],
    ) -> Result<Report, KernelError> {
        let (tables, seed) = (self.generation.tables(), self.generation.seed());
        tables.set_control(gauge::control(tables, desired, seed));
        let report = self.apply(None, desired, attachments)?;
        set_links(&self.pins, self.generation.program(), attachments, true)?;
        Ok(report)
    }

    /// Puts a larger generation in the place of the one in force.
    fn replace(
        &mut self,
        desired: &Desired,
        attachments: &[Attachment],
    ) -> Result<Report, KernelError> {
        let found = Found {
            number: self.number,
            maps: pinned_maps(&self.pins.generation(self.number))?,
        };
        let (number, generation, report) = switch(
            &self.options,
            &self.pins,
            Some(&found),
            desired,
            attachments,
        )?;
        let (grants, old) = (&generation.tables().grants, self.generation.tables());
        grants.take_over(&old.grants);
        generation.tables().quic_flows.take_over(&old.quic_flows);
        (self.number, self.generation) = (number, generation);
        self.remove_others()?;
        Ok(report)
    }

    /// Puts the compiled-in program in place if it is another one.
    fn renew_program(&mut self, attachments: &[Attachment]) -> Result<bool, KernelError> {
        let directory = self.pins.generation(self.number);
        if !self
            .generation
            .renew_program(self.options.object, &directory)?
        {
            // A crash between two links may have left one of them with an older program.
            set_links(&self.pins, self.generation.program(), attachments, true)?;
            return Ok(false);
        }
        set_links(&self.pins, self.generation.program(), attachments, true)?;
        Ok(true)
    }

    /// Removes all generations but the one in force.
    fn remove_others(&self) -> Result<(), KernelError> {
        for number in self.pins.generations()? {
            if number != self.number {
                self.pins.remove_generation(number)?;
            }
        }
        Ok(())
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Facts of the program in force.
    #[must_use]
    pub fn facts(&self) -> ProgramFacts {
        self.generation.facts()
    }

    /// The links as they are.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn links(&self) -> Result<Vec<LinkStatus>, KernelError> {
        links(&self.pins)
    }

    /// Detaches the filter of `runtime`, whether or not a daemon runs: removes links and pins. Gives
    /// the interfaces that were attached.
    ///
    /// # Errors
    /// If a pin cannot be removed; those before it are gone.
    pub fn detach(runtime: &Path) -> Result<Vec<String>, KernelError> {
        let Some(pins) = Pins::existing(runtime)? else {
            return Ok(Vec::new());
        };
        let interfaces = pins.links()?;
        for interface in &interfaces {
            pins.remove_link(interface)?;
        }
        for number in pins.generations()? {
            pins.remove_generation(number)?;
        }
        pins.unmount_if_empty()?;
        Ok(interfaces)
    }
}

/// The pinned links.
fn links(pins: &Pins) -> Result<Vec<LinkStatus>, KernelError> {
    let mut links = Vec::new();
    for interface in pins.links()? {
        let (_, facts) = open_link(pins, &interface)?;
        links.push(LinkStatus {
            interface,
            ifindex: facts.ifindex,
            link: facts.id,
            program: facts.program,
        });
    }
    Ok(links)
}

fn open_link(pins: &Pins, interface: &str) -> Result<(OwnedFd, LinkFacts), KernelError> {
    let link = syscall::open_pin(&pins.link(interface))?;
    let facts = syscall::link_facts(link.as_fd())
        .map_err(KernelError::io(format!("reading the link of {interface}")))?;
    Ok((link, facts))
}

/// The generation in force: the newest that a link runs (it was complete before any link was
/// updated to it), else the newest complete one. Incomplete ones are left over from a crash.
fn find_current(pins: &Pins) -> Result<Option<Found>, KernelError> {
    let running: Vec<u32> = links(pins)?.iter().map(|link| link.program).collect();
    let mut newest = None;
    for number in pins.generations()?.into_iter().rev() {
        let directory = pins.generation(number);
        let Ok(program) = Program::from_pin(&directory.join(PROGRAM_PIN)) else {
            continue;
        };
        let Ok(maps) = pinned_maps(&directory) else {
            continue;
        };
        if running.contains(&program.facts().id) {
            return Ok(Some(Found { number, maps }));
        }
        newest.get_or_insert(Found { number, maps });
    }
    Ok(newest)
}

/// Makes a generation for `desired`, hands the flows of `old` over and puts the links on it.
fn switch(
    options: &Options,
    pins: &Pins,
    old: Option<&Found>,
    desired: &Desired,
    attachments: &[Attachment],
) -> Result<(u32, Generation, Report), KernelError> {
    let sizes = Sizes::measure(desired, options.flows);
    sizes.check(desired)?;
    let generation = Generation::new(options.object, &sizes, options.seed)?;
    let mut applied = generation.apply(None, desired, Grace::None)?;
    applied.new_generation = true;
    let number = pins.generations()?.last().map_or(1, |last| last + 1);
    let mut pinned = Pinned {
        pins,
        number,
        keep: false,
    };
    generation.pin(&pins.make_generation(number)?)?;
    let handed = match old {
        Some(old) => hand_over(&old.maps, &generation, pins, attachments)?,
        None => {
            set_links(pins, generation.program(), attachments, true)?;
            None
        }
    };
    pinned.keep = true;
    drop(pinned);
    let report = Report {
        applied,
        handed,
        new_program: true,
        taken_over: false,
    };
    Ok((number, generation, report))
}

/// Puts the old program on hold, copies its flows and counters, and updates the links. If that
/// fails the old program goes on.
fn hand_over(
    maps: &Maps,
    generation: &Generation,
    pins: &Pins,
    attachments: &[Attachment],
) -> Result<Option<Handed>, KernelError> {
    let Some(old) = Old::open(maps)? else {
        set_links(pins, generation.program(), attachments, true)?;
        return Ok(None);
    };
    old.drain(true);
    let handed = hand_over_drained(&old, maps, generation).and_then(|handed| {
        if !old.drains() {
            return Err(KernelError::HandOver);
        }
        set_links(pins, generation.program(), attachments, true).map(|()| handed)
    });
    if handed.is_err() {
        old.drain(false);
    }
    handed.map(Some)
}

/// Copies flows and counters while the old program is on hold.
fn hand_over_drained(
    old: &Old,
    maps: &Maps,
    generation: &Generation,
) -> Result<Handed, KernelError> {
    let handed = migrate::hand_over(old, generation.tables());
    if let Ok(counters) = Counters::open(maps) {
        let numbers: Vec<(u32, u32)> = old.numbers(generation.tables()).into_iter().collect();
        generation.counters().take_over(&counters, &numbers)?;
        if let Ok(categories) = array::<CategoryCounters>(maps, "CATEGORY_COUNTERS") {
            let rows = numbers.iter();
            let rows = rows.filter_map(|(old, new)| Some((*new, categories.get(*old)?)));
            rows.for_each(|(number, row)| {
                generation.tables().category_counters.set(number, row);
            });
        }
    }
    Ok(handed)
}

/// Removes a generation that did not come into force.
struct Pinned<'a> {
    pins: &'a Pins,
    number: u32,
    keep: bool,
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        if !self.keep {
            // The error that led here is the one to tell; a left-over is removed at the next start.
            let _ = self.pins.remove_generation(self.number);
        }
    }
}

/// Attaches `program` to exactly `attachments`: new links are made, links in place are updated if
/// `update`, others are removed.
fn set_links(
    pins: &Pins,
    program: &Program,
    attachments: &[Attachment],
    update: bool,
) -> Result<(), KernelError> {
    let mut present = pins.links()?;
    for attachment in attachments {
        let name = &attachment.interface;
        if present.contains(name) {
            let (link, facts) = open_link(pins, name)?;
            if facts.ifindex == attachment.ifindex {
                if update && facts.program != program.facts().id {
                    syscall::update_link(link.as_fd(), program.fd())
                        .map_err(KernelError::io(format!("updating the link of {name}")))?;
                }
                continue;
            }
            // The interface was made anew under the same name: the old link holds nothing.
            pins.remove_link(name)?;
        }
        attach(pins, program, attachment)?;
    }
    present.retain(|name| !attachments.iter().any(|wanted| wanted.interface == *name));
    present.iter().try_for_each(|name| pins.remove_link(name))
}

fn attach(pins: &Pins, program: &Program, to: &Attachment) -> Result<(), KernelError> {
    let flags = match to.mode {
        Mode::Native => FLAG_NATIVE,
        Mode::Generic => FLAG_GENERIC,
    };
    let failed = |error: std::io::Error| KernelError::Attach {
        interface: to.interface.clone(),
        message: attach_message(&error),
    };
    let link = syscall::attach(program.fd(), to.ifindex, flags).map_err(failed)?;
    let path = pins.link(&to.interface);
    syscall::pin(link.as_fd(), &path)?;
    close_pin(&path)
}

/// What the kernel's error means here.
fn attach_message(error: &std::io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EBUSY) => "another XDP program is attached; `ip link` names it",
        Some(libc::EOPNOTSUPP) => "the driver has no XDP; use mode = \"generic\"",
        Some(libc::ENODEV) => "the interface is gone",
        Some(libc::EPERM) => "this needs CAP_NET_ADMIN and CAP_BPF",
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}
