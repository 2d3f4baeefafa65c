//! The hold on a program whose flows are being handed over: a mark with its own end, in one word.

use super::{CONTROL_DRAIN, CONTROL_DRAIN_SHIFT, DRAIN_UNITS};

/// The bits of `Control::flags` of a hand-over that starts now.
#[must_use]
pub fn drain_flags(now_ns: u64) -> u32 {
    let end = ((now_ns >> 28) as u32).wrapping_add(DRAIN_UNITS);
    CONTROL_DRAIN | end << CONTROL_DRAIN_SHIFT
}

/// `flags` without those of a hand-over.
#[must_use]
pub fn without_drain(flags: u32) -> u32 {
    flags & !(CONTROL_DRAIN | u32::MAX << CONTROL_DRAIN_SHIFT)
}

/// Whether a hand-over by these flags is under way.
#[inline(always)]
#[must_use]
pub fn drain_holds(flags: u32, now_ns: u64) -> bool {
    let left = (flags >> CONTROL_DRAIN_SHIFT).wrapping_sub((now_ns >> 28) as u32);
    (left & u32::MAX >> CONTROL_DRAIN_SHIFT).wrapping_sub(1) < DRAIN_UNITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::CONTROL_PASS_ALL;

    #[test]
    fn a_hand_over_ends_by_itself() {
        for start in [0, 1 << 40, u64::MAX >> 2] {
            let flags = CONTROL_PASS_ALL | drain_flags(start);
            let limit = u64::from(DRAIN_UNITS) << 28;
            assert!(drain_holds(flags, start) && drain_holds(flags, start + limit / 2));
            assert!(!drain_holds(flags, start + limit) && !drain_holds(flags, start + 100 * limit));
            assert_eq!(without_drain(flags), CONTROL_PASS_ALL);
        }
    }
}
