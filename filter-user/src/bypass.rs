//! Timed bypasses: an organisation or a segment for which, up to a moment, only the unified registry
//! and mandatory categories are filtered. They outlive the daemon, and the kernel ends them by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Organisation;
use crate::kernel::grants::monotonic_ns;
use crate::problem::Problem;
use crate::state::write_secret;

/// Longest bypass, in seconds.
pub const SECONDS_MAX: u64 = 12 * 60 * 60;
/// Longest reason, in characters.
pub const REASON_MAX: usize = 200;
/// The file, in the state directory.
const FILE: &str = "bypasses.json";
/// Difference between the two clocks, in nanoseconds, from which on the wall's counts as set anew.
const CLOCK_STEP_NS: u64 = 2_000_000_000;

/// A bypass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// When it began, in seconds since 1970.
    pub since: i64,
    /// When it ends, in seconds since 1970.
    pub until: i64,
    /// Why it was given.
    pub reason: String,
    /// Number of the user who gave it.
    pub actor: u32,
    /// Its end by the kernel's clock; 0: not known yet.
    #[serde(skip)]
    until_ns: u64,
}

impl Bypass {
    /// A bypass of `seconds` from now on.
    #[must_use]
    pub fn new(now: Timestamp, seconds: u64, reason: &str, actor: u32) -> Bypass {
        let since = now.as_second();
        let seconds = i64::try_from(seconds.min(SECONDS_MAX)).unwrap_or(0);
        Bypass {
            since,
            until: since.saturating_add(seconds),
            reason: reason.to_owned(),
            actor,
            until_ns: 0,
        }
    }

    /// Its end by the kernel's clock, reckoned once: a row that does not change is not written.
    fn end_ns(&mut self, now: Timestamp, monotonic: u64) -> u64 {
        let end = i128::from(self.until) * 1_000_000_000;
        let left = u64::try_from(end - now.as_nanosecond()).unwrap_or(0);
        let end = monotonic.saturating_add(left);
        if self.until_ns.abs_diff(end) > CLOCK_STEP_NS {
            self.until_ns = end;
        }
        self.until_ns
    }
}

/// What policies depend on beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub at: Timestamp,
    /// Bypasses in force: their end by the kernel's clock, by id of an organisation or a segment.
    pub bypasses: BTreeMap<String, u64>,
}

impl Moment {
    /// When the bypass of an organisation or a segment ends, its own or the whole organisation's; 0: there
    /// is none.
    #[must_use]
    pub fn bypass_until_ns(&self, organisation: &Organisation) -> u64 {
        let ids = std::iter::once(organisation.id.as_str()).chain(organisation.parent());
        ids.filter_map(|id| self.bypasses.get(id))
            .copied()
            .max()
            .unwrap_or(0)
    }
}

/// All bypasses, shared by those who ask and those who change.
#[derive(Clone, Debug, Default)]
pub struct Bypasses(Arc<RwLock<BTreeMap<String, Bypass>>>);

impl Bypasses {
    /// Those that an earlier daemon left; none, where nothing readable was left: to filter is the safe side.
    #[must_use]
    pub fn load(directory: &Path) -> Bypasses {
        let text = std::fs::read(directory.join(FILE)).unwrap_or_default();
        let all: BTreeMap<String, Bypass> = serde_json::from_slice(&text).unwrap_or_default();
        Bypasses(Arc::new(RwLock::new(all)))
    }

    /// Those that have not ended.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> BTreeMap<String, Bypass> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let current = all
            .iter()
            .filter(|(_, bypass)| bypass.until > now.as_second());
        current
            .map(|(id, bypass)| (id.clone(), bypass.clone()))
            .collect()
    }

    /// The bypass of an organisation or a segment at a moment: its own or the whole organisation's,
    /// whichever ends last, with the id it was given for.
    #[must_use]
    pub fn of(&self, organisation: &Organisation, at: Timestamp) -> Option<(String, Bypass)> {
        let mut current = self.list(at);
        let ids = std::iter::once(organisation.id.as_str()).chain(organisation.parent());
        ids.filter_map(|id| Some((id.to_owned(), current.remove(id)?)))
            .filter(|(_, bypass)| bypass.since <= at.as_second())
            .max_by_key(|(_, bypass)| bypass.until)
    }

    /// What policies depend on now.
    #[must_use]
    pub fn moment(&self, at: Timestamp) -> Moment {
        let monotonic = monotonic_ns();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let current = (all.iter_mut()).filter(|(_, bypass)| bypass.until > at.as_second());
        let bypasses = current
            .map(|(id, bypass)| (id.clone(), bypass.end_ns(at, monotonic)))
            .collect();
        Moment { at, bypasses }
    }

    /// Keeps a bypass, or ends one (`None`), on disk first. Those that have ended are forgotten.
    ///
    /// # Errors
    /// The file cannot be written: nothing has changed then.
    pub fn put(
        &self,
        directory: &Path,
        now: Timestamp,
        id: &str,
        bypass: Option<Bypass>,
    ) -> Result<(), Problem> {
        let mut kept = self.list(now);
        match bypass {
            Some(bypass) => kept.insert(id.to_owned(), bypass),
            None => kept.remove(id),
        };
        let path = directory.join(FILE);
        let text = serde_json::to_vec_pretty(&kept).map_err(std::io::Error::from);
        text.and_then(|text| write_secret(&path, &text))
            .map_err(|error| {
                let what = format!("cannot be written: {error}");
                Problem::of_file(&path, what, "make room or correct permissions")
            })?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn bypasses_outlive_the_daemon_and_end() {
        let dir = TempDir::new();
        let all = Bypasses::load(dir.path());
        let bypass = Bypass::new(at(1_000), 60, "lesson", 0);
        all.put(dir.path(), at(1_000), "a", Some(bypass.clone()))
            .unwrap();
        let again = Bypasses::load(dir.path());
        assert_eq!(
            again.list(at(1_059)),
            BTreeMap::from([("a".to_owned(), bypass)])
        );
        assert!(again.list(at(1_060)).is_empty());
        assert!(again.moment(at(1_060)).bypasses.is_empty());
        again.put(dir.path(), at(1_001), "a", None).unwrap();
        assert!(Bypasses::load(dir.path()).list(at(1_001)).is_empty());
    }

    #[test]
    fn no_bypass_is_longer_than_it_may_be() {
        let bypass = Bypass::new(at(0), u64::MAX, "", 0);
        assert_eq!(bypass.until, i64::try_from(SECONDS_MAX).unwrap());
    }

    #[test]
    fn the_kernel_end_moves_only_with_a_clock_that_was_set() {
        let mut bypass = Bypass::new(at(1_000), 100, "", 0);
        let second = 1_000_000_000;
        assert_eq!(bypass.end_ns(at(1_000), 50 * second), 150 * second);
        assert_eq!(
            bypass.end_ns(at(1_011), 60 * second),
            150 * second,
            "a second of drift"
        );
        assert_eq!(
            bypass.end_ns(at(1_050), 61 * second),
            111 * second,
            "the clock was set"
        );
    }
}
