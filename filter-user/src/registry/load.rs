//! All registries: unchanged files are taken from the state before, the others are read, and a
//! registry that is worse than its limits is refused.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::digest;
use super::dump::Hidden;
use super::dump::deltas::follow;
use super::guard::{self, Guarded};
use super::progress::Progress;
use super::trusted::{Unread, read_trusted};
use super::{
    Counts, FileRecords, Listener, RECORD_URLS, REJECTED_SHOWN, Record, Source, Spec, Syntax,
    education, read_telling, specs, stamp,
};
use crate::config::Config;
use crate::digest::Digest;
use crate::problem::Problem;

/// State of a registry after a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// Read now.
    Read,
    /// Not touched since it was read.
    Unchanged,
    /// Read now, and waiting to be accepted, as its size has changed by too much: what was in force stays.
    Held,
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
    /// When the latest of its files was written, in seconds since 1970.
    #[serde(default)]
    pub modified: u64,
    /// SHA-256 over the SHA-256 of its files in force, in the order of their paths; empty: not known.
    #[serde(default)]
    pub revision: String,
    /// Read now or unchanged.
    pub state: Freshness,
    /// Entries of the files that wait to be accepted.
    #[serde(default)]
    pub held: Option<u64>,
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
/// Every registry that cannot be read or is not signed as it should be, is empty where it had entries, or
/// has more rejected lines than it may.
pub fn load(
    config: &Config,
    seed: u64,
    before: &[Source],
    kept_before: &KeptBefore,
    progress: Progress,
) -> Result<Loaded, Vec<Problem>> {
    let (specs, mut notes) = specs(config, seed)?;
    let mut known: Known<'_> = HashMap::new();
    for source in before {
        let path = source.file.reading.path.as_path();
        known.entry(path).or_default().push(source);
    }
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    let mut fresh = vec![false; config.registries.len()];
    let mut sources_of = |spec: Spec| {
        let same = unchanged(&known, &spec);
        if !same.is_empty() {
            return Ok(same);
        }
        if let Some(fresh) = fresh.get_mut(spec.registry) {
            *fresh = true;
        }
        read_trusted(spec, progress, Listener::default())
    };
    let time = |path: &Path| known.get(path)?.iter().find_map(|source| updated(source));
    for spec in specs {
        let registry = config.registries.get(spec.registry);
        let deltas = registry.and_then(|registry| registry.deltas.as_deref());
        match with_deltas(spec, deltas, time, &mut sources_of, &mut notes) {
            Ok(found) => sources.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    notes.extend(hidden(config, &sources));
    let mut summaries = summarise(config, &sources, &fresh);
    if problems.is_empty() {
        for (registry, summary) in config.registries.iter().zip(&summaries) {
            problems.extend(refuse(registry, summary, kept_before));
        }
    }
    if problems.is_empty() {
        let guarded = hold(config, &mut sources, &summaries, (before, kept_before));
        let (held, refused) = guarded;
        problems.extend(refused);
        if !held.is_empty() {
            let waiting = summaries;
            summaries = summarise(config, &sources, &fresh);
            for (at, problem) in held {
                let has = waiting.get(at).map(|summary| summary.counts.kept);
                if let Some(summary) = summaries.get_mut(at) {
                    (summary.state, summary.held) = (Freshness::Held, has);
                }
                notes.push(problem);
            }
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

/// The sources of a file, and of the deltas in a directory behind it. `time` and `sources_of` as `follow` takes
/// them.
pub(super) fn with_deltas(
    spec: Spec,
    deltas: Option<&Path>,
    time: impl Fn(&Path) -> Option<i64>,
    mut sources_of: impl FnMut(Spec) -> Result<Vec<Source>, Unread>,
    notes: &mut Vec<Problem>,
) -> Result<Vec<Source>, Problem> {
    let mut found = sources_of(spec)?;
    match (deltas, found.pop()) {
        (Some(deltas), Some(base)) => follow(deltas, base, time, sources_of, notes),
        (_, last) => {
            found.extend(last);
            Ok(found)
        }
    }
}

/// When a register that was read before was made, if its file was not touched.
fn updated(before: &Source) -> Option<i64> {
    let now = stamp(&before.file.reading.path).ok()?;
    let contents = before.file.contents.as_ref()?;
    contents.updated.filter(|_| now == before.file.stamp)
}

/// What is in force, by path: a file may be read in several ways.
type Known<'a> = HashMap<&'a Path, Vec<&'a Source>>;

/// The sources of a file that was not touched; none if it was, or is new.
fn unchanged(known: &Known<'_>, spec: &Spec) -> Vec<Source> {
    let before = known.get(spec.reading.path.as_path());
    let before = before.map_or(&[][..], Vec::as_slice).iter();
    let same: Vec<&&Source> = before
        .filter(|before| before.file.reading == spec.reading)
        .collect();
    let Some(first) = same.first() else {
        return Vec::new();
    };
    if !stamp(&spec.reading.path).is_ok_and(|now| now == first.file.stamp) {
        return Vec::new();
    }
    if !spec.reading.syntax.is_divided() {
        return vec![Source {
            spec: spec.clone(),
            file: Arc::clone(&first.file),
            mask: None,
        }];
    }
    // Two registries may have read the same file: each of its parts once.
    let parts: BTreeMap<u64, &Arc<FileRecords>> = same
        .iter()
        .map(|source| (source.spec.categories, &source.file))
        .collect();
    parts
        .into_iter()
        .map(|(categories, file)| part(spec, categories, Arc::clone(file)))
        .collect()
}

fn part(spec: &Spec, categories: u64, file: Arc<FileRecords>) -> Source {
    let spec = Spec {
        categories,
        ..spec.clone()
    };
    let mask = None;
    Source { spec, file, mask }
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

/// Reads a file: one source, or one for each set of categories where its records have their own.
///
/// # Errors
/// The file cannot be read as a whole.
pub fn read(
    spec: Spec,
    progress: Progress,
    listener: Listener<'_>,
) -> Result<Vec<Source>, Problem> {
    let reading = &spec.reading;
    let (files, digest) = digest::beside(&reading.path, || match &reading.syntax {
        Syntax::Education(words) => education::read(reading, words, listener),
        _ => read_telling(reading, progress, listener).map(|file| vec![(spec.categories, file)]),
    });
    let sources = files?.into_iter().map(|(categories, mut file)| {
        // Both opened the file by its path: another file than was read has no say.
        let same = digest.filter(|(_, stamp)| *stamp == file.stamp);
        file.digest = same.map(|(digest, _)| digest);
        part(&spec, categories, Arc::new(file))
    });
    Ok(sources.collect())
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
            modified: 0,
            revision: String::new(),
            state: if *fresh {
                Freshness::Read
            } else {
                Freshness::Unchanged
            },
            held: None,
            counts: Counts::default(),
            rejected: Vec::new(),
        })
        .collect();
    let mut files: Vec<BTreeMap<&Path, Option<Digest>>> = vec![BTreeMap::new(); summaries.len()];
    for source in sources {
        let Some(summary) = summaries.get_mut(source.spec.registry) else {
            continue;
        };
        if let Some(files) = files.get_mut(source.spec.registry) {
            files.insert(&source.file.reading.path, source.file.digest);
        }
        let modified = source.file.stamp.modified;
        let modified = modified.duration_since(SystemTime::UNIX_EPOCH);
        let modified = modified.map_or(0, |since| since.as_secs());
        summary.modified = summary.modified.max(modified);
        summary.counts.add(&source.file.counts);
        summary.counts.kept = summary.counts.kept.saturating_sub(masked(source));
        let room = REJECTED_SHOWN.saturating_sub(summary.rejected.len());
        summary
            .rejected
            .extend(source.file.rejected.iter().take(room).cloned());
    }
    for (summary, files) in summaries.iter_mut().zip(&files) {
        summary.files = files.len();
        summary.revision = digest::revision(files);
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

/// Registries that wait, by index, and those that are refused.
type Guards = (Vec<(usize, Problem)>, Vec<Problem>);

/// Puts the files in force in place of those of registries whose size has changed by too much.
fn hold(
    config: &Config,
    sources: &mut Vec<Source>,
    summaries: &[Summary],
    (before, kept_before): (&[Source], &KeptBefore),
) -> Guards {
    let (mut held, mut refused) = (Vec::new(), Vec::new());
    for (at, (registry, summary)) in config.registries.iter().zip(summaries).enumerate() {
        let had = kept_before.get(&registry.id).copied().unwrap_or(0);
        let now: Vec<&Source> = sources
            .iter()
            .filter(|source| source.spec.registry == at)
            .collect();
        match guard::judge(registry, summary, had, &now, before) {
            None => {}
            Some(Guarded::Refused(problem)) => refused.push(problem),
            Some(Guarded::Held(problem)) => held.push((at, problem)),
        }
    }
    for (at, _) in &held {
        sources.retain(|source| source.spec.registry != *at);
        let stays = config.registries.get(*at).into_iter();
        let stays = stays.flat_map(|registry| guard::of(registry, before));
        sources.extend(stays.map(|source| {
            let mut source = source.clone();
            source.spec.registry = *at;
            source
        }));
    }
    sources.sort_by_key(|source| source.spec.registry);
    (held, refused)
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
