//! Numbers that stand in maps for the operator's words: of realms and of local lists. What is in
//! force keeps its number, so that an update never changes the meaning of a row in use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use filter_common::abi::{ENGINES_MAX, LOCAL_LISTS};

use crate::config::{Config, DEFAULT_REALM, Tier};

/// Numbers in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Realm numbers by name; the default realm is 0.
    pub realms: BTreeMap<String, u16>,
    /// Local list numbers, below [`LOCAL_LISTS`], by registry id.
    pub locals: BTreeMap<String, u16>,
    /// Numbers of search engines by id, from 0 on; maps hold one more.
    #[serde(default)]
    pub engines: BTreeMap<String, u16>,
}

impl Numbers {
    /// Numbers for a configuration: those in force are kept, new ones take the lowest number that is
    /// not in force, so that a number changes its meaning at the earliest one update after it fell
    /// free.
    #[must_use]
    pub fn assign(&self, config: &Config) -> Numbers {
        let mut realms: BTreeMap<String, u16> = self.realms.clone();
        realms.insert(DEFAULT_REALM.to_owned(), 0);
        let local = config
            .registries
            .iter()
            .filter(|registry| registry.tier == Tier::Local);
        // A state of before may hold numbers of lists that mean something else now.
        let mut locals = self.locals.clone();
        locals.retain(|_, number| u32::from(*number) < LOCAL_LISTS);
        let engines = config.engines.iter().map(|engine| engine.id.as_str());
        Numbers {
            realms: keep_and_add(&realms, config.realms().into_iter(), LOCAL_LISTS),
            locals: keep_and_add(
                &locals,
                local.map(|registry| registry.id.as_str()),
                LOCAL_LISTS,
            ),
            engines: keep_and_add(&self.engines, engines, ENGINES_MAX),
        }
    }

    /// Number of a realm.
    #[must_use]
    pub fn realm(&self, name: &str) -> Option<u16> {
        self.realms.get(name).copied()
    }

    /// Number of a local list.
    #[must_use]
    pub fn local(&self, id: &str) -> Option<u16> {
        self.locals.get(id).copied()
    }

    /// Number of a search engine, as maps hold it: 1 to [`ENGINES_MAX`].
    #[must_use]
    pub fn engine(&self, id: &str) -> Option<u32> {
        self.engines.get(id).map(|number| u32::from(*number) + 1)
    }

    /// One more than the highest realm number.
    #[must_use]
    pub fn realm_count(&self) -> u16 {
        self.realms.values().max().map_or(1, |highest| highest + 1)
    }
}

fn keep_and_add<'a>(
    before: &BTreeMap<String, u16>,
    wanted: impl Iterator<Item = &'a str>,
    limit: u32,
) -> BTreeMap<String, u16> {
    let wanted: Vec<&str> = wanted.collect();
    let mut numbers: BTreeMap<String, u16> = BTreeMap::new();
    for name in &wanted {
        if let Some(number) = before.get(*name) {
            numbers.insert((*name).to_owned(), *number);
        }
    }
    for name in wanted {
        if numbers.contains_key(name) {
            continue;
        }
        let held = |number: &u16| {
            numbers
                .values()
                .chain(before.values())
                .any(|other| other == number)
        };
        let in_use = |number: &u16| numbers.values().any(|other| other == number);
        // Local lists and engines must stay below their limit; only when all are held is one taken that just fell free.
        let free = (0..u16::try_from(limit).unwrap_or(u16::MAX))
            .find(|number| !held(number))
            .or_else(|| (0..u16::MAX).find(|number| !in_use(number)));
        numbers.insert(name.to_owned(), free.unwrap_or(u16::MAX));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, u16)]) -> BTreeMap<String, u16> {
        pairs
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number))
            .collect()
    }

    #[test]
    fn numbers_in_force_stay_and_freed_ones_rest_one_update() {
        let first = keep_and_add(&BTreeMap::new(), ["a", "b", "c"].into_iter(), 63);
        assert_eq!(first, map(&[("a", 0), ("b", 1), ("c", 2)]));
        let second = keep_and_add(&first, ["c", "d", "a"].into_iter(), 63);
        assert_eq!(second, map(&[("a", 0), ("c", 2), ("d", 3)]));
        let third = keep_and_add(&second, ["c", "d", "a", "e"].into_iter(), 63);
        assert_eq!(third["e"], 1);
    }
}
