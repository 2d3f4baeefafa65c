//! Distinct classes: few, however many entries there are.

use std::collections::HashMap;

use filter_common::abi::{Class, ENGINES_MAX, LOCAL_ENGINE_SHIFT, LOCAL_URLS, Tiers};

use super::{
    CANARY, CANARY_SOURCE, ENGINE_SOURCE, INFRASTRUCTURE, INFRASTRUCTURE_SOURCE, RECORD_BITS, join,
    of_address,
};
use crate::registry::{RECORD_ADDRESS, RECORD_SUFFIX, RECORD_URLS};

/// Classes met so far; number 0 is the empty one.
pub(super) struct Classes {
    list: Vec<Class>,
    numbers: HashMap<Class, u16>,
    /// Class of the entries that stand in one file only, nearly all: by source.
    alone: HashMap<u32, u16>,
    overflow: bool,
}

impl Classes {
    pub(super) fn new() -> Self {
        let list = vec![Class::default()];
        Classes {
            list,
            numbers: HashMap::new(),
            alone: HashMap::new(),
            overflow: false,
        }
    }

    /// Number of a class.
    pub(super) fn number(&mut self, class: Class) -> u16 {
        if let Some(number) = self.numbers.get(&class) {
            return *number;
        }
        let Ok(number) = u16::try_from(self.list.len()) else {
            self.overflow = true;
            return 0;
        };
        self.list.push(class);
        self.numbers.insert(class, number);
        number
    }

    /// Number of the class of a subject that stands in these files (numbers above
    /// `RECORD_KIND` bits).
    pub(super) fn of_group(&mut self, sources: impl Iterator<Item = u32>, tiers: &[Tiers]) -> u16 {
        let mut sources = sources.peekable();
        let first = sources.next();
        if let (Some(first), None) = (first, sources.peek()) {
            if let Some(number) = self.alone.get(&first) {
                return *number;
            }
            let number = self.number(with(Class::default(), first, tiers));
            self.alone.insert(first, number);
            return number;
        }
        let class = first
            .into_iter()
            .chain(sources)
            .fold(Class::default(), |class, source| with(class, source, tiers));
        self.number(class)
    }

    /// The list, or `None` if there were too many.
    pub(super) fn finish(self) -> Option<Vec<Class>> {
        (!self.overflow).then_some(self.list)
    }
}

fn with(mut class: Class, source: u32, tiers: &[Tiers]) -> Class {
    if source == INFRASTRUCTURE_SOURCE {
        class.exact = join(class.exact, INFRASTRUCTURE);
        return class;
    }
    if source & RECORD_URLS != 0 {
        class.exact.local |= LOCAL_URLS;
        return class;
    }
    let number = source >> RECORD_BITS;
    let own = if number == CANARY_SOURCE {
        CANARY
    } else if let Some(engine @ 1..=ENGINES_MAX) = ENGINE_SOURCE.checked_sub(number) {
        Tiers {
            local: u64::from(engine) << LOCAL_ENGINE_SHIFT,
            ..Tiers::default()
        }
    } else {
        usize::try_from(number)
            .ok()
            .and_then(|at| tiers.get(at))
            .copied()
            .unwrap_or_default()
    };
    let own = if source & RECORD_ADDRESS != 0 {
        of_address(own)
    } else {
        own
    };
    if source & RECORD_SUFFIX != 0 {
        class.suffix = join(class.suffix, own);
    } else {
        class.exact = join(class.exact, own);
    }
    class
}
