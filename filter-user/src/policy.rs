//! A profile compiled into the masks that the kernel reads. Pure.

use filter_common::abi::{POLICY_ALLOW_ONLY, Policy};
use filter_common::verdict::Action;

use crate::categories::Categories;
use crate::config::{Config, Profile};
use crate::numbers::Numbers;

/// The policy of a profile.
#[must_use]
pub fn policy(config: &Config, numbers: &Numbers, profile: &Profile) -> Policy {
    let categories: &Categories = &config.categories;
    let locals = |lists: &[usize]| {
        let ids = lists.iter().filter_map(|at| config.registries.get(*at));
        ids.filter_map(|registry| numbers.local(&registry.id))
            .fold(0, |mask, number| mask | 1 << number)
    };
    Policy {
        mandatory: categories.mask(|category| category.mandatory),
        local_allow: locals(&profile.allow),
        local_deny: locals(&profile.deny),
        block: profile.block,
        age: categories.mask(|category| category.age > profile.age),
        warn: profile.warn,
        suspicious: if profile.suspicious { u64::MAX } else { 0 },
        flags: if profile.allow_only {
            POLICY_ALLOW_ONLY
        } else {
            0
        },
        action: if profile.reset {
            Action::Reset as u32
        } else {
            Action::Drop as u32
        },
    }
}
