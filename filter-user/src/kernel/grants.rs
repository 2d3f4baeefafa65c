//! Grants in the kernel: the portal adds them, the program asks for them where it would warn. Nothing
//! else keeps them, and nothing in them names anybody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use filter_common::abi::GrantSet;
use filter_common::grant::{find_grant, grant_set, mapped};
use filter_common::limits::WAYS;

use super::memory::Array;

/// The map `GRANTS`. Clones share it.
#[derive(Clone, Debug)]
pub struct Grants {
    rows: Arc<Array<GrantSet>>,
    /// One writer at a time: a slot is chosen, then written.
    writing: Arc<Mutex<()>>,
}

impl Grants {
    /// Grants in this map.
    #[must_use]
    pub fn new(rows: Array<GrantSet>) -> Grants {
        Grants {
            rows: Arc::new(rows),
            writing: Arc::default(),
        }
    }

    /// Adds a grant that ends at `until_ns`, or moves the end of one that is there. In a full set
    /// the one that ends first gives way.
    pub fn add(&self, key: u64, until_ns: u64) {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(words) = self.rows.row_words(grant_set(key)) else {
            return;
        };
        let ways = words.chunks_exact(2).take(WAYS);
        let first_to_go = |way: &&[AtomicU64]| match way {
            [held, until] => match held.load(Ordering::Relaxed) {
                held if held == key => (0, 0),
                0 => (1, 0),
                _ => (2, until.load(Ordering::Relaxed)),
            },
            _ => (3, 0),
        };
        let Some([held, until]) = ways.min_by_key(first_to_go) else {
            return;
        };
        // The key goes first and comes last: no reader meets a key beside another's end.
        held.store(0, Ordering::Release);
        until.store(until_ns, Ordering::Release);
        held.store(key, Ordering::Release);
    }

    /// The end of a grant by the monotonic clock in nanoseconds, 0 if there is none.
    #[must_use]
    pub fn until(&self, key: u64) -> u64 {
        let words = self.rows.row_words(grant_set(key)).unwrap_or_default();
        find_grant(key, |word| {
            words
                .get(word)
                .map_or(0, |word| word.load(Ordering::Acquire))
        })
    }

    /// Takes all grants back.
    pub fn clear(&self) {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for way in self.rows.words().chunks_exact(2) {
            if let [held, until] = way {
                held.store(0, Ordering::Release);
                until.store(0, Ordering::Release);
            }
        }
    }

    /// Takes over the grants of an older set of maps, made with the same seed and entry numbers.
    pub fn take_over(&self, old: &Grants) {
        for way in old.rows.words().chunks_exact(2) {
            if let [held, until] = way {
                let (key, until_ns) = (held.load(Ordering::Acquire), until.load(Ordering::Acquire));
                if key != 0 && until_ns > monotonic_ns() {
                    self.add(key, until_ns);
                }
            }
        }
    }

    /// Grants that have not ended, and room for them.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        let now = monotonic_ns();
        let words = self.rows.words();
        let live = words.chunks_exact(2).filter(|way| match way {
            [held, until] => {
                held.load(Ordering::Relaxed) != 0 && until.load(Ordering::Relaxed) > now
            }
            _ => false,
        });
        (live.count() as u64, (words.len() / 2) as u64)
    }
}

/// Nanoseconds of the clock that the program compares with (`bpf_ktime_get_ns`).
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` lives through the call and is written whole.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// An address as `grant_key` takes it.
#[must_use]
pub fn halves(address: IpAddr) -> (u64, u64) {
    match address.to_canonical() {
        IpAddr::V4(v4) => mapped(u32::from(v4)),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments().map(u64::from);
            (
                a << 48 | b << 32 | c << 16 | d,
                e << 48 | f << 32 | g << 16 | h,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use filter_common::limits::GRANT_SETS;

    use super::*;

    fn grants() -> Grants {
        Grants::new(Array::heap(GRANT_SETS))
    }

    #[test]
    fn grant_is_found_by_its_key_alone() {
        let grants = grants();
        grants.add(7, 100);
        assert_eq!((grants.until(7), grants.until(9)), (100, 0));
        grants.add(7, 200);
        assert_eq!(grants.until(7), 200);
        grants.clear();
        assert_eq!(grants.until(7), 0);
    }

    #[test]
    fn in_a_full_set_the_first_to_end_gives_way() {
        let grants = grants();
        // The upper half of a key chooses the set.
        for key in 1..=5u64 {
            grants.add(key, 100 + (key ^ 2));
        }
        let ends: Vec<u64> = (1..=5).map(|key| grants.until(key)).collect();
        assert_eq!(ends, [103, 0, 101, 106, 107]);
    }

    #[test]
    fn an_older_map_hands_over_what_has_not_ended() {
        let (old, new) = (grants(), grants());
        old.add(3, 1);
        old.add(5, u64::MAX);
        new.take_over(&old);
        assert_eq!((new.until(3), new.until(5)), (0, u64::MAX));
        assert_eq!(new.fill().0, 1);
    }

    #[test]
    fn ipv4_stands_apart_from_ipv6() {
        let four = halves("192.0.2.1".parse().unwrap());
        assert_eq!(four, halves("::ffff:192.0.2.1".parse().unwrap()));
        assert_ne!(four, halves("::192.0.2.1".parse().unwrap()));
    }
}
