//! The single exit's counters.

use filter_common::abi::Outcome;
use filter_common::limits::REASONS;
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
        // SAFETY: a map value of this processor's own; the index is one of the row's places.
        unsafe {
            *(&raw mut (*row).packets)
                .cast::<u64>()
                .add(at_most::<{ REASONS as u32 - 1 }>(reason)) += 1
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

/// `value` where it is at most `MAX`, else 0, by instructions that LLVM cannot see through.
#[inline(always)]
fn at_most<const MAX: u32>(value: u32) -> usize {
    let mut value = value as u64;
    // SAFETY: a jump over a move within these two instructions; touches nothing else.
    unsafe {
        core::arch::asm!("if {0} <= {1} goto +1", "{0} = 0", inout(reg) value, const MAX, options(nomem, nostack, preserves_flags, pure));
    }
    value as usize
}
