//! Exceptions of a list: they take back entries of the same list. What they cannot take back, because an entry
//! above covers them, is told.

use std::collections::{HashMap, HashSet};

use filter_common::name::name_key;
use ipnet::IpNet;

use super::formats::{Reach, Scope};
use super::{NetRecord, RECORD_ADDRESS, RECORD_SUFFIX, Record};

/// What an exception is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A canonical name.
    Name(Box<str>),
    /// An address or a prefix.
    Net(IpNet),
}

/// One exception.
#[derive(Clone, Debug)]
pub(super) struct Exception {
    /// Its line.
    pub(super) line: u32,
    /// What it is about.
    pub(super) about: About,
    /// Which names it means.
    pub(super) scope: Scope,
    /// How far it reaches.
    pub(super) reach: Reach,
    /// Goes before entries that are important too.
    pub(super) important: bool,
}

/// The exceptions of a list.
#[derive(Debug, Default)]
pub(super) struct Exceptions {
    all: Vec<Exception>,
    /// Names, by key.
    names: HashMap<u64, Vec<usize>>,
    nets: HashMap<IpNet, Vec<usize>>,
    /// Keys of important entries.
    important: HashSet<u64>,
    /// Keys of names that the list answers itself, and of all above them.
    answered: HashSet<u64>,
}

impl Exceptions {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.answered.is_empty()
    }

    /// Forgets what was noted of entries.
    pub(super) fn forget_entries(&mut self) {
        self.important.clear();
    }

    /// Adds one.
    pub(super) fn add(&mut self, seed: u64, exception: Exception) {
        let at = self.all.len();
        match &exception.about {
            About::Name(name) if exception.reach == Reach::Above => {
                let keys = suffixes(name).filter_map(|suffix| name_key(seed, suffix.as_bytes()));
                self.answered.extend(keys);
                return;
            }
            About::Name(name) => {
                let Some(key) = name_key(seed, name.as_bytes()) else {
                    return;
                };
                self.names.entry(key).or_default().push(at);
            }
            About::Net(net) => self.nets.entry(*net).or_default().push(at),
        }
        self.all.push(exception);
    }

    /// Whether an entry of a name is taken back; if not, notes that it is important.
    pub(super) fn cancel_name(
        &mut self,
        seed: u64,
        name: &str,
        scope: Scope,
        important: bool,
    ) -> bool {
        if self.names.is_empty() && !important {
            return false;
        }
        let cancels = |at: &usize, whole: bool| {
            self.all
                .get(*at)
                .is_some_and(|exception| exception.takes_back(scope, whole, important))
        };
        let cancelled = suffixes(name).any(|suffix| {
            let whole = suffix.len() == name.len();
            let key = name_key(seed, suffix.as_bytes());
            let here = key.and_then(|key| self.names.get(&key));
            here.is_some_and(|here| here.iter().any(|at| cancels(at, whole)))
        });
        if important && !cancelled {
            self.important.extend(name_key(seed, name.as_bytes()));
        }
        cancelled
    }

    /// Whether the list itself answers a name, or one below it.
    pub(super) fn answers(&self, key: u64) -> bool {
        self.answered.contains(&key)
    }

    /// Whether an entry of a prefix or an address is taken back.
    pub(super) fn cancel_net(&self, net: IpNet, important: bool) -> bool {
        let here = self.nets.get(&net).into_iter().flatten();
        let here = here.filter_map(|at| self.all.get(*at));
        let mut reaching = here.filter(|exception| exception.reach != Reach::Nothing);
        reaching.any(|exception| exception.important >= important)
    }

    /// The exceptions that an entry covers. Records and prefixes are sorted.
    pub(super) fn covered(
        &self,
        seed: u64,
        records: &[Record],
        nets: &[NetRecord],
    ) -> Vec<&Exception> {
        let is_suffix = |key: u64| {
            let from = records.partition_point(|record| record.key < key);
            let here = records.get(from..).unwrap_or(&[]);
            let mut here = here.iter().take_while(|record| record.key == key);
            !self.important.contains(&key)
                && here
                    .any(|record| record.flags & (RECORD_SUFFIX | RECORD_ADDRESS) == RECORD_SUFFIX)
        };
        let covered = |exception: &&Exception| match &exception.about {
            _ if exception.reach == Reach::Rule => false,
            About::Name(name) => suffixes(name).any(|suffix| {
                let itself = suffix.len() == name.len();
                let wide = itself && exception.scope == Scope::Suffix;
                !wide && name_key(seed, suffix.as_bytes()).is_some_and(is_suffix)
            }),
            About::Net(net) => (0..net.prefix_len()).any(|length| is_listed(*net, length, nets)),
        };
        self.all.iter().filter(covered).collect()
    }
}

impl Exception {
    /// Whether it takes back an entry of its own subject (`whole`) or below it.
    fn takes_back(&self, scope: Scope, whole: bool, important: bool) -> bool {
        match self.reach {
            Reach::Rule => whole && self.scope == scope && self.important == important,
            Reach::Nothing | Reach::Above => false,
            Reach::Subject => whole && self.covers(scope) && self.important >= important,
            Reach::Covered => {
                let below = matches!(self.scope, Scope::Suffix | Scope::Below);
                let covers = if whole { self.covers(scope) } else { below };
                covers && self.important >= important
            }
        }
    }

    /// Whether everything that an entry of the same name means is excepted.
    fn covers(&self, scope: Scope) -> bool {
        self.scope == Scope::Suffix || self.scope == scope
    }
}

fn is_listed(net: IpNet, length: u8, nets: &[NetRecord]) -> bool {
    let Ok(around) = IpNet::new(net.addr(), length) else {
        return false;
    };
    let around = around.trunc();
    nets.binary_search_by(|record| record.net.cmp(&around))
        .is_ok()
}

/// A name and all that it lies below.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let below = name
        .match_indices('.')
        .filter_map(|(at, _)| name.get(at + 1..));
    std::iter::once(name).chain(below)
}
