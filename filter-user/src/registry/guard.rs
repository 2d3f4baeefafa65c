//! The guard on a registry's size: entries that come or go by more than the configuration lets them are held
//! until somebody accepts them. A list that was cut off, or took in what is not its own, changes nothing by itself.

use std::mem::discriminant;

use super::load::Summary;
use super::{Source, Spec};
use crate::config::{Registry, SizeLimits};
use crate::problem::Problem;

/// What becomes of a registry whose size changes by too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    /// Its entries in force stay, those that are meant to replace them wait.
    Held(Problem),
    /// Nothing of it is at hand that could stay.
    Refused(Problem),
}

/// Judges a registry that was read, against the entries that it `had`. `now`: its files; `before`: the files in
/// force, of all registries.
pub(super) fn judge(
    registry: &Registry,
    summary: &Summary,
    had: u64,
    now: &[&Source],
    before: &[Source],
) -> Option<Guarded> {
    let what = excess(&registry.size, summary.counts.kept, had)?;
    let what = format!("registry {}: {what}", registry.id);
    let own: Vec<&Source> = of(registry, before).collect();
    if own.is_empty() {
        let remedy = format!(
            "deliver it again, whole; if it is right, `schoolgate registry accept {}`",
            registry.id
        );
        return Some(Guarded::Refused(Problem::of_file(
            &registry.path,
            what,
            remedy,
        )));
    }
    // Who changes what a registry is made of means its size to change.
    if !same_parts(&own, now) {
        return None;
    }
    let what = format!("{what}: held, what was in force stays");
    let remedy = format!(
        "`schoolgate diff --accept {0}` tells what it does, `schoolgate registry accept {0}` takes it",
        registry.id
    );
    Some(Guarded::Held(Problem::of_file(
        &registry.path,
        what,
        remedy,
    )))
}

/// The sources of a registry among others.
pub(super) fn of<'a>(
    registry: &'a Registry,
    sources: &'a [Source],
) -> impl Iterator<Item = &'a Source> {
    let id = registry.id.as_str();
    sources.iter().filter(move |source| {
        let rest = source.spec.name.strip_prefix(id);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// By how much too many entries come or go, in words.
fn excess(limits: &SizeLimits, has: u64, had: u64) -> Option<String> {
    if had == 0 || has.max(had) < limits.from {
        return None;
    }
    let (shrink, growth) = (limits.shrink_max_percent, limits.growth_max_percent);
    let share = |percent: u32| u128::from(had) * u128::from(percent);
    let hundredfold = u128::from(has) * 100;
    if hundredfold < share(100 - shrink.min(100)) {
        Some(format!(
            "holds {has} entries, and held {had} before: more than {shrink} % are gone"
        ))
    } else if hundredfold > share(growth.saturating_add(100)) {
        Some(format!(
            "holds {has} entries, and held {had} before: more than {growth} % have come"
        ))
    } else {
        None
    }
}

/// Whether two readings of a registry are of the same parts, read in the same way.
fn same_parts(before: &[&Source], now: &[&Source]) -> bool {
    let part = |spec: &Spec| {
        let reading = &spec.reading;
        // Where a file's records have their own categories, they are no word of the configuration's.
        let categories = if reading.syntax.is_divided() {
            0
        } else {
            spec.categories
        };
        let how = (discriminant(&reading.syntax), reading.accept);
        (spec.name.clone(), how, reading.bare_is_suffix, categories)
    };
    let parts = |sources: &[&Source]| {
        let mut parts: Vec<_> = Vec::new();
        for source in sources {
            let part = part(&source.spec);
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.sort_by(|left, right| (&left.0, left.3).cmp(&(&right.0, right.3)));
        parts
    };
    parts(before) == parts(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(has: u64, had: u64) -> bool {
        let limits = SizeLimits {
            shrink_max_percent: 50,
            growth_max_percent: 100,
            from: 1_000,
        };
        excess(&limits, has, had).is_some()
    }

    #[test]
    fn half_may_go_and_as_many_may_come() {
        assert!(!told(5_000, 10_000) && told(4_999, 10_000));
        assert!(!told(20_000, 10_000) && told(20_001, 10_000));
        assert!(!told(10_000, 0), "nothing to compare with");
        assert!(told(u64::MAX, 1) && told(1, u64::MAX));
    }

    #[test]
    fn small_lists_change_as_they_like() {
        assert!(!told(1, 999) && !told(999, 1));
        assert!(told(1, 1_000) && told(1_000, 1));
    }
}
