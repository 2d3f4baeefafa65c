//! Hands flows from an old set of maps to a new one. While this runs the old program holds every
//! packet that would change an unfinished flow (`CONTROL_DRAIN`), so that what is copied stays true.
//!
//! The layout of another ABI differs in the size of a flow's state only, and its front is known:
//! state word, first and next sequence number. An unfinished hello needs its parser's state, which is
//! known of our own layout only; else the flow becomes "cut", and its client is reset.

use std::collections::HashMap;
use std::os::fd::AsFd;

use filter_common::abi::{
    ABI, Control, FlowKey, FlowSlot, HelloSlot, Org, drain_flags, drain_holds, without_drain,
};
use filter_common::flow::{
    STAGE_BETWEEN, STAGE_CUT, STAGE_DONE, STAGE_FREE, STAGE_OPEN, STAGE_SYN, key_hash, stage,
    tag_of, with_tag,
};
use filter_common::limits::WAYS;

use super::error::KernelError;
use super::generation::Layout;
use super::grants::monotonic_ns;
use super::memory::Array;
use super::tables::{Maps, array, map_of};
use super::{Tables, syscall};

/// Words of the keys in front of a set.
const KEY_WORDS: usize = WAYS * 2;
/// Rows of `HELLOS` in a set.
const WAYS_U32: u32 = 4;
const _: () = assert!(WAYS == WAYS_U32 as usize);

/// What was handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Flows that go on as they were.
    pub kept: usize,
    /// Unfinished flows whose parser state could not be taken along.
    pub cut: usize,
    /// Flows without room in the new table: judged ones first.
    pub lost: usize,
}

/// A flow of the old table.
#[derive(Clone, Copy, Debug)]
struct OldFlow {
    key: FlowKey,
    slot: FlowSlot,
}

/// The tables that flows come from.
pub(crate) struct Old {
    control: Array<Control>,
    flows: Array<u64>,
    set_words: usize,
    hellos: Option<Array<HelloSlot>>,
    orgs: Option<Array<Org>>,
}

impl Old {
    /// Opens what is needed of `maps`; `None` where they are no flow tables.
    pub(crate) fn open(maps: &Maps) -> Result<Option<Old>, KernelError> {
        let Some(layout) = Layout::read(maps) else {
            return Ok(None);
        };
        let map = map_of(maps, "FLOWS")?;
        let info = map
            .info()
            .map_err(KernelError::bpf("reading the old flows"))?;
        let set_words = info.value_size() as usize / 8;
        if set_words < KEY_WORDS + WAYS * 2 {
            return Ok(None);
        }
        let words = info.max_entries().saturating_mul(info.value_size() / 8);
        let same = layout.control.abi == ABI;
        Ok(Some(Old {
            control: array(maps, "CONTROL")?,
            flows: Array::map(map.fd().as_fd(), words)?,
            set_words,
            hellos: if same {
                Some(array(maps, "HELLOS")?)
            } else {
                None
            },
            orgs: array(maps, "ORGS").ok(),
        }))
    }

    fn control_row(&self) -> Control {
        self.control.get(0).unwrap_or_default()
    }

    /// Puts the old program on hold, for `abi::DRAIN_UNITS` at most, or lets it go on.
    pub(crate) fn drain(&self, on: bool) {
        let control = self.control_row();
        let mut flags = without_drain(control.flags);
        if on {
            flags |= drain_flags(monotonic_ns());
        }
        self.control.set(0, Control { flags, ..control });
        if on {
            syscall::wait_for_packets();
        }
    }

    /// Whether the old program is on hold, and will be for a moment.
    pub(crate) fn drains(&self) -> bool {
        let soon = monotonic_ns() + 500_000_000;
        drain_holds(self.control_row().flags, soon)
    }

    /// Organisation numbers there to those of `new`.
    pub(crate) fn numbers(&self, new: &Tables) -> HashMap<u32, u32> {
        let Some(orgs) = &self.orgs else {
            return HashMap::new();
        };
        let there = super::enrolment::numbers(new);
        let rows = (1..orgs.rows()).filter_map(|row| Some((row, orgs.get(row)?)));
        rows.filter_map(|(row, org)| Some((row, *there.get(&org.id_key)?)))
            .collect()
    }

    /// All flows in use.
    fn flows(&self) -> Vec<OldFlow> {
        let words: Vec<u64> = self
            .flows
            .words()
            .iter()
            .map(|word| word.load(std::sync::atomic::Ordering::Acquire))
            .collect();
        let sets = words
            .chunks_exact(self.set_words)
            .filter_map(|set| set.split_at_checked(KEY_WORDS));
        let slot_words = (self.set_words - KEY_WORDS) / WAYS;
        let mut flows = Vec::new();
        for (keys, slots) in sets {
            for (key, slot) in keys.chunks_exact(2).zip(slots.chunks_exact(slot_words)) {
                let ([a, b], Some(slot)) = (key, flow_slot(slot)) else {
                    continue;
                };
                let key = FlowKey { a: *a, b: *b };
                if stage(slot.state) != STAGE_FREE && key != FlowKey::default() {
                    flows.push(OldFlow { key, slot });
                }
            }
        }
        flows
    }
}

/// A flow's state from the front words of its slot.
fn flow_slot(words: &[u64]) -> Option<FlowSlot> {
    let (state, numbers) = (*words.first()?, *words.get(1)?);
    let (first, next) = halves(numbers);
    let mut slot = FlowSlot {
        state,
        first,
        next,
        ..FlowSlot::default()
    };
    let (h0, h1) = halves(words.get(2).copied().unwrap_or(0));
    let (h2, h3) = halves(words.get(3).copied().unwrap_or(0));
    slot.hashes = [h0, h1, h2, h3];
    let (l0, l1) = halves(words.get(4).copied().unwrap_or(0));
    let quarters = |word: u32| (word & 0xffff, word >> 16);
    let ((q0, q1), (q2, q3)) = (quarters(l0), quarters(l1));
    for (to, from) in slot.lengths.iter_mut().zip([q0, q1, q2, q3]) {
        *to = u16::try_from(from).unwrap_or(0);
    }
    slot.hello = halves(words.get(5).copied().unwrap_or(0)).0;
    Some(slot)
}

/// Lower and upper half.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

/// Copies the flows of `old`, which is on hold, into the empty tables `new`.
pub(crate) fn hand_over(old: &Old, new: &Tables) -> Handed {
    let (before, after) = (old.control_row(), new.control_row());
    let same_seed = before.seed == after.seed;
    let numbers = old.numbers(new);
    let mut flows = old.flows();
    // An IPv6 key is made with the seed: with another seed nobody would find it.
    flows.retain(|flow| same_seed || flow.key.b & 1 << 31 == 0);
    // Where there is no room, a judged flow is the one to lose.
    flows.sort_by_key(|flow| stage(flow.slot.state) == STAGE_DONE);
    let mut handed = Handed::default();
    for OldFlow { key, mut slot } in flows {
        slot.claim = 0;
        let parser = same_seed.then(|| old.hello(&slot, key)).flatten();
        match (stage(slot.state), parser) {
            (STAGE_SYN | STAGE_DONE, _) => slot.hello = 0,
            (STAGE_BETWEEN, _) => {}
            (STAGE_OPEN, Some(parser)) => match put_hello(new, after, parser, &numbers) {
                Some(row) => slot.hello = row,
                None => cut(&mut slot, &mut handed),
            },
            _ => cut(&mut slot, &mut handed),
        }
        if put_flow(new, after, key, slot) {
            handed.kept += usize::from(stage(slot.state) != STAGE_CUT);
        } else {
            handed.lost += 1;
        }
    }
    handed
}

fn cut(slot: &mut FlowSlot, handed: &mut Handed) {
    slot.state = slot.state & !15 | STAGE_CUT;
    slot.hello = 0;
    handed.cut += 1;
}

impl Old {
    /// The parser's state of an unfinished flow.
    fn hello(&self, slot: &FlowSlot, key: FlowKey) -> Option<HelloSlot> {
        let row = self.hellos.as_ref()?.get(slot.hello)?;
        (stage(slot.state) == STAGE_OPEN && row.key == key && row.stamp != 0).then_some(row)
    }
}

/// Puts a parser's state into a free row of its set.
fn put_hello(
    new: &Tables,
    control: Control,
    mut hello: HelloSlot,
    numbers: &HashMap<u32, u32>,
) -> Option<u32> {
    let (org, ms) = halves(hello.stamp);
    let org = numbers.get(&org).copied().unwrap_or(org);
    hello.stamp = u64::from(ms) << 32 | u64::from(org);
    let (low, _) = halves(key_hash(control.seed, hello.key));
    let first = (low & control.hello_set_mask).checked_mul(WAYS_U32)?;
    let free = |row: &u32| new.hellos.get(*row).is_some_and(|there| there.stamp == 0);
    let row = (first..first + WAYS_U32).find(free)?;
    new.hellos.set(row, hello).then_some(row)
}

/// Puts a flow into a free way of its set.
fn put_flow(new: &Tables, control: Control, key: FlowKey, slot: FlowSlot) -> bool {
    let hash = key_hash(control.seed, key);
    let row = u32::try_from(hash >> 40).unwrap_or(0) & control.flow_set_mask;
    let Some(mut set) = new.flows.get(row) else {
        return false;
    };
    let mut ways = set.keys.iter_mut().zip(&mut set.slots).enumerate();
    let free = ways.find(|(_, (_, state))| stage(state.state) == STAGE_FREE);
    let Some((way, (place, state))) = free else {
        return false;
    };
    *place = key;
    *state = slot;
    let tags = with_tag(new.flow_tags.word(row), way, tag_of(hash));
    new.flows.set(row, set) && new.flow_tags.set_word(row, tags)
}

#[cfg(test)]
mod tests {
    use filter_common::abi::FlowSet;

    use super::*;
    use crate::desired::{Desired, FlowSizes};
    use crate::kernel::{Seed, Sizes};

    fn tables(flows: u32, seed: u64) -> Tables {
        let sizes = Sizes::measure(
            &Desired::default(),
            FlowSizes {
                flows,
                hellos: 1024,
            },
        );
        Tables::heap(&sizes, Seed(seed))
    }

    /// Copies `tables` as another layout with `room` more words a slot would hold them.
    fn as_old(tables: &Tables, room: usize, same_abi: bool) -> Old {
        let set_words = KEY_WORDS + WAYS * (6 + room);
        let rows = tables.flows.rows();
        let flows = Array::heap(rows * u32::try_from(set_words).unwrap());
        for row in 0..rows {
            let words = tables.flows.row_words(row).unwrap();
            let to = row * u32::try_from(set_words).unwrap();
            for (at, word) in words.iter().enumerate() {
                let moved = if at < KEY_WORDS {
                    at
                } else {
                    at + (at - KEY_WORDS) / 6 * room
                };
                let value = word.load(std::sync::atomic::Ordering::Relaxed);
                flows.set_word(to + u32::try_from(moved).unwrap(), value);
            }
        }
        let control = Array::heap(1);
        control.set(0, tables.control_row());
        let hellos = same_abi.then(|| {
            let copy = Array::<HelloSlot>::heap(tables.hellos.rows());
            (0..copy.rows()).for_each(|row| {
                copy.set(row, tables.hellos.get(row).unwrap());
            });
            copy
        });
        Old {
            control,
            flows,
            set_words,
            hellos,
            orgs: None,
        }
    }

    fn flow(n: u64, stage: u64, hello: u32) -> (FlowKey, FlowSlot) {
        let key = FlowKey {
            a: n << 32 | 1,
            b: 443,
        };
        let first = u32::try_from(n).unwrap();
        let slot = FlowSlot {
            state: stage | 1 << 40,
            first,
            next: first + 9,
            hashes: [1, 2, 3, 4],
            lengths: [5, 6, 7, 8],
            hello,
            ..FlowSlot::default()
        };
        (key, slot)
    }

    fn found(tables: &Tables, key: FlowKey) -> Option<FlowSlot> {
        let rows = (0..tables.flows.rows()).filter_map(|row| tables.flows.get(row));
        rows.filter_map(|set: FlowSet| {
            set.keys
                .iter()
                .zip(set.slots)
                .find(|(there, _)| **there == key)
                .map(|(_, slot)| slot)
        })
        .next()
    }

    #[test]
    fn flows_keep_their_state_in_a_larger_table_and_unfinished_ones_their_parser() {
        let (old, new) = (tables(4096, 7), tables(16_384, 7));
        let (syn, done, open) = (
            flow(1, STAGE_SYN, 0),
            flow(2, STAGE_DONE, 0),
            flow(3, STAGE_OPEN, 0),
        );
        let mut parser = old.hellos.get(0).unwrap();
        (parser.key, parser.stamp, parser.name[9]) = (open.0, 1 << 32 | 5, b'x');
        let row = put_hello(&old, old.control_row(), parser, &HashMap::new()).unwrap();
        for (key, slot) in [
            syn,
            done,
            (
                open.0,
                FlowSlot {
                    hello: row,
                    ..open.1
                },
            ),
        ] {
            assert!(put_flow(&old, old.control_row(), key, slot));
        }
        let handed = hand_over(&as_old(&old, 0, true), &new);
        assert_eq!(
            handed,
            Handed {
                kept: 3,
                cut: 0,
                lost: 0
            }
        );
        assert_eq!(found(&new, syn.0), Some(syn.1));
        assert_eq!(found(&new, done.0), Some(done.1));
        let there = found(&new, open.0).unwrap();
        assert_eq!(new.hellos.get(there.hello).unwrap().name[9], b'x');
        assert_eq!(FlowSlot { hello: 0, ..there }, open.1);
    }

    #[test]
    fn another_layout_cuts_unfinished_flows_and_keeps_the_rest() {
        let (old, new) = (tables(4096, 7), tables(4096, 7));
        let flows = [
            flow(1, STAGE_SYN, 0),
            flow(2, STAGE_DONE, 0),
            flow(3, STAGE_OPEN, 0),
        ];
        for (key, slot) in flows {
            assert!(put_flow(&old, old.control_row(), key, slot));
        }
        let handed = hand_over(&as_old(&old, 2, false), &new);
        assert_eq!(
            handed,
            Handed {
                kept: 2,
                cut: 1,
                lost: 0
            }
        );
        assert_eq!(found(&new, flows[0].0), Some(flows[0].1));
        assert_eq!(found(&new, flows[1].0), Some(flows[1].1));
        assert_eq!(stage(found(&new, flows[2].0).unwrap().state), STAGE_CUT);
    }

    #[test]
    fn a_set_without_room_loses_a_judged_flow() {
        let (old, new) = (tables(16_384, 7), tables(4096, 7));
        let mask = new.control_row().flow_set_mask;
        let set = |key| u32::try_from(key_hash(7, key) >> 40).unwrap() & mask;
        let wanted = set(flow(1, 0, 0).0);
        let same = (1..)
            .map(|n| flow(n, STAGE_DONE, 0))
            .filter(|(key, _)| set(*key) == wanted);
        let five: Vec<_> = same.take(5).collect();
        let (last, rest) = five.split_last().unwrap();
        for (key, slot) in rest {
            assert!(put_flow(&old, old.control_row(), *key, *slot));
        }
        let unfinished = FlowSlot {
            state: STAGE_SYN,
            ..last.1
        };
        assert!(put_flow(&old, old.control_row(), last.0, unfinished));
        let handed = hand_over(&as_old(&old, 0, true), &new);
        assert_eq!((handed.kept, handed.lost), (4, 1));
        assert_eq!(found(&new, last.0), Some(unfinished));
    }
}
