//! Prefixes of destination addresses: a bit for each /24 (IPv4) or a Bloom filter of the /32s
//! (IPv6) in front of an LPM trie.

use std::collections::BTreeMap;

use aya::Pod;
use filter_common::abi::Control;
use filter_common::name::net6_key;
use filter_common::table::{bloom_bits, position};
use ipnet::{Ipv4Net, Ipv6Net};

use super::error::KernelError;
use super::memory::Array;
use super::subjects::{lower_bits, raise_bits, store_image};
use super::tables::NET4_WORDS;
use super::trie::{Prefix, Trie};
use super::{Seed, Tables};
use crate::desired::{Blocks4, Desired, NetSubject, range_words};

/// Shortest IPv6 prefix whose /32s are listed one by one (at most 256 of them); a shorter one
/// opens the Bloom filter altogether.
const NET6_LISTED_MIN: u8 = 24;

/// Class row and entry number.
type Value = [u32; 2];

/// What is to be done to a trie.
#[derive(Debug)]
pub(crate) struct TriePlan<K, V> {
    pub(crate) adds: Vec<(Prefix<K>, V)>,
    pub(crate) changes: Vec<(Prefix<K>, V)>,
    pub(crate) removals: Vec<Prefix<K>>,
}

impl<K: Pod + Ord, V: Pod + PartialEq> TriePlan<K, V> {
    /// Compares a trie with what it shall hold.
    pub(crate) fn new(
        trie: &Trie<K, V>,
        wanted: &BTreeMap<Prefix<K>, V>,
        what: &'static str,
    ) -> Result<Self, KernelError> {
        let actual = trie.entries();
        let mut plan = TriePlan {
            adds: vec![],
            changes: vec![],
            removals: vec![],
        };
        for (prefix, value) in wanted {
            match actual.get(prefix) {
                None => plan.adds.push((*prefix, *value)),
                Some(old) if old != value => plan.changes.push((*prefix, *value)),
                Some(_) => {}
            }
        }
        plan.removals = actual
            .into_keys()
            .filter(|prefix| !wanted.contains_key(prefix))
            .collect();
        let kept = wanted.len() + plan.removals.len();
        if kept > trie.capacity() as usize {
            return Err(KernelError::NeedsNewGeneration(what));
        }
        Ok(plan)
    }

    /// Adds and changes.
    pub(crate) fn add(&self, trie: &Trie<K, V>) -> Result<(), KernelError> {
        self.adds
            .iter()
            .chain(&self.changes)
            .try_for_each(|(prefix, value)| trie.insert(*prefix, *value))
    }

    /// Removes.
    pub(crate) fn remove(&self, trie: &Trie<K, V>) -> Result<(), KernelError> {
        self.removals
            .iter()
            .try_for_each(|prefix| trie.remove(prefix))
    }
}

impl<K: Pod + Ord> TriePlan<K, Value> {
    /// Class rows of all prefixes that change, as `trie` has them and as they shall be.
    pub(crate) fn rows<'a>(
        &'a self,
        trie: &'a Trie<K, Value>,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        let old = |prefix| trie.exact(prefix).map_or(0, |[class, _]| u64::from(class));
        let adds = self.adds.iter().map(|(_, [new, _])| (0, u64::from(*new)));
        let changes = self.changes.iter();
        let changes = changes.map(move |(prefix, [new, _])| (old(prefix), u64::from(*new)));
        let removals = self.removals.iter().map(move |prefix| (old(prefix), 0));
        adds.chain(changes).chain(removals)
    }
}

/// What is to be done to the prefix entries.
#[derive(Debug)]
pub(crate) struct NetPlan {
    pub(crate) v4: TriePlan<[u8; 4], Value>,
    pub(crate) v6: TriePlan<[u8; 16], Value>,
}

/// Marks the class rows that prefixes refer to.
pub(crate) fn mark_classes(tables: &Tables, used: &mut [bool]) {
    let v4 = tables.net4.entries();
    let v6 = tables.net6.entries();
    for [class, _] in v4.values().chain(v6.values()) {
        if let Some(used) = used.get_mut(*class as usize) {
            *used = true;
        }
    }
}

/// Compares the tries with the prefixes of `desired`, whose classes have the rows `class_rows`.
pub(crate) fn plan(
    tables: &Tables,
    desired: &Desired,
    class_rows: &[u16],
) -> Result<NetPlan, KernelError> {
    let v4 = wanted(&desired.nets4, class_rows, |net: Ipv4Net| {
        (u32::from(net.prefix_len()), net.network().octets())
    });
    let v6 = wanted(&desired.nets6, class_rows, |net: Ipv6Net| {
        (u32::from(net.prefix_len()), net.network().octets())
    });
    Ok(NetPlan {
        v4: TriePlan::new(&tables.net4, &v4, "IPv4 prefixes")?,
        v6: TriePlan::new(&tables.net6, &v6, "IPv6 prefixes")?,
    })
}

fn wanted<N: Copy, K: Ord>(
    nets: &[NetSubject<N>],
    class_rows: &[u16],
    prefix: impl Fn(N) -> Prefix<K>,
) -> BTreeMap<Prefix<K>, Value> {
    let row = |net: &NetSubject<N>| class_rows.get(usize::from(net.class)).copied().unwrap_or(0);
    nets.iter()
        .map(|net| (prefix(net.net), [u32::from(row(net)), net.entry]))
        .collect()
}

/// First half: bits, then prefixes.
pub(crate) fn add(
    tables: &Tables,
    desired: &Desired,
    plan: &NetPlan,
    seed: Seed,
) -> Result<(), KernelError> {
    raise_blocks4(&tables.block4_bits, &blocks4(desired));
    raise_net4(&tables.net4_bits, &desired.nets4);
    match listed_net6(&desired.nets6, seed) {
        Some(keys) => raise_bits(&tables.net6_bloom, keys.into_iter()),
        None => store_image(
            &tables.net6_bloom,
            &vec![u64::MAX; tables.net6_bloom.rows() as usize],
        ),
    }
    let control = tables.control_row();
    let net6 = control.net6_bloom_len != 0 || !desired.nets6.is_empty();
    tables.set_control(Control {
        net6_bloom_len: if net6 { tables.net6_bloom.rows() } else { 0 },
        ..control
    });
    plan.v4.add(&tables.net4)?;
    plan.v6.add(&tables.net6)
}

/// Second half: prefixes, then bits.
pub(crate) fn remove(
    tables: &Tables,
    desired: &Desired,
    plan: &NetPlan,
    seed: Seed,
) -> Result<(), KernelError> {
    plan.v4.remove(&tables.net4)?;
    plan.v6.remove(&tables.net6)?;
    let control = tables.control_row();
    tables.set_control(Control {
        net6_bloom_len: if desired.nets6.is_empty() {
            0
        } else {
            tables.net6_bloom.rows()
        },
        ..control
    });
    lower_blocks4(&tables.block4_bits, &blocks4(desired));
    if !plan.v4.removals.is_empty() {
        store_image(&tables.net4_bits, &net4_image(&desired.nets4));
    }
    if !plan.v6.removals.is_empty()
        && let Some(keys) = listed_net6(&desired.nets6, seed)
    {
        lower_bits(&tables.net6_bloom, keys.into_iter());
    }
    Ok(())
}

/// Words of bits in front of the tries that lack a bit.
pub(crate) fn missing_words(tables: &Tables, desired: &Desired, seed: Seed) -> usize {
    let blocks = blocks4(desired);
    let blocks = (0..).zip(blocks.words().iter().copied());
    let nets4 = desired.nets4.iter().flat_map(|net| net4_words(net.net));
    let nets6: Vec<(u32, u64)> = match listed_net6(&desired.nets6, seed) {
        Some(keys) => {
            let keys = keys.into_iter();
            keys.map(|key| (position(key, tables.net6_bloom.rows()), bloom_bits(key)))
                .collect()
        }
        None => (0..tables.net6_bloom.rows())
            .map(|at| (at, u64::MAX))
            .collect(),
    };
    let lacks = |array: &Array<u64>, at: u32, bits: u64| array.word(at) & bits != bits;
    blocks
        .filter(|(at, bits)| lacks(&tables.block4_bits, *at, *bits))
        .count()
        + nets4
            .filter(|(at, bits)| lacks(&tables.net4_bits, *at, *bits))
            .count()
        + nets6
            .into_iter()
            .filter(|(at, bits)| lacks(&tables.net6_bloom, *at, *bits))
            .count()
}

/// Sets the bits of all /24s that prefixes meet.
fn raise_net4(bits: &Array<u64>, nets: &[NetSubject<Ipv4Net>]) {
    for (at, mask) in nets.iter().flat_map(|net| net4_words(net.net)) {
        let old = bits.word(at);
        if old & mask != mask {
            bits.set_word(at, old | mask);
        }
    }
}

/// The bits of exactly these prefixes.
fn net4_image(nets: &[NetSubject<Ipv4Net>]) -> Vec<u64> {
    let mut image = vec![0u64; NET4_WORDS as usize];
    for (at, mask) in nets.iter().flat_map(|net| net4_words(net.net)) {
        if let Some(word) = image.get_mut(at as usize) {
            *word |= mask;
        }
    }
    image
}

/// Words and bits of the /24s that a prefix meets.
fn net4_words(net: Ipv4Net) -> impl Iterator<Item = (u32, u64)> {
    range_words(net, 8)
}

/// The /20s of all addresses and prefixes.
fn blocks4(desired: &Desired) -> Blocks4 {
    let mut blocks = desired.blocks4.clone();
    for net in &desired.nets4 {
        blocks.add_net(net.net);
    }
    blocks
}

fn raise_blocks4(bits: &Array<u64>, blocks: &Blocks4) {
    for (at, mask) in (0..).zip(blocks.words()) {
        let old = bits.word(at);
        if old & mask != *mask {
            bits.set_word(at, old | mask);
        }
    }
}

fn lower_blocks4(bits: &Array<u64>, blocks: &Blocks4) {
    let words = blocks.words().iter().copied();
    for (at, word) in (0..bits.rows()).zip(words.chain(std::iter::repeat(0))) {
        if bits.word(at) != word {
            bits.set_word(at, word);
        }
    }
}

/// Keys of the /32s that the prefixes meet; `None` if they are too many to list.
fn listed_net6(nets: &[NetSubject<Ipv6Net>], seed: Seed) -> Option<Vec<u64>> {
    let mut keys = Vec::with_capacity(nets.len());
    for net in nets {
        if net.net.prefix_len() < NET6_LISTED_MIN {
            return None;
        }
        let top = |address: std::net::Ipv6Addr| u128::from(address) >> 96;
        for high in top(net.net.network())..=top(net.net.broadcast()) {
            keys.push(net6_key(seed.0, u64::try_from(high).unwrap_or(0) << 32));
        }
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_prefix() {
        let words = |text: &str| net4_words(text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(words("10.0.0.128/25"), [(10 << 10, 1)]);
        assert_eq!(words("10.0.3.0/24"), [(10 << 10, 8)]);
        assert_eq!(words("10.0.4.0/22"), [(10 << 10, 0xf0)]);
        assert_eq!(words("10.0.64.0/17"), words("10.0.0.0/17"));
        assert_eq!(
            words("10.0.0.0/17"),
            [(10 << 10, u64::MAX), ((10 << 10) + 1, u64::MAX)]
        );
        assert_eq!(words("0.0.0.0/0").len(), NET4_WORDS as usize);
    }

    #[test]
    fn a_very_short_ipv6_prefix_cannot_be_listed() {
        let net = |text: &str| NetSubject {
            net: text.parse().unwrap(),
            class: 1,
            entry: 1,
        };
        assert_eq!(
            listed_net6(&[net("2001:db8::/40")], Seed(1)).unwrap().len(),
            1
        );
        assert_eq!(
            listed_net6(&[net("2001:d00::/24")], Seed(1)).unwrap().len(),
            256
        );
        assert!(listed_net6(&[net("2000::/3")], Seed(1)).is_none());
    }
}
