//! Records of a register that a later delta replaces or removes.

/// A set of ids, quick to say no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Sorted, distinct.
    ids: Vec<u32>,
    /// A bit for each id at a place that follows from it: no bit, no id.
    bits: Vec<u64>,
    shift: u32,
}

/// Bits for each id: one foreign id in sixteen meets a bit.
const BITS_EACH: usize = 16;

impl Mask {
    /// Of these ids, in any order.
    #[must_use]
    pub fn new(mut ids: Vec<u32>) -> Mask {
        ids.sort_unstable();
        ids.dedup();
        let size = (ids.len() * BITS_EACH).next_power_of_two().max(64);
        let mut mask = Mask {
            bits: vec![0; size / 64],
            shift: 32 - size.trailing_zeros().min(32),
            ids: Vec::new(),
        };
        for id in &ids {
            let (word, bit) = mask.place(*id);
            if let Some(word) = mask.bits.get_mut(word) {
                *word |= bit;
            }
        }
        mask.ids = ids;
        mask
    }

    /// Whether the record with this id is replaced or removed.
    #[must_use]
    pub fn holds(&self, id: u32) -> bool {
        let (word, bit) = self.place(id);
        let met = self.bits.get(word).is_some_and(|word| word & bit != 0);
        met && self.ids.binary_search(&id).is_ok()
    }

    /// Multiplied by the golden ratio, the upper bits of neighbours differ.
    fn place(&self, id: u32) -> (usize, u64) {
        let hash = u64::from(id.wrapping_mul(0x9e37_79b1)) >> self.shift;
        let word = usize::try_from(hash / 64).unwrap_or(0);
        (word, 1 << (hash % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_holds_its_ids_and_no_others() {
        for count in [0u32, 1, 5, 3_000, 100_000] {
            let ids: Vec<u32> = (0..count).map(|at| at * 7 + 3).collect();
            let mask = Mask::new(ids.iter().rev().copied().collect());
            assert!(ids.iter().all(|id| mask.holds(*id)), "{count}");
            let foreign = (0..count * 7 + 100).filter(|id| id % 7 != 3);
            assert!(foreign.into_iter().all(|id| !mask.holds(id)), "{count}");
            assert!(!mask.holds(u32::MAX));
        }
    }
}
