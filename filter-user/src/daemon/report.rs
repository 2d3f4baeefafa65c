//! The daemon's state as `status` and `stats` tell it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use filter_common::abi::ABI;
use filter_common::reason::Reason;
use jiff::Timestamp;

use super::core::Core;
use super::gate;
use crate::categories::Categories;
use crate::config::{Config, Mode};
use crate::kernel::{Filter, KernelError};
use crate::sources::{self, SourceStatus};
use crate::status::{Attached, Given, Level, OrgStats, Program, Stats, Status};

/// How things are.
pub(super) fn status(core: &Core) -> Result<Status, KernelError> {
    let filter = core.filter.as_ref();
    let everything = core.everything.as_deref();
    let desired = everything.map(|everything| &everything.compiled.desired);
    let interfaces = match (filter, everything) {
        (Some(filter), Some(everything)) => attached(filter, &everything.config)?,
        _ => gate::pinned(&core.runtime_dir)
            .into_iter()
            .map(unknown)
            .collect(),
    };
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi: ABI,
        pid: std::process::id(),
        uptime_seconds: core.started.elapsed().as_secs(),
        config: core.file.clone(),
        state: if filter.is_some() {
            "in_force"
        } else {
            "pinned"
        }
        .to_owned(),
        pass_all: desired.is_some_and(|desired| desired.pass_all),
        program: filter.map(program),
        interfaces,
        registries: everything
            .map(|everything| everything.summaries.clone())
            .unwrap_or_default(),
        sources: sources(core),
        enrolled: everything
            .map(|everything| everything.config.enrolled)
            .unwrap_or_default(),
        subjects: desired.map_or(0, |desired| desired.subjects.len() as u64),
        prefixes: desired.map_or(0, |desired| {
            (desired.nets4.len() + desired.nets6.len()) as u64
        }),
        quic: core.quic.status(),
        safe_search: core.targets.clone(),
        gauge: core.gauge.clone(),
        journal: core.journal_head(),
        journal_problem: core.journal_problem.clone(),
        fill: filter.map(levels).unwrap_or_default(),
        memory_bytes: filter.map_or(0, |filter| filter.generation().memory()),
        untouched: filter.map_or(Ok(0), |filter| filter.generation().counters().untouched())?,
        bypasses: (core.bypasses.list(Timestamp::now()).into_iter())
            .map(|(org, bypass)| Given {
                org,
                until: bypass.until,
                reason: bypass.reason,
            })
            .collect(),
        pending: core.back.pending.clone(),
        undone: core.back.undone,
        unconfirmed: core.back.unconfirmed.clone(),
        last_reload: core.last_reload.clone(),
    })
}

/// How the sources of registries stand.
pub(super) fn sources(core: &Core) -> Vec<SourceStatus> {
    let Some(everything) = core.everything.as_deref() else {
        return Vec::new();
    };
    let now = SystemTime::now();
    let registries = everything.config.registries.iter();
    let modified = |id: &str| {
        let mut summaries = everything.summaries.iter();
        summaries.find(|of| of.id == id).map_or(0, |of| of.modified)
    };
    registries
        .filter_map(|registry| sources::status(registry, modified(&registry.id), now))
        .collect()
}

fn program(filter: &Filter) -> Program {
    let facts = filter.facts();
    Program {
        tag: facts.tag_text(),
        id: facts.id,
        verified_instructions: u64::from(facts.verified_instructions),
        generation: filter.number(),
    }
}

fn levels(filter: &Filter) -> Vec<Level> {
    let levels = filter.generation().fill().into_iter();
    levels
        .map(|fill| Level {
            map: fill.map.to_owned(),
            used: fill.used,
            capacity: fill.capacity,
        })
        .collect()
}

fn attached(filter: &Filter, config: &Config) -> Result<Vec<Attached>, KernelError> {
    let links = filter.links()?;
    let attached = links.into_iter().map(|link| {
        let known = config
            .interfaces
            .iter()
            .find(|interface| interface.name == link.interface);
        let mut attached = unknown(link.interface);
        (attached.ifindex, attached.link, attached.program) =
            (link.ifindex, link.link, link.program);
        if let Some(interface) = known {
            attached.side = if interface.organisations {
                "organisations"
            } else {
                "internet"
            }
            .to_owned();
            attached.mode = if interface.mode == Mode::Native {
                "native"
            } else {
                "generic"
            }
            .to_owned();
            attached.realm = interface.realm.clone();
        }
        attached
    });
    Ok(attached.collect())
}

fn unknown(name: String) -> Attached {
    let blank = || "?".to_owned();
    Attached {
        name,
        ifindex: 0,
        side: blank(),
        mode: blank(),
        realm: blank(),
        link: 0,
        program: 0,
    }
}

/// Counters, of one organisation or of all.
pub(super) fn stats(
    filter: &Filter,
    config: &Config,
    org: Option<&str>,
) -> Result<Stats, KernelError> {
    let mut stats = Stats::default();
    let numbers = gate::organisation_numbers(filter, config);
    let generation = filter.generation();
    let counters = generation.counters();
    stats.untouched = counters.untouched()?;
    for (at, number) in numbers {
        let Some(organisation) = config.organisations.get(at) else {
            continue;
        };
        let asked = |wanted| wanted == organisation.id || Some(wanted) == organisation.parent();
        if !org.is_none_or(asked) {
            continue;
        }
        let mut of = OrgStats {
            org: organisation.id.clone(),
            name: organisation.name.clone(),
            ..OrgStats::default()
        };
        by_reason(&mut of, &counters.organisation(number)?);
        if let Some(row) = generation.tables().category_counters.get(number) {
            of.categories = by_category(&config.categories, &row.packets);
        }
        // Sorted by id, an organisation stands somewhere before its segments.
        let whole = organisation.parent().and_then(|parent| {
            let mut all = stats.organisations.iter_mut().rev();
            all.find(|whole| whole.org == parent)
        });
        match whole {
            Some(whole) => whole.add_segment(of),
            None => stats.organisations.push(of),
        }
    }
    if org.is_none() {
        for reason in Reason::ALL {
            let counts = by_category(
                &config.categories,
                &counters.reason_categories(reason.number())?,
            );
            if !counts.is_empty() {
                stats
                    .reason_categories
                    .insert(reason.label().to_owned(), counts);
            }
        }
    }
    Ok(stats)
}

fn by_reason(of: &mut OrgStats, packets: &[u64]) {
    for (number, count) in (0u32..).zip(packets).filter(|(_, count)| **count > 0) {
        let Some(reason) = Reason::from_number(number) else {
            continue;
        };
        of.reasons.insert(reason.label().to_owned(), *count);
        *of.verdicts
            .entry(reason.verdict().label().to_owned())
            .or_default() += count;
    }
}

fn by_category(categories: &Categories, packets: &[u64]) -> BTreeMap<String, u64> {
    let counted = (0u32..).zip(packets).filter(|(_, count)| **count > 0);
    let named = counted.map(|(number, count)| {
        let label = categories
            .label(number)
            .map_or_else(|| format!("category_{number}"), str::to_owned);
        (label, *count)
    });
    named.collect()
}
