//! The single exit's counters.

use filter_common::abi::Outcome;
use filter_common::reason::FIRST_NOT_PASS;

use crate::maps;
use crate::pointer::bound;

/// A frame of nobody enrolled: only a total.
#[inline(always)]
pub(crate) fn untouched() {
    if let Some(total) = maps::UNTOUCHED.get_ptr_mut(0) {
        // SAFETY: a map value of this processor's own.
        unsafe { *total += 1 };
    }
}

/// A packet of an organisation: its reason, and its category where an entry decided.
#[inline(always)]
pub(crate) fn packet(outcome: Outcome) {
    let reason = outcome.reason;
    if let Some(row) = maps::COUNTERS.get_ptr_mut(outcome.org) {
        // SAFETY: a map value of this processor's own; the index is cut to the row's 64 places.
        unsafe {
            *(&raw mut (*row).packets)
                .cast::<u64>()
                .add(bound::<63>(reason)) += 1
        };
    }
    if reason >= FIRST_NOT_PASS && outcome.category < 64 {
        category(outcome);
    }
}

#[inline(always)]
fn category(outcome: Outcome) {
    let place = bound::<63>(outcome.category);
    if let Some(row) = maps::CATEGORY_COUNTERS.get_ptr_mut(outcome.org) {
        // SAFETY: a map value shared by processors, added to atomically; the index is in the row.
        unsafe {
            let counter = (&raw mut (*row).packets).cast::<u64>().add(place);
            core::arch::asm!("lock *(u64 *)({p} + 0) += {n}", p = in(reg) counter, n = in(reg) 1u64, options(nostack));
        }
    }
    if let Some(row) = maps::REASON_CATEGORIES.get_ptr_mut(outcome.reason) {
        // SAFETY: a map value of this processor's own; the index is in the row.
        unsafe { *(&raw mut (*row).packets).cast::<u64>().add(place) += 1 };
    }
}
