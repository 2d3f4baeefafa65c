//! The places where the pipeline is cut: functions that the verifier checks once, on their own.
//! Inlined, the walk of a name and the steps of a hello fail with "sequence of 8193 jumps is too
//! complex" or run over a million instructions. Their arguments are numbers and the context; all
//! else goes through map memory.

use aya_ebpf::bindings::xdp_md;
use filter_common::limits::{REQUEST_STEPS_MAX, STEPS_MAX};
use filter_common::world::World;
use filter_common::{dns, encrypted, flow, grant, http, quic, tls};
use filter_common::{identify, lookup, request, segment, walk};

use crate::world::KernelWorld;
use crate::{page, reply};

/// The world around `ctx`, or the given result.
macro_rules! world {
    ($ctx:expr, $otherwise:expr) => {
        match KernelWorld::with_facts($ctx) {
            Some(world) => world,
            None => return $otherwise,
        }
    };
}

/// Tags, labels and PPPoE.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn link(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    identify::link_into_facts(&mut world);
    0
}

/// A frame from the internet side.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn inward(ctx: *mut xdp_md, row: u32) -> u32 {
    let mut world = world!(ctx, 0);
    filter_common::inward::inward(&mut world, row)
}

/// IPv6 extension headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn extensions(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    let packet = world.packet();
    filter_common::packet::read_extensions(packet, world.facts())
}

/// A key whose Bloom bits are set. Functions that read no packet take no context: LLVM leaves an unused
/// argument unset, and the verifier refuses the call.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn subject(key: u64, dot: u64, left: u32) -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    lookup::subject_found(&mut world, key, dot, left);
    0
}

/// The destination's prefix entry.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn net() -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    lookup::net_found(&mut world);
    0
}

/// A datagram to port 53.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn query(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    dns::query(&mut world)
}

/// A datagram that may be a QUIC client's.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn quic_datagram(ctx: *mut xdp_md, fragment: u32) -> u32 {
    let mut world = world!(ctx, 0);
    quic::datagram(&mut world, fragment)
}

/// Whether a Handshake packet stands behind an Initial.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn carries_handshake(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    quic::carries_handshake(&mut world) as u32
}

/// Marks a QUIC client's first packet to an address that is forbidden.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn mark_answerable(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    quic::mark_answerable(&mut world);
    0
}

/// A copy of the frame goes to the daemon; 1 if there was room.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy(ctx: *mut xdp_md, key: u64) -> u32 {
    let mut world = world!(ctx, 0);
    crate::copy::hand_over(&mut world, key).is_some() as u32
}

/// The frame becomes Version Negotiation to its sender; 1 if it did.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn version_negotiation(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    reply::version_negotiation(&mut world).is_some() as u32
}

/// The frame becomes the answer to its query; 1 if it did.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn answer(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    reply::answer(&mut world).is_some() as u32
}

/// Whether the client has a grant for an entry.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn granted(entry: u32) -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    grant::granted(&mut world, entry) as u32
}

/// A SYN or a datagram of encrypted DNS.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn endpoint() -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    encrypted::endpoint(&mut world)
}

/// A SYN.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn syn() -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    flow::syn(&mut world)
}

/// A segment to be judged.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn payload(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    flow::payload(&mut world)
}

/// One step of a hello.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn one_step(ctx: *mut xdp_md, row: u32) -> u32 {
    let mut world = world!(ctx, tls::progress::NOT_TLS);
    segment::step_facts(&mut world, row)
}

/// Steps of a hello, within the budget.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn steps(ctx: *mut xdp_md, row: u32) -> u32 {
    for _ in 0..STEPS_MAX {
        let outcome = one_step(ctx, row);
        if outcome != tls::progress::GO {
            return outcome;
        }
    }
    tls::progress::GO
}

/// The requests of a segment. Called under the claim of the flow's set, which is found again.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn parse_requests(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    let set = world.facts().spare[0];
    if !world.open_flows(set) {
        return 0;
    }
    request::parse_claimed(&mut world)
}

/// One step of a request.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn request_step(ctx: *mut xdp_md, row: u32) -> u32 {
    let mut world = world!(ctx, http::progress::NOT_HTTP);
    request::step_facts(&mut world, row)
}

/// Steps of a request, within the budget.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn request_steps(ctx: *mut xdp_md, row: u32) -> u32 {
    for _ in 0..REQUEST_STEPS_MAX {
        let outcome = request_step(ctx, row);
        if outcome != http::progress::GO {
            return outcome;
        }
    }
    http::progress::GO
}

/// The verdict on a request.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn judge_request(row: u32, outcome: u32) -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    request::judge_request(&mut world, row, outcome)
}

/// The look-up of a request's URLs.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn urls(row: u32) -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    request::urls(&mut world, row);
    0
}

/// A segment without payload of an ended connection, perhaps.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ended() -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    request::ended(&mut world)
}

/// The frame becomes a redirect to the page; 1 if it did.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn redirect(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    page::redirect(&mut world).is_some() as u32
}

/// The walk of a name in a row of `HELLOS`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn name_in_row(row: u32) -> u32 {
    let mut world = world!(core::ptr::null_mut(), 0);
    walk::name_in_row(&mut world, row);
    0
}

/// Keyed hash of payload bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hash(ctx: *mut xdp_md, from: u32, len: u32) -> u32 {
    let mut world = world!(ctx, 0);
    segment::hash_payload(&mut world, from, len)
}

/// The frame becomes a reset to its sender; 1 if it did.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn reset(ctx: *mut xdp_md) -> u32 {
    let mut world = world!(ctx, 0);
    reply::reset(&mut world).is_some() as u32
}
