//! The daemon's way to `kernel`: configured interfaces become rows and attachments, kernel errors
//! become problems with an exit code.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use filter_common::name::org_id_key;

use super::core::{Core, rule};
use crate::cli::Exit;
use crate::compile::Rule;
use crate::config::{Config, Interface, Mode};
use crate::desired::{Change, Desired, InterfaceRow};
use crate::kernel::apply::Grace;
use crate::kernel::filter::Report;
use crate::kernel::{Attachment, Filter, KernelError, Options, Seed};
use crate::load::Everything;
use crate::numbers::Numbers;
use crate::problem::Problem;

/// A change that did not come into force, or not wholly.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// 1: nothing changed. 4: not allowed. 5: applied in part.
    pub(crate) exit: Exit,
    /// What is wrong.
    pub(crate) problem: String,
}

impl Refused {
    /// From an error met before anything could be written (`started` false) or in the middle.
    fn new(error: &KernelError, started: bool) -> Self {
        let exit = match error {
            KernelError::System { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Exit::Permission
            }
            KernelError::NotPrivate { .. } => Exit::Permission,
            KernelError::System { .. } | KernelError::Bpf { .. } | KernelError::Attach { .. }
                if started =>
            {
                Exit::Partly
            }
            _ => Exit::Problem,
        };
        Refused {
            exit,
            problem: crate::kernel::error::chain(error),
        }
    }
}

/// The rows of all configured interfaces.
///
/// # Errors
/// Interfaces that do not exist.
pub(crate) fn interface_rows(
    config: &Config,
    numbers: &Numbers,
) -> Result<Vec<InterfaceRow>, Vec<Problem>> {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for interface in &config.interfaces {
        match ifindex(&interface.name) {
            Some(ifindex) => rows.push(row(interface, ifindex, numbers)),
            None => {
                let what = format!(
                    "[[interfaces]] name: there is no interface {}",
                    interface.name
                );
                problems.push(Problem::of_file(
                    &config.file,
                    what,
                    "`ip link` lists those that there are",
                ));
            }
        }
    }
    if problems.is_empty() {
        Ok(rows)
    } else {
        Err(problems)
    }
}

fn row(interface: &Interface, ifindex: u32, numbers: &Numbers) -> InterfaceRow {
    // Every realm of a configuration has a number.
    let realm = |name: &str| numbers.realm(name).unwrap_or(0);
    InterfaceRow {
        name: interface.name.clone(),
        ifindex,
        organisations: interface.organisations,
        realm: realm(&interface.realm),
        vlan_realms: interface
            .vlans
            .iter()
            .map(|(vlan, name)| (*vlan, realm(name)))
            .collect(),
        mpls_reply: interface.mpls_reply,
    }
}

fn ifindex(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a string that ends in NUL and lives through the call.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number != 0).then_some(number)
}

/// Where the program is to be attached.
pub(crate) fn attachments(config: &Config, desired: &Desired) -> Vec<Attachment> {
    let modes: HashMap<&str, Mode> = config
        .interfaces
        .iter()
        .map(|interface| (interface.name.as_str(), interface.mode))
        .collect();
    desired
        .interfaces
        .iter()
        .map(|row| Attachment {
            interface: row.name.clone(),
            ifindex: row.ifindex,
            mode: match modes.get(row.name.as_str()) {
                Some(Mode::Generic) => crate::kernel::Mode::Generic,
                _ => crate::kernel::Mode::Native,
            },
        })
        .collect()
}

/// Takes over what is pinned, or makes it.
pub(crate) fn start(
    config: &Config,
    desired: &Desired,
    seed: u64,
) -> Result<(Filter, Report), Refused> {
    let options = Options::new(&config.daemon.runtime_dir, Seed(seed), config.daemon.sizes);
    Filter::start(options, desired, &attachments(config, desired))
        .map_err(|error| Refused::new(&error, false))
}

/// Applies the difference to `before`, what was applied last.
pub(crate) fn apply(
    filter: &mut Filter,
    config: &Config,
    before: Option<&Desired>,
    desired: &Desired,
) -> Result<Report, Refused> {
    filter
        .apply(before, desired, &attachments(config, desired))
        .map_err(|error| Refused::new(&error, true))
}

/// Writes what the organisations at `changed` are under from now on; where there is no room for it, all is
/// applied anew.
pub(super) fn set_rules(
    core: &mut Core,
    everything: &Arc<Everything>,
    rules: &[Rule],
    changed: &[usize],
) -> Result<(), Refused> {
    let Some(filter) = core.filter.as_mut() else {
        return Ok(());
    };
    let of = |at: &usize| {
        let (organisation, rule) = (everything.config.organisations.get(*at)?, rules.get(*at)?);
        Some(Change {
            id: &organisation.id,
            policy: rule.policy,
            bypass_until_ns: rule.bypass_until_ns,
        })
    };
    let changes: Vec<Change<'_>> = changed.iter().filter_map(of).collect();
    match filter.generation().change(&changes, Grace::Live) {
        Ok(_) => return Ok(()),
        Err(KernelError::NeedsNewGeneration(_)) => {}
        Err(error) => return Err(Refused::new(&error, true)),
    }
    let before = &everything.compiled.desired;
    let mut desired = before.clone();
    rule(&mut desired, rules);
    apply(filter, &everything.config, Some(before), &desired)?;
    core.follow_generation(everything);
    Ok(())
}

/// Interfaces that have a pinned link.
pub(crate) fn pinned(runtime: &Path) -> Vec<String> {
    let pins = crate::kernel::Pins::existing(runtime).ok().flatten();
    pins.and_then(|pins| pins.links().ok()).unwrap_or_default()
}

/// Organisation numbers by id, as the maps hold them.
pub(crate) fn organisation_numbers(filter: &Filter, config: &Config) -> Vec<(usize, u32)> {
    let generation = filter.generation();
    let orgs = &generation.tables().orgs;
    let rows = (1..orgs.rows()).filter_map(|row| Some((orgs.get(row)?.id_key, row)));
    let by_key: HashMap<u64, u32> = rows.filter(|(key, _)| *key != 0).collect();
    let seed = generation.seed().0;
    let numbers = config
        .organisations
        .iter()
        .enumerate()
        .filter_map(|(at, organisation)| {
            by_key
                .get(&org_id_key(seed, organisation.id.as_bytes()))
                .map(|number| (at, *number))
        });
    numbers.collect()
}
