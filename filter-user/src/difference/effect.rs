//! What becomes of an entry under a policy, and the ways that entries are met by: few, however many entries.

use std::cell::RefCell;
use std::collections::HashMap;

use filter_common::abi::{Class, Policy};
use filter_common::rule::{CATEGORY_NONE, Moment, decide};
use filter_common::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::Pair;
use crate::load::Everything;
use crate::walk::{Link, Met, best, stopped_endpoint};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It was not blocked, and is.
    Blocked = 0,
    /// It was not warned of, and is.
    Warned = 1,
    /// It was blocked or warned of, and passes.
    Free = 2,
}

impl Effect {
    /// All of them, in the order of the counts.
    pub const ALL: [Effect; 3] = [Effect::Blocked, Effect::Warned, Effect::Free];

    /// The words for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Effect::Blocked => "newly blocked",
            Effect::Warned => "newly warned",
            Effect::Free => "free",
        }
    }
}

/// The entries on the way to a subject: indices of their classes, and whether they are the subject's own.
type Way = Vec<(u16, bool)>;

/// The ways to a subject in the two states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Walk {
    pub(super) before: Way,
    pub(super) after: Way,
    pub(super) address: bool,
}

impl Walk {
    pub(super) fn new(before: &[Met], after: &[Met], address: bool) -> Walk {
        let way = |met: &[Met]| met.iter().map(|met| (met.class, met.whole)).collect();
        Walk {
            before: way(before),
            after: way(after),
            address,
        }
    }

    /// Of an entry alone.
    pub(super) fn alone(before: Option<u16>, after: Option<u16>, address: bool) -> Walk {
        let way = |class: Option<u16>| class.map(|class| (class, true)).into_iter().collect();
        Walk {
            before: way(before),
            after: way(after),
            address,
        }
    }
}

/// The distinct walks, with the number of entries of each.
#[derive(Debug, Default)]
pub(super) struct Walks {
    numbers: HashMap<Walk, usize>,
    counts: Vec<u64>,
}

impl Walks {
    /// Counts an entry.
    pub(super) fn add(&mut self, walk: Walk) {
        let next = self.counts.len();
        let number = *self.numbers.entry(walk).or_insert(next);
        if number == next {
            self.counts.push(0);
        }
        if let Some(count) = self.counts.get_mut(number) {
            *count += 1;
        }
    }

    /// Every walk with its entries.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&Walk, u64)> {
        let counts = |number: &usize| self.counts.get(*number).copied().unwrap_or(0);
        self.numbers
            .iter()
            .map(move |(walk, number)| (walk, counts(number)))
    }
}

/// A verdict, with the category that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passes,
    Warned(u32),
    Blocked(u32),
}

/// Judges entries under the policies of organisations.
pub(super) struct Effects<'a> {
    before: &'a [Class],
    after: &'a [Class],
    pairs: &'a [Pair],
    /// What was judged already: entries are many, walks are few.
    known: RefCell<HashMap<Walk, Judged>>,
    beginning: RefCell<HashMap<Walk, bool>>,
}

/// A walk for everybody.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judged {
    /// The first effect that the subject has for anybody, its category, and for how many organisations.
    pub(super) first: Option<(Effect, u32, usize)>,
    /// The way leads over an entry that somebody allows.
    pub(super) allowed: bool,
}

impl<'a> Effects<'a> {
    pub(super) fn new(before: &'a Everything, after: &'a Everything, pairs: &'a [Pair]) -> Self {
        Effects {
            before: &before.compiled.desired.classes,
            after: &after.compiled.desired.classes,
            pairs,
            known: RefCell::default(),
            beginning: RefCell::default(),
        }
    }

    /// What becomes of a subject for organisations: of itself, or else of what lies below it.
    pub(super) fn of(&self, walk: &Walk, pair: &Pair) -> Option<(Effect, u32)> {
        let before = links(&walk.before, self.before, walk.address);
        let after = links(&walk.after, self.after, walk.address);
        let itself = turn(
            outcome(&before, &pair.before, walk.address),
            outcome(&after, &pair.after, walk.address),
        );
        if itself.is_some() || walk.address {
            return itself;
        }
        turn(
            outcome(&below(&before), &pair.before, false),
            outcome(&below(&after), &pair.after, false),
        )
    }

    /// What becomes of a subject for everybody.
    pub(super) fn judged(&self, walk: &Walk) -> Judged {
        if let Some(known) = self.known.borrow().get(walk) {
            return *known;
        }
        let mut judged = Judged {
            allowed: self.is_allowed(&walk.after),
            ..Judged::default()
        };
        for pair in self.pairs {
            let Some((effect, category)) = self.of(walk, pair) else {
                continue;
            };
            let number = pair.organisations.len();
            match &mut judged.first {
                None => judged.first = Some((effect, category, number)),
                Some((known, _, count)) if *known == effect => *count += number,
                Some(_) => {}
            }
        }
        self.known.borrow_mut().insert(walk.clone(), judged);
        judged
    }

    /// Whether an entry by itself begins to stop its subject for anybody, if nobody allowed anything.
    pub(super) fn begins(&self, before: Option<u16>, after: Option<u16>, address: bool) -> bool {
        let walk = Walk::alone(before, after, address);
        if let Some(known) = self.beginning.borrow().get(&walk) {
            return *known;
        }
        let mut pairs = self.pairs.iter().map(Pair::without_allowing);
        let begins = pairs.any(|pair| {
            let effect = self.of(&walk, &pair);
            effect.is_some_and(|(effect, _)| effect != Effect::Free)
        });
        self.beginning.borrow_mut().insert(walk, begins);
        begins
    }

    /// Number of organisations that a subject is stopped for, after.
    pub(super) fn stopped_for(&self, way: &[(u16, bool)], address: bool) -> usize {
        let links = links(way, self.after, address);
        let stopped = self
            .pairs
            .iter()
            .filter(|pair| outcome(&links, &pair.after, address) != Outcome::Passes);
        stopped.map(|pair| pair.organisations.len()).sum()
    }

    /// Whether somebody allows what these local lists hold.
    pub(super) fn allows(&self, local: u64) -> bool {
        let mut pairs = self.pairs.iter();
        pairs.any(|pair| local & pair.after.local_allow != 0)
    }

    /// Whether a way leads over an entry that somebody allows.
    fn is_allowed(&self, way: &[(u16, bool)]) -> bool {
        links(way, self.after, false).iter().any(|link| {
            let exact = link.exact.map_or(0, |tiers| tiers.local);
            self.allows(exact | link.suffix.local)
        })
    }
}

/// What entries mean. The data path goes by which of two is the longer, not by how long they are.
fn links(way: &[(u16, bool)], classes: &[Class], address: bool) -> Vec<Link> {
    let link = |(at, (class, whole)): (u32, &(u16, bool))| {
        let class = classes.get(usize::from(*class)).copied();
        let len = if address { 0 } else { at };
        Link::new(class.unwrap_or_default(), *whole, len)
    };
    (1u32..).zip(way).map(link).collect()
}

/// What a name below meets.
fn below(links: &[Link]) -> Vec<Link> {
    let below = |link: &Link| Link {
        exact: None,
        ..*link
    };
    links.iter().map(below).collect()
}

fn outcome(links: &[Link], policy: &Policy, address: bool) -> Outcome {
    let moment = if address {
        Moment::Address
    } else {
        Moment::Name
    };
    let decision = decide(&best(links, policy), policy, false, moment);
    let verdict = decision
        .reason
        .map_or(Verdict::Pass, |reason| reason.verdict());
    match verdict {
        Verdict::Block => Outcome::Blocked(decision.category),
        Verdict::Warn => Outcome::Warned(decision.category),
        _ if address && stopped_endpoint(links, policy).is_some() => {
            Outcome::Blocked(CATEGORY_NONE)
        }
        _ => Outcome::Passes,
    }
}

fn turn(before: Outcome, after: Outcome) -> Option<(Effect, u32)> {
    match (before, after) {
        (Outcome::Blocked(_), Outcome::Blocked(_))
        | (Outcome::Warned(_), Outcome::Warned(_))
        | (Outcome::Passes, Outcome::Passes) => None,
        (_, Outcome::Blocked(category)) => Some((Effect::Blocked, category)),
        (_, Outcome::Warned(category)) => Some((Effect::Warned, category)),
        (Outcome::Blocked(category) | Outcome::Warned(category), Outcome::Passes) => {
            Some((Effect::Free, category))
        }
    }
}
