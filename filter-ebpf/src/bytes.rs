//! Packet bytes in the kernel. The only place that reads them.

use aya_ebpf::bindings::xdp_md;
use core::arch::asm;
use filter_common::bytes::{Packet, View};
use filter_common::limits::OFFSET_MASK;

/// The frame of a context.
#[derive(Clone, Copy)]
pub(crate) struct XdpPacket(pub(crate) *mut xdp_md);

/// `N` bytes that lie between `data` and `data_end`.
#[derive(Clone, Copy)]
pub(crate) struct XdpView<const N: usize>(*const u8);

impl Packet for XdpPacket {
    type View<const N: usize> = XdpView<N>;

    #[inline(always)]
    fn view<const N: usize>(self, at: u32) -> Option<XdpView<N>> {
        pointer::<N>(self.0, at).map(|bytes| XdpView(bytes.cast_const()))
    }

    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: the kernel gives a valid context for the whole run of the program.
        unsafe { (*self.0).data_end - (*self.0).data }
    }
}

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

/// Reads a `T` that may lie anywhere: packet pointers are read unaligned on every BPF target.
#[inline(always)]
fn read<T: Copy, const N: usize>(view: XdpView<N>, at: usize) -> T {
    // SAFETY: `at + size_of::<T>() <= N` by the caller's constants, and the view's N bytes were checked
    // against `data_end`; BPF has unaligned loads (the kernel's interpreter and JITs see to it).
    unsafe { *(view.0.add(at).cast::<T>()) }
}

impl<const N: usize> View for XdpView<N> {
    #[inline(always)]
    fn u8(self, at: usize) -> u32 {
        u32::from(read::<u8, N>(self, at))
    }
    #[inline(always)]
    fn be16(self, at: usize) -> u32 {
        u32::from(u16::from_be(read::<u16, N>(self, at)))
    }
    #[inline(always)]
    fn be32(self, at: usize) -> u32 {
        u32::from_be(read::<u32, N>(self, at))
    }
    #[inline(always)]
    fn le64(self, at: usize) -> u64 {
        u64::from_le(read::<u64, N>(self, at))
    }
}
