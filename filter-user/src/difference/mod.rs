//! What an update does, told before it is applied: what it newly blocks, newly warns of and sets free, by category
//! and by organisation, and which allow-listed names it touches. Pure: two states in, a report out; names are
//! read from the lists' files again, as a state holds keys only.

mod changed;
mod effect;
mod names;
mod touched;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Instant;

use filter_common::abi::Policy;
use serde::{Deserialize, Serialize};

use crate::compile::Rule;
use crate::config::Config;
use crate::load::Everything;
use crate::numbers::Numbers;
use crate::policy::policy;

pub use effect::Effect;

use changed::Changes;
use effect::{Effects, Walks};
pub use touched::Touched;

/// What an update does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Registries whose entries change.
    pub registries: Vec<RegistryDifference>,
    /// Names, addresses, URLs and prefixes: added, changed, removed.
    pub entries: [u64; 3],
    /// Organisations that are enrolled.
    pub enrolled: Vec<String>,
    /// Organisations that are enrolled no longer: nothing of theirs is filtered.
    pub left: Vec<String>,
    /// Organisations and segments that come under another policy.
    pub other_policy: u64,
    /// Entries by category: newly blocked, newly warned of, free. Each entry counts once in a category, for
    /// however many organisations.
    pub categories: BTreeMap<String, [u64; 3]>,
    /// Organisations that meet the same effects.
    pub groups: Vec<Group>,
    /// Some of the entries.
    pub examples: Vec<Example>,
    /// Allow-listed names, addresses and prefixes that it touches.
    pub touched: Vec<Touched>,
    /// All that it touches, also those that are not listed here.
    pub touched_count: u64,
    /// Entries that are known by their key only, as their file was replaced: they are judged by themselves,
    /// without what they lie below.
    pub unnamed: u64,
    /// What was left out of the update, and why.
    pub notes: Vec<String>,
    /// Milliseconds that reading the update took.
    pub read_milliseconds: u64,
    /// Milliseconds that comparing took.
    pub milliseconds: u64,
}

impl Difference {
    /// Whether nothing changes for anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let stays = self.enrolled.is_empty() && self.left.is_empty() && self.other_policy == 0;
        stays && self.entries == [0; 3]
    }
}

/// A registry whose entries change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryDifference {
    /// Its id.
    pub id: String,
    /// Entries that it gains.
    pub added: u64,
    /// Entries that it loses.
    pub removed: u64,
    /// Entries that it holds then.
    pub entries: u64,
}

/// Organisations and segments that are under the same policies, before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Profiles with the policy before.
    pub before: Vec<String>,
    /// Profiles with the policy after.
    pub after: Vec<String>,
    /// Ids of the organisations.
    pub organisations: Vec<String>,
    /// Entries that are newly blocked, newly warned of, free.
    pub effects: [u64; 3],
    /// The same by category.
    pub categories: BTreeMap<String, [u64; 3]>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What becomes of it.
    pub effect: Effect,
    /// The name, address, prefix or URL.
    pub subject: String,
    /// The registry.
    pub list: String,
    /// The file.
    pub file: PathBuf,
    /// Its line; in a register in XML the id of its record.
    pub line: u32,
    /// Whether that is the id of a record.
    pub by_record: bool,
    /// The category that decides; none for a list of the operator's own.
    pub category: Option<String>,
    /// Number of organisations that it is so for.
    pub organisations: usize,
}

/// Organisations of both states with the same policies.
#[derive(Debug)]
pub(crate) struct Pair {
    before: Policy,
    after: Policy,
    organisations: Vec<usize>,
}

impl Pair {
    /// The same, as if no list were allowed.
    fn without_allowing(&self) -> Pair {
        let (mut before, mut after) = (self.before, self.after);
        (before.local_allow, after.local_allow) = (0, 0);
        Pair {
            before,
            after,
            organisations: Vec::new(),
        }
    }
}

/// Compares the state in force, with what its organisations are under now, to one that was read. At most
/// `examples` entries of each effect are named, and as many that are touched.
#[must_use]
pub fn difference(
    before: &Everything,
    rules: &[Rule],
    after: &Everything,
    examples: usize,
) -> Difference {
    let started = Instant::now();
    let (pairs, enrolled, left) = pairs(before, rules, after);
    let mut changes = Changes::between(before, after);
    let mut walks = Walks::default();
    let effects = Effects::new(before, after, &pairs);
    let mut told = names::tell(before, after, &mut changes, &mut walks, &effects, examples);
    let touched = touched::find(after, &changes, &effects, examples);
    told.touched.extend(touched.listed);
    told.touched.truncate(examples);
    let unnamed = names::count_rest(&changes, &mut walks);
    let other_policy = pairs.iter().filter(|pair| pair.before != pair.after);
    let mut report = Difference {
        registries: changes.registries(after),
        entries: changes.counts(),
        enrolled,
        left,
        other_policy: other_policy
            .map(|pair| pair.organisations.len() as u64)
            .sum(),
        examples: told.examples,
        touched: told.touched,
        touched_count: told.touched_count + touched.count,
        unnamed,
        notes: after.notes.iter().map(ToString::to_string).collect(),
        read_milliseconds: after.milliseconds,
        ..Difference::default()
    };
    count(&mut report, (before, after), &pairs, &changes, &walks);
    report.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

/// Counts effects by category and by group.
fn count(
    report: &mut Difference,
    (before, after): (&Everything, &Everything),
    pairs: &[Pair],
    changes: &Changes,
    walks: &Walks,
) {
    let effects = Effects::new(before, after, pairs);
    let label = |category: u32| {
        let label = after.config.categories.label(category);
        label.unwrap_or("local lists").to_owned()
    };
    let standing = changes.standing();
    let met: Vec<(&effect::Walk, u64, bool)> = (walks.counted().map(|(walk, n)| (walk, n, false)))
        .chain(standing.iter().map(|(walk, n)| (walk, *n, true)))
        .collect();
    let mut groups: Vec<Group> = Vec::new();
    // Whether an entry has counted in a category: by walk, effect and category.
    let mut counted: BTreeSet<(usize, usize, u32)> = BTreeSet::new();
    for pair in pairs {
        let mut group = group(before, after, pair);
        for (at, (walk, entries, unchanged)) in met.iter().enumerate() {
            if *unchanged && pair.before == pair.after {
                continue;
            }
            let Some((effect, category)) = effects.of(walk, pair) else {
                continue;
            };
            let column = effect as usize;
            let add = |counts: &mut [u64; 3]| {
                if let Some(count) = counts.get_mut(column) {
                    *count += entries;
                }
            };
            add(&mut group.effects);
            add(group.categories.entry(label(category)).or_default());
            if counted.insert((at, column, category)) {
                add(report.categories.entry(label(category)).or_default());
            }
        }
        groups.push(group);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.organisations.len()));
    report.groups = groups;
}

fn group(before: &Everything, after: &Everything, pair: &Pair) -> Group {
    let organisations = &after.config.organisations;
    let ids = pair.organisations.iter();
    let ids = ids.filter_map(|at| organisations.get(*at).map(|of| of.id.clone()));
    Group {
        before: profiles(&before.config, &before.numbers, &pair.before),
        after: profiles(&after.config, &after.numbers, &pair.after),
        organisations: ids.collect(),
        ..Group::default()
    }
}

/// The profiles of a configuration that mean a policy.
fn profiles(config: &Config, numbers: &Numbers, wanted: &Policy) -> Vec<String> {
    let same = config.profiles.iter();
    let same = same.filter(|profile| policy(config, numbers, profile) == *wanted);
    same.map(|profile| profile.id.clone()).collect()
}

type Pairs = (Vec<Pair>, Vec<String>, Vec<String>);

/// Organisations by their policies, those that come, and those that go.
fn pairs(before: &Everything, rules: &[Rule], after: &Everything) -> Pairs {
    let old = before.config.organisations.iter().zip(rules);
    let mut old: HashMap<&str, Policy> = old
        .map(|(organisation, rule)| (organisation.id.as_str(), rule.policy))
        .collect();
    let mut pairs: HashMap<(Policy, Policy), Vec<usize>> = HashMap::new();
    let mut enrolled = Vec::new();
    // Compilation keeps the order of the configuration.
    let new = &after.compiled.desired.organisations;
    for (at, organisation) in new.iter().enumerate() {
        match old.remove(organisation.id.as_str()) {
            Some(policy) => {
                let same = pairs.entry((policy, organisation.policy)).or_default();
                same.push(at);
            }
            None => enrolled.push(organisation.id.clone()),
        }
    }
    let mut left: Vec<String> = old.into_keys().map(str::to_owned).collect();
    left.sort();
    let pairs = pairs
        .into_iter()
        .map(|((before, after), organisations)| Pair {
            before,
            after,
            organisations,
        });
    let mut pairs: Vec<Pair> = pairs.collect();
    pairs.sort_by_key(|pair| pair.organisations.first().copied());
    (pairs, enrolled, left)
}

#[cfg(test)]
mod tests;
