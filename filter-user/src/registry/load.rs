//! All registries: unchanged files are taken from the state before, the others are read, and a
//! registry that is worse than its limits is refused.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dump::Hidden;
use super::dump::deltas::follow;
use super::progress::Progress;
use super::{Counts, RECORD_URLS, REJECTED_SHOWN, Record, Source, Spec, read_file, specs, stamp};
use crate::config::Config;
use crate::problem::Problem;

/// State of a registry after a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// Read now.
    Read,
    /// Not touched since it was read.
    Unchanged,
}

/// A registry's line in the summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// Tier, as in the configuration.
    pub tier: String,
    /// Format, as in the configuration.
    pub format: String,
    /// Its files.
    pub files: usize,
    /// Read now or unchanged.
    pub state: Freshness,
    /// Lines.
    pub counts: Counts,
    /// The first rejected lines.
    pub rejected: Vec<Problem>,
}

/// All registries, read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// File by file.
    pub sources: Vec<Source>,
    /// Registry by registry.
    pub summaries: Vec<Summary>,
    /// What was left out, and why.
    pub notes: Vec<Problem>,
}

/// Entries that each registry held when it was last in force.
pub type KeptBefore = std::collections::BTreeMap<String, u64>;

/// Reads all registries of a configuration. `before` are the files in force: those not touched since
/// are not read again.
///
/// # Errors
/// Every registry that cannot be read, is empty where it had entries, or has more rejected lines than
/// it may.
pub fn load(
    config: &Config,
    seed: u64,
    before: &[Source],
    kept_before: &KeptBefore,
    progress: Progress,
) -> Result<Loaded, Vec<Problem>> {
    let (specs, mut notes) = specs(config, seed)?;
    let known: HashMap<&Path, &Source> = before
        .iter()
        .map(|source| (source.file.reading.path.as_path(), source))
        .collect();
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    let mut fresh = vec![false; config.registries.len()];
    let mut source_of = |spec: Spec| match unchanged(&known, &spec) {
        Some(source) => Ok(source),
        None => {
            if let Some(fresh) = fresh.get_mut(spec.registry) {
                *fresh = true;
            }
            read(spec, progress)
        }
    };
    for spec in specs {
        let registry = config.registries.get(spec.registry);
        let deltas = registry.and_then(|registry| registry.deltas.as_deref());
        let found = match (source_of(spec), deltas) {
            (Ok(base), Some(deltas)) => {
                let time = |path: &Path| updated(known.get(path)?);
                follow(deltas, base, time, &mut source_of, &mut notes)
            }
            (found, _) => found.map(|source| vec![source]),
        };
        match found {
            Ok(found) => sources.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    notes.extend(hidden(config, &sources));
    let summaries = summarise(config, &sources, &fresh);
    if problems.is_empty() {
        for (registry, summary) in config.registries.iter().zip(&summaries) {
            problems.extend(refuse(registry, summary, kept_before));
        }
    }
    if problems.is_empty() {
        Ok(Loaded {
            sources,
            summaries,
            notes,
        })
    } else {
        Err(problems)
    }
}

/// When a register that was read before was made, if its file was not touched.
fn updated(before: &Source) -> Option<i64> {
    let now = stamp(&before.file.reading.path).ok()?;
    let contents = before.file.contents.as_ref()?;
    contents.updated.filter(|_| now == before.file.stamp)
}

fn unchanged(known: &HashMap<&Path, &Source>, spec: &Spec) -> Option<Source> {
    let before = known.get(spec.reading.path.as_path())?;
    let same = before.file.reading == spec.reading
        && stamp(&spec.reading.path).is_ok_and(|now| now == before.file.stamp);
    same.then(|| Source {
        spec: spec.clone(),
        file: Arc::clone(&before.file),
        mask: None,
    })
}

fn read(spec: Spec, progress: Progress) -> Result<Source, Problem> {
    let file = read_file(&spec.reading, progress)?;
    Ok(Source {
        spec,
        file: Arc::new(file),
        mask: None,
    })
}

/// What became of the URLs of dumps whose path no network sees.
fn hidden(config: &Config, sources: &[Source]) -> Vec<Problem> {
    let mut counts = vec![0usize; config.registries.len()];
    for source in sources {
        if let Some(count) = counts.get_mut(source.spec.registry) {
            *count += source.hidden_urls();
        }
    }
    let registries = config.registries.iter().zip(counts);
    let told = registries.filter(|(_, count)| *count > 0);
    told.map(|(registry, count)| {
        let (became, remedy) = match registry.hidden_urls {
            Hidden::Host => (
                "applied to the whole of their hosts",
                "https_urls = \"skip\" leaves them out",
            ),
            Hidden::Skip => (
                "left out",
                "https_urls = \"host\" applies them to the whole of their hosts",
            ),
        };
        let what = format!("{count} URLs whose path no network sees, as of https, are {became}");
        Problem::of_file(&registry.path, what, remedy)
    })
    .collect()
}

fn summarise(config: &Config, sources: &[Source], fresh: &[bool]) -> Vec<Summary> {
    let mut summaries: Vec<Summary> = config
        .registries
        .iter()
        .zip(fresh)
        .map(|(registry, fresh)| Summary {
            id: registry.id.clone(),
            tier: registry.tier.label().to_owned(),
            format: registry.format.label().to_owned(),
            files: 0,
            state: if *fresh {
                Freshness::Read
            } else {
                Freshness::Unchanged
            },
            counts: Counts::default(),
            rejected: Vec::new(),
        })
        .collect();
    for source in sources {
        let Some(summary) = summaries.get_mut(source.spec.registry) else {
            continue;
        };
        summary.files += 1;
        summary.counts.add(&source.file.counts);
        summary.counts.kept = summary.counts.kept.saturating_sub(masked(source));
        let room = REJECTED_SHOWN.saturating_sub(summary.rejected.len());
        summary
            .rejected
            .extend(source.file.rejected.iter().take(room).cloned());
    }
    summaries
}

/// Entries of a file that a later one replaces or removes.
fn masked(source: &Source) -> u64 {
    if source.mask.is_none() {
        return 0;
    }
    let is_entry = |record: &&Record| record.flags & RECORD_URLS == 0;
    let all = source.file.records.iter().filter(is_entry).count() + source.file.nets.len();
    let in_force = source.records().filter(is_entry).count() + source.nets().count();
    (all - in_force) as u64
}

/// Why a registry may not replace the one in force.
fn refuse(
    registry: &crate::config::Registry,
    summary: &Summary,
    kept_before: &KeptBefore,
) -> Vec<Problem> {
    let counts = &summary.counts;
    let percent = counts.rejected_percent();
    if percent > u64::from(registry.rejected_max_percent) {
        let what = format!(
            "registry {}: {} of {} lines ({percent} %) are rejected, more than {} %",
            registry.id, counts.rejected, counts.read, registry.rejected_max_percent
        );
        let remedy =
            "correct the lines below or the registry's format, or raise rejected_max_percent";
        let mut problems = vec![Problem::of_file(&registry.path, what, remedy)];
        problems.extend(summary.rejected.iter().cloned());
        return problems;
    }
    let had = kept_before.get(&registry.id).copied().unwrap_or(0);
    if let Some(most) = registry.shrink_max_percent
        && counts.kept.saturating_mul(100) < had.saturating_mul(u64::from(100 - most.min(100)))
    {
        let what = format!(
            "registry {} holds {} entries, and held {had} before: more than {most} % are gone",
            registry.id, counts.kept
        );
        let remedy = "deliver it again, whole; if it is right, raise shrink_max_percent";
        return vec![Problem::of_file(&registry.path, what, remedy)];
    }
    if counts.kept == 0 && had > 0 {
        let what = format!(
            "registry {} is empty, and held {had} entries before",
            registry.id
        );
        return vec![Problem::of_file(
            &registry.path,
            what,
            "deliver the file again; to empty it on purpose, take the registry out of the configuration",
        )];
    }
    Vec::new()
}
