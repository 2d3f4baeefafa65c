//! The one way to packet bytes: a bounds-checked view of `N` bytes at an offset, read by fields.
//!
//! The kernel's side is a pointer between `data` and `data_end`, the host's side is a slice; the
//! parsers know neither.

/// A frame.
pub trait Packet: Copy {
    /// A view of `N` bytes.
    type View<const N: usize>: View;

    /// The `N` bytes at `at`, or `None` where the frame ends before.
    fn view<const N: usize>(self, at: u32) -> Option<Self::View<N>>;

    /// Length of the frame in bytes.
    fn len(self) -> u32;

    /// Whether the frame is empty.
    fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Bytes that are there. Offsets are constants below the view's size.
pub trait View: Copy {
    /// One byte.
    fn u8(self, at: usize) -> u32;
    /// Two bytes in network order.
    fn be16(self, at: usize) -> u32;
    /// Four bytes in network order.
    fn be32(self, at: usize) -> u32;
    /// Eight bytes, the first one lowest.
    fn le64(self, at: usize) -> u64;

    /// Eight bytes in network order.
    #[inline(always)]
    fn be64(self, at: usize) -> u64 {
        self.le64(at).swap_bytes()
    }
}

/// A frame on the host.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(pub &'a [u8]);

/// A view of a frame on the host.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a, const N: usize>(&'a [u8; N]);

impl<'a> Packet for Frame<'a> {
    type View<const N: usize> = FrameView<'a, N>;

    fn view<const N: usize>(self, at: u32) -> Option<FrameView<'a, N>> {
        // The same mask as in the kernel, so that both sides see the same bytes.
        let at = (at & crate::limits::OFFSET_MASK) as usize;
        self.0.get(at..)?.first_chunk::<N>().map(FrameView)
    }

    fn len(self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

impl<const N: usize> FrameView<'_, N> {
    fn array<const M: usize>(self, at: usize) -> [u8; M] {
        self.0
            .get(at..)
            .and_then(<[u8]>::first_chunk::<M>)
            .copied()
            .unwrap_or([0; M])
    }
}

impl<const N: usize> View for FrameView<'_, N> {
    fn u8(self, at: usize) -> u32 {
        u32::from(u8::from_be_bytes(self.array(at)))
    }
    fn be16(self, at: usize) -> u32 {
        u32::from(u16::from_be_bytes(self.array(at)))
    }
    fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }
    fn le64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}
