//! Whose address: organisations, their policies, and the index from source addresses to them.
//! A row is written before anything leads to it; what leads to it is taken away before the row.

use std::collections::{BTreeMap, HashMap, HashSet};

use filter_common::abi::{CategoryCounters, Control, Org, Policy};
use filter_common::name::{org_id_key, org6_key, org6_tag};
use filter_common::org::{ORG6_SPLIT_MARK, PAGE_WORDS};
use filter_common::table::position;
use ipnet::{IpNet, Ipv6Net};

use super::apply::Grace;
use super::buckets::{Buckets, Full, SlotPlan, Wanted};
use super::classes::RowsByValue;
use super::error::KernelError;
use super::nets::TriePlan;
use super::subjects::{lower_bits, raise_bits, store_image};
use super::tables::SplitBytes;
use super::trie::Prefix;
use super::{Seed, Tables};
use crate::desired::{Change, Desired, Organisation};

/// What is to be done to the enrolment.
#[derive(Debug)]
pub(crate) struct EnrolmentPlan {
    pub(crate) policies: Vec<(u32, Policy)>,
    /// Organisations that are new.
    pub(crate) adds: Vec<(u32, Org)>,
    /// Organisations whose policy or bypass changes.
    pub(crate) changes: Vec<(u32, Org)>,
    /// Numbers that are free when all is done.
    pub(crate) removals: Vec<u32>,
    pages: Vec<Page>,
    /// Index lanes to be cleared.
    unused: Vec<PageAt>,
    blocks6: SlotPlan,
    keys6: Vec<u64>,
    splits6: TriePlan<SplitBytes, u32>,
}

/// Realm and upper half of the address.
type PageAt = (u16, u16);

/// A page of the IPv4 index as it shall be.
#[derive(Debug)]
struct Page {
    at: PageAt,
    page: u16,
    ranges: Vec<Range>,
}

/// Addresses (lower halves, both included) of an organisation.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u16,
    last: u16,
    org: u16,
}

/// Rows of `POLICIES` that organisations refer to.
fn used_policies(tables: &Tables) -> Vec<bool> {
    let mut used = vec![false; tables.policies.rows() as usize];
    for org in (0..tables.orgs.rows()).filter_map(|row| tables.orgs.get(row)) {
        if org.id_key != 0
            && let Some(used) = used.get_mut(org.policy as usize)
        {
            *used = true;
        }
    }
    used
}

/// Organisation numbers: those in the maps by id, and the free ones.
struct Numbers {
    taken: HashMap<u64, u32>,
    free: Vec<u32>,
}

impl Numbers {
    fn read(tables: &Tables) -> Numbers {
        let mut numbers = Numbers {
            taken: HashMap::new(),
            free: Vec::new(),
        };
        // Row 0 stands for "not enrolled", the mark is no organisation.
        for row in (1..tables.orgs.rows().min(ORG6_SPLIT_MARK)).rev() {
            match tables.orgs.get(row) {
                Some(org) if org.id_key != 0 => {
                    numbers.taken.insert(org.id_key, row);
                }
                _ => numbers.free.push(row),
            }
        }
        numbers
    }
}

/// Compares the enrolment with that of `desired`.
pub(crate) fn plan(
    tables: &Tables,
    desired: &Desired,
    seed: Seed,
) -> Result<EnrolmentPlan, KernelError> {
    let mut rows = RowsByValue::read(&tables.policies, &used_policies(tables), "policies");
    let mut numbers = Numbers::read(tables);
    let (mut adds, mut changes, mut numbered) = (vec![], vec![], vec![]);
    for org in &desired.organisations {
        let id_key = org_id_key(seed.0, org.id.as_bytes());
        let policy = rows.row(org.policy)?;
        let row = Org {
            id_key,
            bypass_until_ns: org.bypass_until_ns,
            policy,
            pad: 0,
        };
        let number = match numbers.taken.remove(&id_key) {
            Some(number) => {
                if tables.orgs.get(number) != Some(row) {
                    changes.push((number, row));
                }
                number
            }
            None => {
                let number = numbers
                    .free
                    .pop()
                    .ok_or(KernelError::NeedsNewGeneration("organisations"))?;
                adds.push((number, row));
                number
            }
        };
        let number = u16::try_from(number)
            .map_err(|_beyond| KernelError::NeedsNewGeneration("organisations"))?;
        numbered.push((number, org));
    }
    let removals = numbers.taken.into_values().collect();
    let (pages, unused) = plan_ipv4(tables, &numbered)?;
    let v6 = Enrolled6::new(&numbered, seed);
    let (blocks6, splits6) = v6.plan(tables)?;
    let keys6 = v6
        .blocks
        .keys()
        .map(|(realm, high)| org6_key(seed.0, *realm, *high))
        .collect();
    let policies = rows.into_new();
    Ok(EnrolmentPlan {
        policies,
        adds,
        changes,
        removals,
        pages,
        unused,
        blocks6,
        keys6,
        splits6,
    })
}

impl EnrolmentPlan {
    /// Keys of the /48s in `ORG6_BLOOM`.
    pub(crate) fn keys6(&self) -> impl Iterator<Item = u64> {
        self.keys6.iter().copied()
    }

    /// Whether an organisation comes, goes, or is under another policy or bypass.
    pub(crate) fn changes_rows(&self) -> bool {
        !(self.adds.is_empty() && self.changes.is_empty() && self.removals.is_empty())
    }

    /// Whether one organisation's policy and bypass change: they are two words, and a packet may meet one of them.
    pub(crate) fn changes_policy_and_bypass(&self, tables: &Tables) -> bool {
        let both = |(number, new): &(u32, Org)| {
            let old = tables.orgs.get(*number).unwrap_or_default();
            old.policy != new.policy && old.bypass_until_ns != new.bypass_until_ns
        };
        self.changes.iter().any(both)
    }

    /// Words of the index from addresses to organisations, and places in front of it, that are not as they shall be.
    pub(crate) fn wrong_words(&self, tables: &Tables) -> usize {
        let pages = self.pages.iter();
        let words: usize = pages
            .map(|page| page.changes(tables).count() + usize::from(!page.is_indexed(tables)))
            .sum();
        let (slots, splits) = (&self.blocks6, &self.splits6);
        words
            + self.unused.len()
            + slots.adds.len()
            + slots.changes.len()
            + slots.removals.len()
            + splits.adds.len()
            + splits.changes.len()
            + splits.removals.len()
    }
}

/// Pages with their ranges; and the index lanes that are no longer used.
fn plan_ipv4(
    tables: &Tables,
    numbered: &[(u16, &Organisation)],
) -> Result<(Vec<Page>, Vec<PageAt>), KernelError> {
    let wanted = ranges_by_page(numbered);
    let actual = pages_in_use(tables);
    let taken: HashSet<u16> = actual.values().copied().collect();
    let pages = tables.org4_pages.rows() / PAGE_WORDS;
    let last = u16::try_from(pages.saturating_sub(1)).unwrap_or(u16::MAX);
    let mut free = (1..=last).filter(|page| !taken.contains(page));
    let mut plan = Vec::with_capacity(wanted.len());
    let unused = actual
        .keys()
        .filter(|at| !wanted.contains_key(at))
        .copied()
        .collect();
    for (at, ranges) in wanted {
        if u32::from(at.0).saturating_add(1) * PAGE_WORDS > tables.org4_index.rows() {
            return Err(KernelError::NeedsNewGeneration("realms"));
        }
        let page = match actual.get(&at) {
            Some(page) => *page,
            None => free
                .next()
                .ok_or(KernelError::NeedsNewGeneration("IPv4 /16s"))?,
        };
        plan.push(Page { at, page, ranges });
    }
    Ok((plan, unused))
}

/// Page numbers by realm and upper half of the address, as the index has them.
fn pages_in_use(tables: &Tables) -> HashMap<PageAt, u16> {
    let mut pages = HashMap::new();
    for (at, word) in (0u32..).zip(tables.org4_index.words()) {
        let word = word.load(std::sync::atomic::Ordering::Acquire);
        if word == 0 {
            continue;
        }
        let realm = u16::try_from(at / PAGE_WORDS).unwrap_or(u16::MAX);
        for lane in 0..4 {
            let page = lane_of(word, lane);
            let upper = at % PAGE_WORDS * 4 + u32::from(lane);
            if page != 0 {
                pages.insert((realm, low16(upper)), page);
            }
        }
    }
    pages
}

fn ranges_by_page(numbered: &[(u16, &Organisation)]) -> BTreeMap<PageAt, Vec<Range>> {
    let mut pages: BTreeMap<PageAt, Vec<Range>> = BTreeMap::new();
    for (number, org) in numbered {
        for prefix in &org.prefixes {
            let IpNet::V4(net) = prefix else { continue };
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            for upper in first >> 16..=last >> 16 {
                let from = first.max(upper << 16);
                let to = last.min(upper << 16 | 0xffff);
                let range = Range {
                    first: low16(from),
                    last: low16(to),
                    org: *number,
                };
                pages
                    .entry((org.realm, low16(upper)))
                    .or_default()
                    .push(range);
            }
        }
    }
    pages
}

/// The lower 16 bits.
fn low16(value: u32) -> u16 {
    let [.., high, low] = value.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The 16-bit lane `lane` of a word.
fn lane_of(word: u64, lane: u16) -> u16 {
    u16::try_from(word >> (lane * 16) & 0xffff).unwrap_or(0)
}

/// Writes a 16-bit lane of an array of words by one store.
fn set_lane(array: &super::memory::Array<u64>, at: u32, lane: u32, value: u16) {
    let shift = lane * 16;
    let word = array.word(at) & !(0xffff << shift) | u64::from(value) << shift;
    array.set_word(at, word);
}

impl Page {
    /// Writes the words of the page that differ, each by one store, then the index if it is new.
    fn write(&self, tables: &Tables) {
        for (at, word) in self.changes(tables) {
            tables.org4_pages.set_word(at, word);
        }
        set_index(tables, self.at, self.page);
    }

    /// The words that differ, as they shall be.
    fn changes<'a>(&self, tables: &'a Tables) -> impl Iterator<Item = (u32, u64)> + use<'a> {
        let mut image = vec![0u64; PAGE_WORDS as usize];
        for range in &self.ranges {
            for address in range.first..=range.last {
                if let Some(word) = image.get_mut(usize::from(address >> 2)) {
                    let shift = (address & 3) * 16;
                    *word = *word & !(0xffff << shift) | u64::from(range.org) << shift;
                }
            }
        }
        let start = u32::from(self.page) * PAGE_WORDS;
        (start..)
            .zip(image)
            .filter(|(at, word)| tables.org4_pages.word(*at) != *word)
    }

    /// Whether the index leads here.
    fn is_indexed(&self, tables: &Tables) -> bool {
        let (word, lane) = index_place(self.at);
        let lane = u16::try_from(lane).unwrap_or(0);
        lane_of(tables.org4_index.word(word), lane) == self.page
    }
}

fn set_index(tables: &Tables, at: PageAt, page: u16) {
    let (word, lane) = index_place(at);
    set_lane(&tables.org4_index, word, lane, page);
}

/// Word and lane of a page's number in the index.
fn index_place(at: PageAt) -> (u32, u32) {
    let (realm, upper) = (u32::from(at.0), u32::from(at.1));
    let word = realm.saturating_mul(PAGE_WORDS).saturating_add(upper >> 2);
    (word, upper & 3)
}

/// IPv6 enrolment as it shall be.
struct Enrolled6 {
    /// Organisation, or the split mark, by realm and the upper 64 bits of a /48.
    blocks: BTreeMap<(u32, u64), u16>,
    splits: BTreeMap<Prefix<SplitBytes>, u32>,
    seed: Seed,
}

impl Enrolled6 {
    fn new(numbered: &[(u16, &Organisation)], seed: Seed) -> Enrolled6 {
        let mut all = Enrolled6 {
            blocks: BTreeMap::new(),
            splits: BTreeMap::new(),
            seed,
        };
        for (number, org) in numbered {
            for prefix in &org.prefixes {
                if let IpNet::V6(net) = prefix {
                    all.enrol(*number, u32::from(org.realm), *net);
                }
            }
        }
        all
    }

    fn enrol(&mut self, number: u16, realm: u32, net: Ipv6Net) {
        let high = |address: std::net::Ipv6Addr| u128::from(address) >> 80;
        if net.prefix_len() > 48 {
            let mut bytes = SplitBytes::default();
            let (realm_bytes, address) = bytes.split_at_mut(4);
            realm_bytes.copy_from_slice(&realm.to_be_bytes());
            address.copy_from_slice(&net.network().octets());
            self.splits
                .insert((32 + u32::from(net.prefix_len()), bytes), u32::from(number));
        }
        let value = if net.prefix_len() > 48 {
            low16(ORG6_SPLIT_MARK)
        } else {
            number
        };
        for block in high(net.network())..=high(net.broadcast()) {
            self.blocks
                .insert((realm, u64::try_from(block << 16).unwrap_or(0)), value);
        }
    }

    fn plan(&self, tables: &Tables) -> Result<(SlotPlan, TriePlan<SplitBytes, u32>), KernelError> {
        let table = Buckets::new(&tables.org6, None);
        let wanted = self.blocks.iter().map(|((realm, high), value)| Wanted {
            first: position(org6_key(self.seed.0, *realm, *high), table.len()),
            tag: org6_tag(*realm, *high),
            value: *value,
            entry: 0,
        });
        let blocks = table.plan(wanted);
        if !table.has_room(&blocks) {
            return Err(KernelError::NeedsNewGeneration("IPv6 /48s"));
        }
        Ok((
            blocks,
            TriePlan::new(&tables.org6_split, &self.splits, "IPv6 splits")?,
        ))
    }
}

/// First half: rows, then what leads to them; then what no longer leads anywhere.
/// `forget` zeroes the per-processor counters of numbers that become free.
pub(crate) fn apply(
    tables: &Tables,
    plan: &EnrolmentPlan,
    grace: Grace,
    forget: &dyn Fn(&[u32]) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    for (row, policy) in &plan.policies {
        tables.policies.set(*row, *policy);
    }
    let numbers: Vec<u32> = plan.adds.iter().map(|(number, _)| *number).collect();
    forget(&numbers)?;
    for (number, row) in &plan.adds {
        tables
            .category_counters
            .set(*number, CategoryCounters { packets: [0; 64] });
        tables.orgs.set(*number, *row);
    }
    for (number, row) in &plan.changes {
        tables.orgs.set(*number, *row);
    }
    apply_ipv6(tables, plan, grace)?;
    plan.pages.iter().for_each(|page| page.write(tables));
    plan.unused.iter().for_each(|at| set_index(tables, *at, 0));
    if !plan.removals.is_empty() {
        // A packet that found the number just now still reads its row.
        grace.wait();
        forget(&plan.removals)?;
        for number in &plan.removals {
            tables
                .category_counters
                .set(*number, CategoryCounters { packets: [0; 64] });
            tables.orgs.set(*number, Org::default());
        }
    }
    Ok(())
}

fn apply_ipv6(tables: &Tables, plan: &EnrolmentPlan, grace: Grace) -> Result<(), KernelError> {
    let keys = || plan.keys6.iter().copied();
    raise_bits(&tables.org6_bloom, keys());
    let control = tables.control_row();
    if !plan.keys6.is_empty() {
        tables.set_control(Control {
            org6_bloom_len: tables.org6_bloom.rows(),
            ..control
        });
    }
    plan.splits6.add(&tables.org6_split)?;
    let table = Buckets::new(&tables.org6, None);
    table
        .add(&plan.blocks6.adds, grace)
        .map_err(|Full| KernelError::NeedsNewGeneration("IPv6 /48s"))?;
    table.change(plan.blocks6.changes.iter().copied());
    table.clear(&plan.blocks6.removals);
    plan.splits6.remove(&tables.org6_split)?;
    if !plan.blocks6.removals.is_empty() {
        lower_bits(&tables.org6_bloom, keys());
    }
    if plan.keys6.is_empty() && control.org6_bloom_len != 0 {
        tables.set_control(Control {
            org6_bloom_len: 0,
            ..tables.control_row()
        });
        store_image(
            &tables.org6_bloom,
            &vec![0; tables.org6_bloom.rows() as usize],
        );
    }
    Ok(())
}

/// Writes what organisations are under from now on, and gives the number of rows that changed.
pub(crate) fn change(
    tables: &Tables,
    wanted: &[Change<'_>],
    seed: Seed,
    grace: Grace,
) -> Result<usize, KernelError> {
    let mut policies = RowsByValue::read(&tables.policies, &used_policies(tables), "policies");
    let numbers = numbers(tables);
    let mut changes = Vec::with_capacity(wanted.len());
    for change in wanted {
        let id_key = org_id_key(seed.0, change.id.as_bytes());
        let number = numbers.get(&id_key).copied();
        let number = number.ok_or(KernelError::NeedsNewGeneration("organisations"))?;
        let row = Org {
            id_key,
            bypass_until_ns: change.bypass_until_ns,
            policy: policies.row(change.policy)?,
            pad: 0,
        };
        if tables.orgs.get(number) != Some(row) {
            changes.push((number, row));
        }
    }
    let policies = policies.into_new();
    if !policies.is_empty() {
        // A row that nothing leads to may still be read by a packet that was led there.
        grace.wait();
    }
    for (row, policy) in policies {
        tables.policies.set(row, policy);
    }
    for (number, row) in &changes {
        tables.orgs.set(*number, *row);
    }
    Ok(changes.len())
}

/// Organisation numbers by the key of their id, as the maps hold them.
#[must_use]
pub(crate) fn numbers(tables: &Tables) -> HashMap<u64, u32> {
    Numbers::read(tables).taken
}

/// Pages of the IPv4 index in use, and pages there are.
pub(crate) fn page_counts(tables: &Tables) -> (u64, u64) {
    let pages = u64::from(tables.org4_pages.rows() / PAGE_WORDS);
    (pages_in_use(tables).len() as u64, pages.saturating_sub(1))
}

#[cfg(test)]
mod tests;
