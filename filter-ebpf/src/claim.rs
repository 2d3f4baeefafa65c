//! The claim of a set of flow slots: whoever enters a flow or judges a hello holds its set, so that
//! two processors never enter one flow twice or parse one hello at once.

use core::arch::asm;
use filter_common::abi::FlowSet;
use filter_common::limits::CLAIM_TRIES;

/// Tries for a moment to claim the set. A claim lasts well under a microsecond.
#[inline(always)]
pub(crate) fn take(set: *mut FlowSet) -> bool {
    // SAFETY: `set` is a map value; only the address is taken here.
    let place = unsafe { &raw mut (*set).slots[0].claim };
    for _ in 0..CLAIM_TRIES {
        let mut seen = 0u32;
        // SAFETY: four aligned bytes of a map value; atomic (kernel 5.12, `-Ctarget-cpu=v3`).
        unsafe {
            asm!("w0 = cmpxchg32_32({p} + 0, w0, {n})", p = in(reg) place, n = in(wreg) 1u32, inout("w0") seen, options(nostack));
        }
        if seen == 0 {
            return true;
        }
    }
    false
}

/// Gives the claim back, after every write made under it.
///
/// A plain store: x86-64, the one architecture this runs on, keeps stores in order. A store-release
/// (`-Ctarget-cpu=v4`, kernel 6.15) is what another would need.
#[inline(always)]
pub(crate) fn give(set: *mut FlowSet) {
    // SAFETY: as in `take`; volatile, so that no write made under the claim moves behind it.
    unsafe { (&raw mut (*set).slots[0].claim).write_volatile(0) }
}
