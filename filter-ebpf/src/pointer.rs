//! The one way to a packet's memory.

use aya_ebpf::bindings::xdp_md;
use core::arch::asm;
use filter_common::limits::OFFSET_MASK;

/// A pointer to `N` packet bytes at `at`, which are there.
///
/// Three things the verifier could not know without help. The offset's bound: LLVM drops a mask that
/// it can prove needless, and kernel 6.1 loses bounds where LLVM turns masked values into an XOR; so
/// the mask is an instruction that LLVM cannot see through. The end of the view: LLVM turns
/// `p + 1 > data_end` into `p >= data_end`, from which the verifier learns no range for `p`; so the
/// end is computed by instructions of our own. And the two must derive from one pointer.
#[inline(always)]
pub(crate) fn pointer<const N: usize>(ctx: *mut xdp_md, at: u32) -> Option<*mut u8> {
    // SAFETY: the kernel gives a valid context for the whole run of the program.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    let start = data + bound::<OFFSET_MASK>(at);
    let stop: usize;
    // SAFETY: a move and an ADD on registers; touches nothing else.
    unsafe {
        asm!("{0} = {1}", "{0} += {2}", out(reg) stop, in(reg) start, const N, options(nomem, nostack, preserves_flags, pure));
    }
    if stop > end {
        None
    } else {
        Some(start as *mut u8)
    }
}

/// `value & MASK` by an instruction that LLVM cannot see through, so that it stays in the code and the
/// verifier learns the bound.
#[inline(always)]
pub(crate) fn bound<const MASK: u32>(value: u32) -> usize {
    let mut value = value as u64;
    // SAFETY: one AND on a register; touches nothing else.
    unsafe {
        asm!("{0} &= {1}", inout(reg) value, const MASK, options(nomem, nostack, preserves_flags, pure));
    }
    value as usize
}
