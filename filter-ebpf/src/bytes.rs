//! Packet bytes in the kernel, as the parsers see them.

use aya_ebpf::bindings::xdp_md;
use filter_common::bytes::{Packet, View};

use crate::pointer::pointer;

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
