//! Allow-listed names that an update touches: an entry that begins to stop something lies at, above or below
//! them.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};

use super::changed::{Changed, Changes};
use super::effect::{Effects, Walk};
use super::names::text;
use crate::compile::tiers_of;
use crate::config::Tier;
use crate::load::Everything;
use crate::normalise::Subject;
use crate::registry::load::read;
use crate::registry::progress::Progress;
use crate::registry::{Listener, Source};
use crate::walk::{Met, Place, walk};

/// An allow-listed name, address or prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// What is touched.
    pub subject: String,
    /// The list that allows it.
    pub list: String,
    /// The entry that touches it.
    pub by: String,
    /// Number of organisations that it is stopped for; 0: it stays allowed.
    pub stopped_for: usize,
}

/// What lies below or in entries that begin to stop.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) listed: Vec<Touched>,
    pub(super) count: u64,
}

/// Walks to everything that somebody allows.
pub(super) fn find(
    after: &Everything,
    changes: &Changes,
    effects: &Effects<'_>,
    limit: usize,
) -> Found {
    let begins =
        |changed: &&Changed| effects.begins(changed.before, changed.after, changed.address);
    let all = changes.keys.iter().chain(&changes.nets);
    let mut places: Vec<Place> = all.filter(begins).map(|changed| changed.place).collect();
    places.sort_unstable();
    let found = RefCell::new(Found::default());
    if places.is_empty() {
        return Found::default();
    }
    for source in &after.sources {
        if !is_allowing(after, effects, source) {
            continue;
        }
        let look = |own: Place, subject: &Subject<'_>| {
            let met = walk(&after.compiled.desired, after.seed, subject);
            // What is at the subject itself was met there already.
            let mut above = met.iter().filter(|met| met.place != own);
            let by = above.find(|met| places.binary_search(&met.place).is_ok());
            let Some(by) = by else { return };
            let mut found = found.borrow_mut();
            found.count += 1;
            if found.listed.len() < limit {
                let address = matches!(subject, Subject::Address(_) | Subject::Net(_));
                let way = Walk::new(&[], &met, address);
                found.listed.push(Touched {
                    subject: text(subject),
                    list: source.spec.name.clone(),
                    by: by.subject.clone(),
                    stopped_for: effects.stopped_for(&way.after, address),
                });
            }
        };
        for record in source.nets() {
            look(Place::Net(record.net), &Subject::Net(record.net));
        }
        let kept = |key: u64, subject: &Subject<'_>| look(Place::Key(key), subject);
        let listener = Listener {
            kept: Some(&kept),
            ..Listener::default()
        };
        // It was read a moment ago; if it is gone, nothing can be told of it.
        let _ = read(source.spec.clone(), Progress::Quiet, listener);
    }
    found.into_inner()
}

fn is_allowing(after: &Everything, effects: &Effects<'_>, source: &Source) -> bool {
    let tiers = tiers_of(source, &after.config, &after.numbers);
    source.spec.tier == Tier::Local && effects.allows(tiers.local)
}

/// The list that allows something on a way.
pub(super) fn allowing(after: &Everything, met: &[Met], effects: &Effects<'_>) -> Option<String> {
    let sources = after.sources.iter();
    let mut sources = sources.filter(|source| is_allowing(after, effects, source));
    let holds = |source: &&Source| {
        met.iter().any(|met| match met.place {
            Place::Key(key) => !source.with_key(key).is_empty(),
            Place::Net(net) => source.with_net(net).next().is_some(),
        })
    };
    sources.find(holds).map(|source| source.spec.name.clone())
}
