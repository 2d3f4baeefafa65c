//! The entries in which two states differ, and the lists that they stand in.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use filter_common::abi::{Class, LOCAL_URLS};
use ipnet::IpNet;

use super::RegistryDifference;
use super::effect::Walk;
use crate::desired::Desired;
use crate::load::Everything;
use crate::registry::{RECORD_URLS, Source};
use crate::walk::Place;

/// Where an entry is listed: the state (before: false), its source, its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) after: bool,
    pub(super) source: usize,
    pub(super) line: u32,
}

/// An entry in which the states differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    pub(super) place: Place,
    pub(super) address: bool,
    pub(super) before: Option<u16>,
    pub(super) after: Option<u16>,
    pub(super) listed: Option<Listed>,
    /// It has been met on its way.
    pub(super) met: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Names, addresses and URLs, sorted by key.
    pub(super) keys: Vec<Changed>,
    /// Prefixes.
    pub(super) nets: Vec<Changed>,
    /// Entries that mean the same as before, by their classes and whether they are addresses.
    same: HashMap<(u16, u16, bool), u64>,
    registries: BTreeMap<String, [u64; 2]>,
}

impl Changes {
    pub(super) fn between(before: &Everything, after: &Everything) -> Changes {
        let mut changes = Changes::default();
        changes.compare(&before.compiled.desired, &after.compiled.desired);
        changes.compare_nets(&before.compiled.desired, &after.compiled.desired);
        let (old, new) = (moved(before, after), moved(after, before));
        for (is_after, own, moved, others) in
            [(true, after, &new, &old), (false, before, &old, &new)]
        {
            for at in moved.values().flatten() {
                let (Some(source), Some(id)) = (own.sources.get(*at), registry(own, *at)) else {
                    continue;
                };
                let other = if is_after { before } else { after };
                let twins = others.get(id).into_iter().flatten();
                let twins: Vec<&Source> = twins.filter_map(|at| other.sources.get(*at)).collect();
                changes.follow(is_after, (*at, source), &twins, id);
            }
        }
        changes.look_elsewhere(after);
        changes
    }

    fn compare(&mut self, before: &Desired, after: &Desired) {
        let mut old = before.subjects.iter().peekable();
        let mut new = after.subjects.iter().peekable();
        loop {
            let at = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(old), None) => old.key,
                (None, Some(new)) => new.key,
                (Some(old), Some(new)) => old.key.min(new.key),
            };
            let old = old.next_if(|subject| subject.key == at);
            let new = new.next_if(|subject| subject.key == at);
            let address = new.or(old).is_some_and(|subject| subject.address);
            let place = Place::Key(at);
            let classes = (
                old.map(|subject| subject.class),
                new.map(|subject| subject.class),
            );
            let changed = self.meet(place, address, classes, (before, after));
            self.keys.extend(changed);
        }
    }

    fn compare_nets(&mut self, before: &Desired, after: &Desired) {
        let rows = |desired: &Desired| -> BTreeMap<IpNet, u16> {
            let v4 = desired.nets4.iter();
            let v4 = v4.map(|row| (IpNet::V4(row.net), row.class));
            let v6 = desired.nets6.iter();
            let v6 = v6.map(|row| (IpNet::V6(row.net), row.class));
            v4.chain(v6).collect()
        };
        let (old, new) = (rows(before), rows(after));
        let nets: BTreeSet<&IpNet> = old.keys().chain(new.keys()).collect();
        for net in nets {
            let classes = (old.get(net).copied(), new.get(net).copied());
            let changed = self.meet(Place::Net(*net), true, classes, (before, after));
            self.nets.extend(changed);
        }
    }

    /// An entry with its classes in both states: it changes, or counts among those that do not.
    fn meet(
        &mut self,
        place: Place,
        address: bool,
        (old, new): (Option<u16>, Option<u16>),
        (before, after): (&Desired, &Desired),
    ) -> Option<Changed> {
        let meant = |at: Option<u16>, classes: &[Class]| meaning(*classes.get(usize::from(at?))?);
        let (was, is) = (meant(old, &before.classes), meant(new, &after.classes));
        let (old, new) = (old.filter(|_| was.is_some()), new.filter(|_| is.is_some()));
        if was == is {
            if let (Some(old), Some(new)) = (old, new) {
                *self.same.entry((old, new, address)).or_default() += 1;
            }
            return None;
        }
        Some(Changed {
            place,
            address,
            before: old,
            after: new,
            listed: None,
            met: false,
        })
    }

    /// Finds the changed entries in a source: where they stand, and what its registry gains or loses against its
    /// `twins` in the other state.
    fn follow(
        &mut self,
        after: bool,
        (at, source): (usize, &Source),
        twins: &[&Source],
        registry: &str,
    ) {
        let listed = |line: u32| Listed {
            after,
            source: at,
            line,
        };
        let mut moved = 0;
        let records = source.records();
        for record in records.filter(|record| record.flags & RECORD_URLS == 0) {
            let here = |twin: &&Source| {
                let twins = twin.with_key(record.key);
                twins.iter().any(|other| other.flags == record.flags)
            };
            moved += u64::from(!twins.iter().any(here));
            if let Some(changed) = self.of_key(record.key) {
                changed.listed.get_or_insert(listed(record.line));
            }
        }
        for record in source.nets() {
            let here = |twin: &&Source| twin.with_net(record.net).next().is_some();
            moved += u64::from(!twins.iter().any(here));
            if let Some(changed) = self.of_net(record.net) {
                changed.listed.get_or_insert(listed(record.line));
            }
        }
        let counts = self.registries.entry(registry.to_owned()).or_default();
        if let Some(count) = counts.get_mut(usize::from(!after)) {
            *count += moved;
        }
    }

    /// What a list has lost may stand in another one, which did not change.
    fn look_elsewhere(&mut self, after: &Everything) {
        let stays = |changed: &&mut Changed| changed.after.is_some();
        for changed in self.keys.iter_mut().filter(stays) {
            let Place::Key(key) = changed.place else {
                continue;
            };
            if changed.listed.is_some_and(|listed| listed.after) {
                continue;
            }
            let sources = (0..).zip(&after.sources);
            let mut found = sources.filter_map(|(source, of)| {
                let line = of.with_key(key).first()?.line;
                Some(Listed {
                    after: true,
                    source,
                    line,
                })
            });
            changed.listed = found.next().or(changed.listed);
        }
    }

    /// The changed entry with this key.
    pub(super) fn of_key(&mut self, key: u64) -> Option<&mut Changed> {
        let at = self.keys.binary_search_by(|changed| match changed.place {
            Place::Key(known) => known.cmp(&key),
            Place::Net(_) => Ordering::Less,
        });
        self.keys.get_mut(at.ok()?)
    }

    /// The changed entry of this prefix.
    pub(super) fn of_net(&mut self, net: IpNet) -> Option<&mut Changed> {
        let at = self.nets.binary_search_by(|changed| match changed.place {
            Place::Key(_) => Ordering::Less,
            Place::Net(known) => known.cmp(&net),
        });
        self.nets.get_mut(at.ok()?)
    }

    /// Entries by what becomes of them: added, changed, removed.
    pub(super) fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for changed in self.keys.iter().chain(&self.nets) {
            let column = match (changed.before, changed.after) {
                (None, _) => 0,
                (Some(_), Some(_)) => 1,
                (Some(_), None) => 2,
            };
            if let Some(count) = counts.get_mut(column) {
                *count += 1;
            }
        }
        counts
    }

    /// Walks of the entries that stay, with their number: policies may change for them.
    pub(super) fn standing(&self) -> Vec<(Walk, u64)> {
        let same = self.same.iter();
        same.map(|((old, new, address), count)| {
            (Walk::alone(Some(*old), Some(*new), *address), *count)
        })
        .collect()
    }

    /// The registries whose entries change.
    pub(super) fn registries(&self, after: &Everything) -> Vec<RegistryDifference> {
        let changed = self.registries.iter();
        let changed = changed.filter(|(_, [added, removed])| added + removed > 0);
        let held = |id: &str| {
            let mut summaries = after.summaries.iter();
            let summary = summaries.find(|summary| summary.id == id);
            summary.map_or(0, |summary| summary.counts.kept)
        };
        changed
            .map(|(id, [added, removed])| RegistryDifference {
                id: id.clone(),
                added: *added,
                removed: *removed,
                entries: held(id),
            })
            .collect()
    }
}

/// What a class says of its subject: that a host has URLs is no word on the host.
fn meaning(mut class: Class) -> Option<Class> {
    class.exact.local &= !LOCAL_URLS;
    (class != Class::default()).then_some(class)
}

/// The sources of a state that are not the same in the other one, by registry.
fn moved<'a>(own: &'a Everything, other: &Everything) -> BTreeMap<&'a str, Vec<usize>> {
    let known: HashMap<Identity<'_>, &Source> = (0..other.sources.len())
        .filter_map(|at| Some((identity(other, at)?, other.sources.get(at)?)))
        .collect();
    let mut moved: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, source) in own.sources.iter().enumerate() {
        let Some(identity) = identity(own, at) else {
            continue;
        };
        let twin = known.get(&identity);
        if !twin.is_some_and(|twin| is_same(source, twin)) {
            moved.entry(identity.0).or_default().push(at);
        }
    }
    moved
}

fn registry(own: &Everything, source: usize) -> Option<&str> {
    let source = own.sources.get(source)?;
    let registry = own.config.registries.get(source.spec.registry)?;
    Some(&registry.id)
}

/// By what a source is known in both states: registry, name, file, categories.
type Identity<'a> = (&'a str, &'a str, &'a Path, u64);

fn identity(own: &Everything, at: usize) -> Option<Identity<'_>> {
    let source = own.sources.get(at)?;
    let spec = &source.spec;
    Some((
        registry(own, at)?,
        &spec.name,
        &spec.reading.path,
        spec.categories,
    ))
}

/// Whether two sources are one file, of which the same is in force and means the same.
fn is_same(left: &Source, right: &Source) -> bool {
    let masks = match (&left.mask, &right.mask) {
        (None, None) => true,
        (Some(left), Some(right)) => left == right,
        _ => false,
    };
    masks && Arc::ptr_eq(&left.file, &right.file) && left.spec.tier == right.spec.tier
}
