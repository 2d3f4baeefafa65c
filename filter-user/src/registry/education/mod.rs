//! The education registry (`rules/education-registry.md`): records with categories, an age mark and the decision
//! behind them, as CSV or JSON. One file gives a list for each distinct set of categories.

mod csv;
mod date;
mod json;
mod record;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use filter_common::name::name_key;
use filter_common::url::{path_hash, url_key};

use super::keep::{Keeper, Listener, Rejects};
use super::{Counts, FileRecords, Reading, Wanted, stamp};
use crate::categories::Categories;
use crate::desired::address_key;
use crate::encoding;
use crate::entries::Decision;
use crate::normalise::Subject;
use crate::problem::Problem;

use record::{Fault, Record, check};
pub use record::{Fields, KINDS};

/// Largest file that is read: more than a million records.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Category of an age mark: this and the age.
const AGE_PREFIX: &str = "age_";

/// The words of records: categories and age marks, with their bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    categories: BTreeMap<String, u64>,
}

impl Words {
    /// The words of the categories in force.
    #[must_use]
    pub fn new(categories: &Categories) -> Arc<Words> {
        let bits = categories.all().iter();
        let bits = bits.map(|category| (category.id.clone(), 1 << category.number));
        Arc::new(Words {
            categories: bits.collect(),
        })
    }

    fn category(&self, id: &str) -> Option<u64> {
        self.categories.get(id).copied()
    }

    fn age(&self, age: u32) -> Option<u64> {
        self.category(&format!("{AGE_PREFIX}{age}"))
    }

    fn ids(&self) -> impl Iterator<Item = &str> {
        self.categories.keys().map(String::as_str)
    }
}

/// Takes each record of a file with its line, or why it is none.
type Each<'e> = &'e mut dyn FnMut(u32, Result<Fields<'_>, Fault>);

/// Reads a file: for each distinct set of categories, as a mask, what it lists. The counts stand in the first.
///
/// # Errors
/// The file cannot be read as a whole: it is no text, no JSON, or its columns are not known. Records that are
/// wrong are no error: they are counted, and the listener is told each.
pub fn read(
    reading: &Reading,
    words: &Words,
    listener: Listener<'_>,
) -> Result<Vec<(u64, FileRecords)>, Problem> {
    let started = Instant::now();
    let stamp = stamp(&reading.path).map_err(|error| super::read::unreadable(reading, &error))?;
    let mut keepers: BTreeMap<u64, Keeper<'_, '_>> = BTreeMap::new();
    let mut rejects = Rejects::new(&reading.path, listener.rejected);
    let mut ids: HashSet<String> = HashSet::new();
    records(reading, &mut |line, fields| {
        rejects.counts.read += 1;
        let kept = fields.and_then(|fields| {
            let record = check(&fields, words, reading.guards)?;
            if !ids.insert(record.id.to_owned()) {
                return Err(Fault::twice(record.id));
            }
            let keeper = keepers.entry(record.mask);
            let keeper = keeper.or_insert_with(|| Keeper::new(reading, listener.kept));
            let kept = keeper.take(line, &record.subject, record.suffix);
            kept.map_err(|refusal| Fault::of_subject(&record, refusal))
        });
        if let Err(fault) = kept {
            rejects.reject(line, fault.reason, fault.what, &fault.remedy);
        }
    })?;
    let mut files: Vec<(u64, FileRecords)> = Vec::new();
    for (mask, keeper) in keepers {
        let kept = keeper.finish(&mut rejects);
        let counts = Counts {
            kept: kept.kept,
            duplicate: kept.duplicate,
            ..Counts::default()
        };
        files.push((
            mask,
            FileRecords::new(reading, stamp, kept.records, kept.nets, counts),
        ));
    }
    if files.is_empty() {
        files.push((
            0,
            FileRecords::new(reading, stamp, Vec::new(), Vec::new(), Counts::default()),
        ));
    }
    if let Some((_, first)) = files.first_mut() {
        first.counts.add(&rejects.counts);
        first.counts.took(started.elapsed());
        first.rejected = rejects.first;
    }
    Ok(files)
}

/// Reads the record of an entry again: how it is shown, and the decision behind it.
#[must_use]
pub fn find(
    reading: &Reading,
    words: &Words,
    line: u32,
    wanted: Wanted,
) -> Option<(String, Option<Decision>)> {
    let mut found = None;
    let read = records(reading, &mut |at, fields| {
        let Ok(fields) = fields else { return };
        if at != line || found.is_some() {
            return;
        }
        let Ok(record) = check(&fields, words, reading.guards) else {
            return;
        };
        if is_wanted(&record, reading, wanted) {
            let text = format!("record {}: {} {}", record.id, fields.kind, fields.subject);
            found = Some((text, record.decision.clone()));
        }
    });
    read.ok()?;
    found
}

/// Whether a record is the one of an entry: several may stand on a line of JSON.
fn is_wanted(record: &Record<'_>, reading: &Reading, wanted: Wanted) -> bool {
    let seed = reading.seed;
    let key = match (&record.subject, wanted) {
        (Subject::Net(net), Wanted::Net(wanted)) => return *net == wanted,
        (_, Wanted::Net(_)) | (Subject::Net(_), _) => return false,
        (Subject::Address(address), _) => Some(address_key(seed, *address)),
        (Subject::Name { name, .. }, _) => name_key(seed, name.as_bytes()),
        (Subject::Url { host, path, below }, _) => {
            let path = if *below {
                path.trim_end_matches('/')
            } else {
                path
            };
            name_key(seed, host.as_bytes())
                .map(|host| url_key(host, path_hash(seed, path.as_bytes())))
        }
    };
    key.is_some_and(|key| wanted == Wanted::Key(key))
}

/// All records of a file, by its kind: JSON begins with a bracket.
fn records(reading: &Reading, each: Each<'_>) -> Result<(), Problem> {
    let text = encoding::text(&reading.path, FILE_BYTES_MAX)?;
    if text.trim_ascii_start().starts_with(['[', '{']) {
        json::records(&reading.path, &text, each)
    } else {
        csv::records(&reading.path, &text, each)
    }
}

#[cfg(test)]
mod tests;
