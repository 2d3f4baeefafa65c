//! QUIC in the kernel: copies of first packets come in by a ring, verdicts on flows go out into an array.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aya::maps::{Map, MapData, RingBuf};
use filter_common::abi::{QuicSet, QuicWatch};
use filter_common::limits::WAYS;
use filter_common::quic_flow::{
    ALLOWED_LIFE, BLOCKED_LIFE, find_quic, left_of, quic_set, reason_of, state_word, units,
};
use filter_common::reason::FIRST_NOT_PASS;

use super::error::KernelError;
use super::grants::monotonic_ns;
use super::memory::Array;
use super::tables::{Maps, map_of};

/// Words of a row of `QUIC_FLOWS`.
const ROW_WORDS: usize = size_of::<QuicSet>() / WAYS / 8;

/// The map `QUIC_FLOWS`. Clones share it.
#[derive(Clone, Debug)]
pub struct QuicFlows {
    rows: Arc<Array<QuicSet>>,
    /// One writer at a time: a slot is chosen, then written.
    writing: Arc<Mutex<()>>,
}

/// A verdict as the map holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicVerdict {
    /// Reason number.
    pub reason: u32,
    /// Category number, or `CATEGORY_NONE`.
    pub category: u32,
    /// Entry number; 0: none.
    pub entry: u32,
}

impl QuicFlows {
    /// Verdicts in this map.
    #[must_use]
    pub fn new(rows: Array<QuicSet>) -> QuicFlows {
        QuicFlows {
            rows: Arc::new(rows),
            writing: Arc::default(),
        }
    }

    /// Writes the verdict on a flow. In a full set the one that ends first gives way.
    pub fn set(&self, key: u64, verdict: QuicVerdict, now_ns: u64) {
        let life = if verdict.reason < FIRST_NOT_PASS {
            ALLOWED_LIFE
        } else {
            BLOCKED_LIFE
        };
        let until = units(now_ns).wrapping_add(life);
        let state = state_word(verdict.reason, verdict.category, until);
        self.put(key, state, u64::from(verdict.entry), units(now_ns));
    }

    fn put(&self, key: u64, state_now: u64, entry_now: u64, now: u32) {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(words) = self.rows.row_words(quic_set(key)) else {
            return;
        };
        let first_to_go = |way: &&[AtomicU64]| match way {
            [held, state, ..] => match held.load(Ordering::Relaxed) {
                held if held == key => (0, 0),
                0 => (1, 0),
                _ => (2, left_of(state.load(Ordering::Relaxed), now)),
            },
            _ => (3, 0),
        };
        let ways = words.chunks_exact(ROW_WORDS);
        let Some([held, state, entry, _]) = ways.min_by_key(first_to_go) else {
            return;
        };
        // The key goes first and comes last: no reader meets a key beside another's verdict.
        held.store(0, Ordering::Release);
        state.store(state_now, Ordering::Release);
        entry.store(entry_now, Ordering::Release);
        held.store(key, Ordering::Release);
    }

    /// Takes the verdict on a flow back, whatever it is.
    pub fn remove(&self, key: u64) {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let words = self.rows.row_words(quic_set(key)).unwrap_or_default();
        for way in words.chunks_exact(ROW_WORDS) {
            if let [held, ..] = way
                && held.load(Ordering::Relaxed) == key
            {
                held.store(0, Ordering::Release);
            }
        }
    }

    /// State word and entry of a flow; (0, 0): none.
    #[must_use]
    pub fn get(&self, key: u64) -> (u64, u32) {
        let words = self.rows.row_words(quic_set(key)).unwrap_or_default();
        find_quic(key, |word| {
            words
                .get(word)
                .map_or(0, |word| word.load(Ordering::Acquire))
        })
    }

    /// Forgets what blocks: its entries have other numbers from now on. A flow whose verdict is forgotten
    /// gets no further than one that never had one.
    pub fn forget_blocked(&self) {
        self.forget(|state| reason_of(state) >= FIRST_NOT_PASS);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.forget(|_state| true);
    }

    fn forget(&self, which: impl Fn(u64) -> bool) {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for way in self.rows.words().chunks_exact(ROW_WORDS) {
            if let [held, state, ..] = way
                && which(state.load(Ordering::Relaxed))
            {
                held.store(0, Ordering::Release);
            }
        }
    }

    /// Takes over the verdicts of an older set of maps, made with the same seed and entry numbers.
    pub fn take_over(&self, old: &QuicFlows) {
        let now = units(monotonic_ns());
        for way in old.rows.words().chunks_exact(ROW_WORDS) {
            if let [held, state, entry, _] = way {
                let key = held.load(Ordering::Acquire);
                let state = state.load(Ordering::Acquire);
                if key != 0 && left_of(state, now) != 0 {
                    self.put(key, state, entry.load(Ordering::Acquire), now);
                }
            }
        }
    }

    /// Verdicts that have not ended, and room for them.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        let now = units(monotonic_ns());
        let words = self.rows.words();
        let live = words.chunks_exact(ROW_WORDS).filter(|way| match way {
            [held, state, ..] => {
                held.load(Ordering::Relaxed) != 0
                    && left_of(state.load(Ordering::Relaxed), now) != 0
            }
            _ => false,
        });
        (live.count() as u64, (words.len() / ROW_WORDS) as u64)
    }
}

/// Promises the program that copies are read until `until_ns` by the monotonic clock, at most `limit` of
/// an organisation in a second; 0 takes the promise back.
pub fn watch(row: &Array<QuicWatch>, until_ns: u64, limit: u32) {
    row.set(
        0,
        QuicWatch {
            until_ns,
            limit,
            pad: 0,
        },
    );
}

/// The ring of copies, read by one.
pub struct Copies {
    ring: RingBuf<MapData>,
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Copies").finish_non_exhaustive()
    }
}

impl Copies {
    /// The ring of `maps`.
    ///
    /// # Errors
    /// If it is missing or cannot be mapped.
    pub fn open(maps: &Maps) -> Result<Copies, KernelError> {
        let fd = map_of(maps, "QUIC_COPIES")?.fd().as_fd();
        let fd = fd
            .try_clone_to_owned()
            .map_err(KernelError::io("sharing a map"))?;
        let opened = KernelError::bpf("opening QUIC_COPIES");
        let data = MapData::from_fd(fd).map_err(opened)?;
        let ring = RingBuf::try_from(Map::RingBuf(data))
            .map_err(KernelError::bpf("opening QUIC_COPIES"))?;
        Ok(Copies { ring })
    }

    /// Gives the next copy to `each`; false: there is none.
    pub fn next(&mut self, each: impl FnOnce(&[u8])) -> bool {
        match self.ring.next() {
            Some(item) => {
                each(&item);
                true
            }
            None => false,
        }
    }

    /// Waits for a copy, for as long as `time` at most.
    pub fn wait(&self, time: Duration) {
        let mut asked = libc::pollfd {
            fd: self.ring.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one `pollfd` that lives through the call. What it says does not matter: the ring is
        // looked at in any case.
        unsafe { libc::poll(&raw mut asked, 1, milliseconds) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_common::limits::QUIC_SETS;
    use filter_common::quic_flow::category_of;

    const BLOCKED: QuicVerdict = QuicVerdict {
        reason: 36,
        category: 7,
        entry: 9,
    };
    const ALLOWED: QuicVerdict = QuicVerdict {
        reason: 26,
        category: 255,
        entry: 0,
    };

    #[test]
    fn verdicts_come_back_and_go() {
        let flows = QuicFlows::new(Array::heap(QUIC_SETS));
        flows.set(77, BLOCKED, 1 << 40);
        let (state, entry) = flows.get(77);
        assert_eq!((reason_of(state), category_of(state), entry), (36, 7, 9));
        assert_eq!(left_of(state, units(1 << 40)), BLOCKED_LIFE);
        flows.set(77, ALLOWED, 1 << 40);
        assert_eq!(reason_of(flows.get(77).0), 26);
        flows.set(79, BLOCKED, 1 << 40);
        flows.forget_blocked();
        assert_eq!((flows.get(79), reason_of(flows.get(77).0)), ((0, 0), 26));
        flows.remove(77);
        assert_eq!(flows.get(77), (0, 0));
    }

    #[test]
    fn in_a_full_set_the_one_that_ends_first_gives_way() {
        let flows = QuicFlows::new(Array::heap(QUIC_SETS));
        let set = quic_set(1);
        let keys: Vec<u64> = (1..).filter(|key| quic_set(*key) == set).take(5).collect();
        for (at, key) in (0u64..).zip(&keys) {
            flows.set(*key, ALLOWED, (100 + at) << 30);
        }
        assert_eq!(flows.get(keys[0]), (0, 0));
        assert!(keys[1..].iter().all(|key| flows.get(*key).0 != 0));
    }
}
