//! The answer to an HTTP request that is blocked or warned of: a redirect to the page that says why, in
//! one segment that also ends the stream. The text is the daemon's; the numbers in it are put in here.

use aya_ebpf::helpers::generated as helpers;
use filter_common::abi::Page;
use filter_common::bytes::{Packet, View};
use filter_common::limits::{DNS_LEN_MAX, PAGE_LEN_MAX};
use filter_common::packet::Protocol;
use filter_common::reason::Reason;
use filter_common::segment::tcp;
use filter_common::world::World;

use crate::maps;
use crate::pointer::{bound, pointer};
use crate::reply::{TCP_LEN, checksum, halves, headers, pseudo_header, put32};
use crate::world::KernelWorld;

/// Bytes of the time stamps with their padding (RFC 7323 appendix A).
const STAMPS_LEN: u32 = 12;
/// Padding, kind and length of the time stamps.
const STAMPS: u32 = 0x0101_080a;
/// Options that are looked through.
const OPTIONS_MAX: u32 = 12;
/// Receive window of the answer: nothing more is taken.
const WINDOW: u32 = 0;
/// Words that the text of a page has with a host of usual length; a longer one costs more.
const USUAL_WORDS: usize = 24;
/// The message's bytes that an answer takes at most, minus one; it is a mask.
const ANSWER_MASK: u32 = DNS_LEN_MAX - 1;
const _: () = assert!(PAGE_LEN_MAX + STAMPS_LEN < ANSWER_MASK && size_of::<Page>() % 8 == 0);

/// Turns the frame into the redirect.
#[inline(always)]
pub(crate) fn redirect(world: &mut KernelWorld) -> Option<()> {
    if !world.open_message() {
        return None;
    }
    let stamps_len = stamps(world);
    let stamps_len = world.forget(stamps_len);
    let len = text(world, stamps_len)?;
    let len = world.forget(len) & ANSWER_MASK;
    let l4 = headers(world, Protocol::TCP, TCP_LEN + len)?;
    segment(world, l4, stamps_len, len)
}

/// Echoes the time stamps (RFC 7323 section 3) into the message, where the segment has them; gives the
/// options' length.
#[inline(always)]
fn stamps(world: &mut KernelWorld) -> u32 {
    let packet = world.packet();
    let facts = world.facts();
    let (l4, end) = (facts.l4, facts.payload);
    let mut at = world.forget(l4 + TCP_LEN);
    // As most systems send them: alone, behind two bytes of padding.
    if let Some(option) = packet.view::<{ STAMPS_LEN as usize }>(at)
        && option.be32(0) == STAMPS
        && at + STAMPS_LEN <= end
    {
        return echo(world, option.be32(4), option.be32(8));
    }
    for _ in 0..OPTIONS_MAX {
        at = world.forget(at);
        if at >= end {
            break;
        }
        let Some(kind) = packet.view::<1>(at) else {
            break;
        };
        let kind = kind.u8(0);
        if kind == 1 {
            at += 1;
            continue;
        }
        let Some(option) = packet.view::<2>(at) else {
            break;
        };
        if kind == 8 && option.u8(1) == 10 {
            let Some(option) = packet.view::<10>(at) else {
                break;
            };
            return echo(world, option.be32(2), option.be32(6));
        }
        if kind == 0 || option.u8(1) < 2 {
            break;
        }
        at += option.u8(1);
    }
    0
}

/// Writes the option: the server's clock as the client knows it, and the client's own. Four bytes behind it
/// are written too.
#[inline(always)]
fn echo(world: &mut KernelWorld, clients: u32, servers: u32) -> u32 {
    let word = |first: u32, second: u32| (first as u64) << 32 | second as u64;
    world.put_message_word(0, word(STAMPS, servers).swap_bytes());
    world.put_message_word(8, word(clients, 0).swap_bytes());
    STAMPS_LEN
}

/// Copies the text behind the options and puts the numbers in; gives the length of both.
#[inline(always)]
fn text(world: &mut KernelWorld, at: u32) -> Option<u32> {
    let page = maps::PAGE.get(0)?;
    let len = page.len;
    if len == 0 || len > PAGE_LEN_MAX {
        return None;
    }
    for (number, word) in page.text.as_chunks::<8>().0.iter().enumerate() {
        if number == USUAL_WORDS && len <= USUAL_WORDS as u32 * 8 {
            break;
        }
        world.put_message_word(at + 8 * number as u32, u64::from_le_bytes(*word));
    }
    let outcome = world.facts().outcome;
    let warned = outcome.reason == Reason::WarnName.number()
        || outcome.reason == Reason::WarnAddress.number();
    if warned {
        world.put_message_u8(at.wrapping_add(page.kind_at), b'w' as u32);
    }
    digits(world, at.wrapping_add(page.entry_at), 10, outcome.entry);
    digits(world, at.wrapping_add(page.org_at), 5, outcome.org);
    digits(world, at.wrapping_add(page.reason_at), 3, outcome.reason);
    Some(at + len)
}

#[inline(always)]
fn digits(world: &mut KernelWorld, at: u32, count: u32, number: u32) {
    let mut left = number;
    for place in 0..count {
        let back = count - 1 - place;
        world.put_message_u8(at.wrapping_add(back), b'0' as u32 + left % 10);
        left /= 10;
    }
}

/// The TCP header, with the message behind it.
#[inline(always)]
fn segment(world: &mut KernelWorld, l4: u32, stamps_len: u32, len: u32) -> Option<()> {
    let facts = world.facts();
    let ports = facts.ports.rotate_left(16);
    let (seq, ack) = (facts.ack, facts.seq.wrapping_add(facts.payload_len));
    let fin = facts.tcp_flags & tcp::FIN;
    let ack = ack.wrapping_add(fin);
    let control = (5 + stamps_len / 4) << 28 | (tcp::FIN | tcp::PSH | tcp::ACK) << 16 | WINDOW;
    let header = pseudo_header(facts, Protocol::TCP, TCP_LEN + len)
        + halves(ports)
        + halves(seq)
        + halves(ack)
        + halves(control);
    let sum = message_sum(world, len)?;
    let at = pointer::<20>(world.ctx(), l4)?;
    // SAFETY: 20 bytes are there.
    unsafe {
        put32(at, 0, ports);
        put32(at, 4, seq);
        put32(at, 8, ack);
        put32(at, 12, control);
        put32(at, 16, checksum(header + sum) << 16);
    }
    store_message(world, l4 + TCP_LEN, len)
}

/// Sum of the message's first `len` bytes, not folded yet.
#[inline(always)]
pub(crate) fn message_sum(world: &mut KernelWorld, len: u32) -> Option<u64> {
    // The sum takes words of four bytes: what is behind the message counts as zero.
    let padded = (bound::<ANSWER_MASK>(len) + 3) & (DNS_LEN_MAX - 4) as usize;
    world.put_message_word(len, 0);
    let bytes = world.message_start().cast::<u32>();
    // SAFETY: `padded` bytes of the map value are there, a multiple of four and at most 512 (kernel 4.6).
    let sum = unsafe { helpers::bpf_csum_diff(core::ptr::null_mut(), 0, bytes, padded as u32, 0) };
    if sum < 0 {
        return None;
    }
    // The sum does not depend on the order of bytes but for that of its own two (RFC 1071 section 2).
    let sum = (!checksum(sum as u64) & 0xffff) as u16;
    Some(sum.swap_bytes() as u64)
}

/// Copies the message's first `len` bytes into the frame; there is at least one.
#[inline(always)]
pub(crate) fn store_message(world: &mut KernelWorld, at: u32, len: u32) -> Option<()> {
    // Kernel 6.1 learns no lower bound of a length from a comparison: it is more than 0 by its making.
    let len = bound::<ANSWER_MASK>(len.wrapping_sub(1)) as u32 + 1;
    let bytes = world.message_start();
    // SAFETY: `len` bytes of the map value are there; the helper checks the frame's (kernel 5.18).
    let stored = unsafe { helpers::bpf_xdp_store_bytes(world.ctx(), at, bytes.cast(), len) };
    (stored == 0).then_some(())
}
