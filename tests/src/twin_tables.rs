//! The tables of the program's twin on the host, filled by the plainest means.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support: rows are where they were put"
)]

use std::collections::BTreeMap;

use filter_common::abi::{Bucket, CONTROL_PAGE, CONTROL_PASS_ALL};
use filter_common::table::{bloom_bits, other_bucket, position};
use filter_user::desired::Desired;

/// A table of two-choice buckets, filled first come, first served; it doubles until all fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) rows: Vec<Bucket>,
    pub(crate) entries: Vec<[u32; 8]>,
}

impl Buckets {
    /// `slots`: key, tag, value, entry.
    pub(crate) fn fill(slots: &[(u64, u64, u64, u32)]) -> Buckets {
        let mut len = slots.len() + 1;
        loop {
            let mut made = Buckets {
                rows: vec![Bucket::default(); len],
                entries: vec![[0; 8]; len],
            };
            if slots.iter().all(|slot| made.put(*slot)) {
                return made;
            }
            len *= 2;
        }
    }

    fn put(&mut self, (key, tag, value, entry): (u64, u64, u64, u32)) -> bool {
        let len = self.rows.len() as u32;
        let first = position(key, len);
        for bucket in [first, other_bucket(first, tag, len)] {
            let row = &mut self.rows[bucket as usize];
            if let Some(at) = row.slots.iter().position(|slot| *slot == 0) {
                row.slots[at] = tag | value;
                self.entries[bucket as usize][at] = entry;
                return true;
            }
        }
        false
    }
}

/// A Bloom filter of one word a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bloom(pub(crate) Vec<u64>);

/// Keys of the names, or of the addresses.
pub(crate) fn subject_keys(desired: &Desired, address: bool) -> impl Iterator<Item = u64> + Clone {
    let subjects = desired.subjects.iter();
    subjects
        .filter(move |subject| subject.address == address)
        .map(|subject| subject.key)
}

impl Bloom {
    pub(crate) fn fill(keys: impl Iterator<Item = u64> + Clone) -> Bloom {
        let len = keys.clone().count();
        let mut words = vec![0; if len == 0 { 0 } else { len + 1 }];
        let room = words.len() as u32;
        for key in keys {
            words[position(key, room) as usize] |= bloom_bits(key);
        }
        Bloom(words)
    }
}

/// What the daemon gives beside the lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) grants: BTreeMap<u64, u64>,
    pub(crate) quic_flows: BTreeMap<u64, (u64, u32)>,
    pub(crate) inspector_until: u64,
}

/// `Control::flags` of a state.
pub(crate) fn switches(desired: &Desired) -> u32 {
    let page = desired.page.host.is_some();
    (u32::from(desired.pass_all) * CONTROL_PASS_ALL) | (u32::from(page) * CONTROL_PAGE)
}
