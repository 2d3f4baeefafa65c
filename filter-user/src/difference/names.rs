//! The names of changed entries, from their files, and what they meet on their way.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::Example;
use super::changed::{Changed, Changes, Listed};
use super::effect::{Effects, Walk, Walks};
use super::touched::{self, Touched};
use crate::load::Everything;
use crate::normalise::Subject;
use crate::registry::load::read;
use crate::registry::progress::Progress;
use crate::registry::{Listener, Source, stamp};
use crate::walk::{Place, walk};

/// What names tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) examples: Vec<Example>,
    pub(super) touched: Vec<Touched>,
    pub(super) touched_count: u64,
}

/// Walks to changed entries, one after the other.
struct Teller<'a> {
    before: &'a Everything,
    after: &'a Everything,
    changes: &'a mut Changes,
    walks: &'a mut Walks,
    effects: &'a Effects<'a>,
    limit: usize,
    told: Told,
}

/// Reads the files of changed entries again, and follows each of them on its way.
pub(super) fn tell(
    before: &Everything,
    after: &Everything,
    changes: &mut Changes,
    walks: &mut Walks,
    effects: &Effects<'_>,
    limit: usize,
) -> Told {
    // By file and the way it is read: one file may be several sources.
    let mut wanted: BTreeSet<(bool, usize)> = BTreeSet::new();
    for changed in &changes.keys {
        wanted.extend(changed.listed.map(|listed| (listed.after, listed.source)));
    }
    let mut teller = Teller {
        before,
        after,
        changes,
        walks,
        effects,
        limit,
        told: Told::default(),
    };
    teller.nets();
    let mut heard: Vec<(bool, &Source)> = Vec::new();
    for (is_after, at) in wanted.into_iter().rev() {
        let own = if is_after { after } else { before };
        let Some(source) = own.sources.get(at) else {
            continue;
        };
        let again = heard
            .iter()
            .any(|(side, known)| *side == is_after && known.spec.reading == source.spec.reading);
        if !again {
            heard.push((is_after, source));
            teller.hear(source);
        }
    }
    teller.told
}

/// Counts the entries whose names could not be read, each by itself; how many these are.
pub(super) fn count_rest(changes: &Changes, walks: &mut Walks) -> u64 {
    let rest = changes.keys.iter().filter(|changed| !changed.met);
    let mut unnamed = 0;
    for changed in rest {
        walks.add(Walk::alone(changed.before, changed.after, changed.address));
        // What the configuration itself lists stands in no file, and is known.
        unnamed += u64::from(changed.listed.is_some());
    }
    unnamed
}

impl Teller<'_> {
    /// Reads a file again, if it is still what it was.
    fn hear(&mut self, source: &Source) {
        let path = &source.file.reading.path;
        if !stamp(path).is_ok_and(|now| now == source.file.stamp) {
            return;
        }
        let spec = source.spec.clone();
        let teller = RefCell::new(self);
        let kept = |key: u64, subject: &Subject<'_>| teller.borrow_mut().meet(key, subject);
        let listener = Listener {
            kept: Some(&kept),
            ..Listener::default()
        };
        // What can no longer be read leaves its entries without a name: they are counted.
        let _ = read(spec, Progress::Quiet, listener);
    }

    fn meet(&mut self, key: u64, subject: &Subject<'_>) {
        let Some(changed) = self.changes.of_key(key) else {
            return;
        };
        if std::mem::replace(&mut changed.met, true) {
            return;
        }
        let changed = *changed;
        self.follow(changed, subject);
    }

    fn nets(&mut self) {
        let nets = self.changes.nets.clone();
        for changed in nets {
            if let Place::Net(net) = changed.place {
                self.follow(changed, &Subject::Net(net));
            }
        }
    }

    fn follow(&mut self, changed: Changed, subject: &Subject<'_>) {
        let seed = self.after.seed;
        let old = walk(&self.before.compiled.desired, seed, subject);
        let new = walk(&self.after.compiled.desired, seed, subject);
        let way = Walk::new(&old, &new, changed.address);
        self.example(&way, changed.listed, subject);
        let begins = self
            .effects
            .begins(changed.before, changed.after, changed.address);
        if begins && self.effects.judged(&way).allowed {
            self.told.touched_count += 1;
            if self.told.touched.len() < self.limit {
                let text = text(subject);
                self.told.touched.push(Touched {
                    by: text.clone(),
                    subject: text,
                    list: touched::allowing(self.after, &new, self.effects).unwrap_or_default(),
                    stopped_for: self.effects.stopped_for(&way.after, changed.address),
                });
            }
        }
        self.walks.add(way);
    }

    fn example(&mut self, way: &Walk, listed: Option<Listed>, subject: &Subject<'_>) {
        let Some((effect, category, organisations)) = self.effects.judged(way).first else {
            return;
        };
        let same = self.told.examples.iter();
        if same.filter(|example| example.effect == effect).count() >= self.limit {
            return;
        }
        let Some(listed) = listed else { return };
        let own = if listed.after {
            self.after
        } else {
            self.before
        };
        let Some(source) = own.sources.get(listed.source) else {
            return;
        };
        let category = self.after.config.categories.label(category);
        self.told.examples.push(Example {
            effect,
            subject: text(subject),
            list: source.spec.name.clone(),
            file: source.file.reading.path.clone(),
            line: listed.line,
            by_record: source.file.reading.syntax.xml().is_some(),
            category: category.map(str::to_owned),
            organisations,
        });
    }
}

/// A subject as lists write it.
pub(super) fn text(subject: &Subject<'_>) -> String {
    match subject {
        Subject::Name { name, .. } => name.to_string(),
        Subject::Address(address) => address.to_string(),
        Subject::Net(net) => net.to_string(),
        Subject::Url { host, path, .. } => format!("http://{host}{path}"),
    }
}
