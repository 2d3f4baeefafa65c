//! The verdict on a name, from the very tables and by the very rule of the data path. What the program
//! found of the destination's address goes on from there.

use filter_common::abi::Policy;
use filter_common::grant::grant_key;
use filter_common::name::name_key;
use filter_common::reason::Reason;
use filter_common::rule::{Best, Decision, Moment, Step, decide, judge_entry};
use filter_common::table::{find_in_bucket, other_bucket, position, tag};

use super::copy::Copy;
use crate::kernel::Tables;
use crate::kernel::grants::halves;
use crate::kernel::quic::QuicVerdict;

/// The verdict on a name in lower case.
pub(super) fn named(copy: &Copy<'_>, tables: &Tables, name: &[u8], now_ns: u64) -> QuicVerdict {
    let policy = tables.policies.get(copy.policy).unwrap_or_default();
    // A trailing dot is the root's label: stock servers take the name without it for the same host.
    let name = name.strip_suffix(b".").unwrap_or(name);
    let mut best = copy.best;
    let dots = (0..name.len())
        .rev()
        .filter(|at| name.get(*at) == Some(&b'.'));
    for start in dots.map(|at| at + 1) {
        consider(
            &mut best,
            tables,
            &policy,
            name.get(start..).unwrap_or_default(),
            false,
        );
    }
    consider(&mut best, tables, &policy, name, true);
    verdict(copy, tables, &best, &policy, Moment::Name, now_ns)
}

/// The verdict on a hello without a name.
pub(super) fn nameless(copy: &Copy<'_>, tables: &Tables, now_ns: u64) -> QuicVerdict {
    let policy = tables.policies.get(copy.policy).unwrap_or_default();
    verdict(copy, tables, &copy.best, &policy, Moment::Nameless, now_ns)
}

/// As `lookup::subject_found` of the data path: takes a suffix of the name into account.
fn consider(best: &mut Best, tables: &Tables, policy: &Policy, suffix: &[u8], whole: bool) {
    let control = tables.control_row();
    let Some(key) = name_key(control.seed, suffix) else {
        return;
    };
    let tag = tag(key);
    let first = position(key, control.bucket_len);
    let places = [first, other_bucket(first, tag, control.bucket_len)];
    let found = places.into_iter().find_map(|bucket| {
        let (class, slot) = find_in_bucket(&tables.subjects.get(bucket)?, tag);
        (class != 0).then_some((bucket, class, slot))
    });
    let Some((bucket, class, slot)) = found else {
        return;
    };
    let entries = tables
        .subject_entries
        .get(bucket)
        .unwrap_or_default()
        .entries;
    let entry = usize::try_from(slot)
        .ok()
        .and_then(|slot| entries.get(slot))
        .copied()
        .unwrap_or(0);
    let Some(class) = tables.classes.get(class) else {
        return;
    };
    // With its leading dot.
    let len = u32::try_from(suffix.len() + 1).unwrap_or(u32::MAX);
    best.consider(judge_entry(&class.suffix, policy), entry, len);
    if whole {
        best.consider(judge_entry(&class.exact, policy), entry, len);
    }
}

/// As `lookup::decide_into_outcome` of the data path.
fn verdict(
    copy: &Copy<'_>,
    tables: &Tables,
    best: &Best,
    policy: &Policy,
    moment: Moment,
    now_ns: u64,
) -> QuicVerdict {
    let Decision {
        reason,
        category,
        entry,
    } = decide(best, policy, copy.bypass, moment);
    let warned = matches!(reason, Some(Reason::WarnAddress | Reason::WarnName));
    if warned && best.step == Step::Warn as u32 && is_granted(copy, tables, entry, now_ns) {
        return QuicVerdict {
            reason: Reason::PassGrant.number(),
            category: filter_common::rule::CATEGORY_NONE,
            entry,
        };
    }
    QuicVerdict {
        reason: reason.unwrap_or(Reason::PassQuicName).number(),
        category,
        entry,
    }
}

fn is_granted(copy: &Copy<'_>, tables: &Tables, entry: u32, now_ns: u64) -> bool {
    let Some(org) = tables.orgs.get(copy.org) else {
        return false;
    };
    let seed = tables.control_row().seed;
    let key = grant_key(seed, org.id_key, halves(copy.source), entry);
    tables.grants.until(key) > now_ns
}
