//! Copies of QUIC's first packets for the daemon, by a ring that both see.

use aya_ebpf::helpers::generated as helpers;
use filter_common::abi::QuicCopy;
use filter_common::bytes::Packet;
use filter_common::limits::QUIC_FRAME_MAX;
use filter_common::world::World;

use crate::maps;
use crate::pointer::bound;
use crate::world::KernelWorld;

/// Puts a copy of the frame into the ring; `None`: there is no room, or the organisation had its share
/// of this second.
#[inline(always)]
pub(crate) fn hand_over(world: &mut KernelWorld, key: u64) -> Option<()> {
    let now_ns = world.now_ns();
    let limit = maps::QUIC_WATCH.get(0)?.limit;
    let (org, row) = (world.facts().outcome.org, world.facts().interface);
    let rate = world.org_rate(org)?;
    let second = (now_ns >> 30) as u32;
    if rate.quic_second != second {
        rate.quic_second = second;
        rate.copies = 0;
    }
    rate.copies += 1;
    if rate.copies > limit {
        return None;
    }
    let mpls_reply = world.interface(row)?.mpls_reply;
    let len = world.packet().len();
    if len > QUIC_FRAME_MAX as u32 {
        return None;
    }
    let ifindex = world.ifindex();
    let mut entry = maps::QUIC_COPIES.reserve_untyped::<QuicCopy>(0)?;
    let copy: *mut QuicCopy = entry.as_mut_ptr();
    let facts = world.facts();
    // SAFETY: the ring gave room for a whole `QuicCopy`; each field is written once.
    unsafe {
        (*copy).key = key;
        (*copy).at_ns = now_ns;
        (*copy).org = org;
        (*copy).ifindex = ifindex;
        (*copy).mpls_reply = mpls_reply;
        (*copy).version = facts.version;
        (*copy).destination = facts.destination;
        (*copy).source = facts.source;
        (*copy).l3 = facts.l3;
        (*copy).pppoe_at = facts.pppoe_at;
        (*copy).mpls_at = facts.mpls_at;
        (*copy).payload = facts.payload;
        (*copy).payload_len = facts.payload_len;
        (*copy).frame_len = len;
        (*copy).policy = facts.policy;
        (*copy).bypass = facts.bypass;
        (*copy).best = facts.best;
    }
    // Kernel 6.1 learns no lower bound of a length from a comparison: it is more than 0 by its making.
    let len = bound::<{ QUIC_FRAME_MAX as u32 - 1 }>(len.wrapping_sub(1)) as u32 + 1;
    // SAFETY: `len` is at most the room of `frame`; the helper checks the frame's bounds (kernel 5.18).
    let loaded = unsafe {
        helpers::bpf_xdp_load_bytes(world.ctx(), 0, (&raw mut (*copy).frame).cast(), len)
    };
    if loaded != 0 {
        entry.discard(0);
        return None;
    }
    entry.submit(0);
    Some(())
}
