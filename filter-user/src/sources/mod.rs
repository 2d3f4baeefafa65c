//! Registries that are fetched by HTTP: their copies on disk and what is known of them. The newest good copy is
//! what is read, also while a fetch fails and after a restart without a network. A copy is good once its registry
//! was read from it and kept its limits.

mod get;
mod held;
mod store;
mod unpack;
mod update;

pub use held::{accept, roll_back};
pub use store::{Memo, Store, Version, Waiting};
pub use update::{Outcome, Updated, update};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::Registry;

/// How a registry's source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The last fetch brought the copy in force.
    Fresh,
    /// The last fetch found nothing newer.
    Unchanged,
    /// The last fetch failed: an earlier copy is in force.
    Cached,
    /// What came waits until somebody accepts it: an earlier copy is in force.
    Held,
    /// For longer than its alarm nothing was heard of it.
    Stale,
    /// There is no copy.
    None,
    /// A file that others deliver, younger than its alarm.
    Delivered,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            State::Fresh => "fresh",
            State::Unchanged => "unchanged",
            State::Cached => "cached after an error",
            State::Held => "held",
            State::Stale => "stale",
            State::None => "none",
            State::Delivered => "delivered",
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        matches!(self, State::Stale | State::None)
    }
}

/// A source, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Id of the registry.
    pub id: String,
    /// How it stands.
    pub state: State,
    /// Where it comes from; none: a file that others deliver.
    pub url: Option<String>,
    /// When it was last heard of, in seconds since 1970; 0: never.
    pub checked: u64,
    /// When the copy in force came, or its file was written.
    pub changed: u64,
    /// Good copies on disk.
    pub copies: usize,
    /// Why the last fetch failed, or what came is held.
    pub problem: Option<String>,
}

/// How the source of a registry stands; none for files without an alarm. `modified`: when the latest of its files
/// was written, in seconds since 1970.
#[must_use]
pub fn status(registry: &Registry, modified: u64, now: SystemTime) -> Option<SourceStatus> {
    let overdue = |heard: u64| {
        let alarm = registry.age_alarm.unwrap_or(Duration::MAX).as_secs();
        seconds(now).saturating_sub(heard) > alarm
    };
    let Some(fetch) = &registry.fetch else {
        registry.age_alarm?;
        return Some(SourceStatus {
            id: registry.id.clone(),
            state: if overdue(modified) {
                State::Stale
            } else {
                State::Delivered
            },
            url: None,
            checked: modified,
            changed: modified,
            copies: 0,
            problem: None,
        });
    };
    let store = Store::new(&fetch.directory);
    let memo = store.memo();
    let copies = store.copies().len();
    let state = if copies == 0 {
        State::None
    } else if overdue(memo.checked) {
        State::Stale
    } else if memo.waiting.is_some() {
        State::Held
    } else if memo.problem.is_some() {
        State::Cached
    } else if memo.changed == memo.checked {
        State::Fresh
    } else {
        State::Unchanged
    };
    Some(SourceStatus {
        id: registry.id.clone(),
        state,
        url: Some(fetch.url.clone()),
        checked: memo.checked,
        changed: memo.changed,
        copies,
        problem: memo.problem.or(memo.waiting.map(|waiting| waiting.why)),
    })
}

/// Seconds since 1970.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
