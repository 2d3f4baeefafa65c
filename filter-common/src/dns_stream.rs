//! DNS over TCP (RFC 7766): messages behind their lengths, read from segments as they come. Every query
//! of a connection is judged; a forbidden one is answered by a reset.
//!
//! One byte a step, as in `http`, with the same state: what is not a question's name is jumped over. Where a
//! query over UDP would be answered here in another form, over TCP its client is reset.

use crate::abi::Request;
use crate::bytes::{Packet, View};
use crate::dns;
use crate::http::mark;
use crate::http::progress::{BOUNDARY, GO, MALFORMED, MORE, NAME, NO_NAME};
use crate::limits::{NAME_BUF, NAME_LEN_MAX, NAME_PAD};
use crate::lookup::decide_into_outcome;
use crate::name::lower_word;
use crate::reason::Reason;
use crate::rule::{CATEGORY_NONE, Moment};
use crate::world::World;

/// `Request::stage`: what comes next. Above those of `http`.
pub mod stage {
    /// The length of a message.
    pub const LENGTH: u8 = 32;
    /// Its header.
    pub const HEADER: u8 = 33;
    /// The length of a label.
    pub const LABEL: u8 = 34;
    /// A label.
    pub const LETTERS: u8 = 35;
    /// Type and class of the question.
    pub const KIND: u8 = 36;
}

/// Longest label (RFC 1035 section 2.3.4).
const LABEL_MAX: u32 = 63;
/// Shortest message with a question: the header, the root, type and class.
const MESSAGE_MIN: u32 = 17;
/// The bits of an answer and of the operation in the header's third byte (RFC 1035 section 4.1.1).
const NO_QUERY: u64 = 0xf8;
/// The Internet, and any class.
const CLASS_IN: u64 = 1;
const CLASS_ANY: u64 = 255;

/// Takes one byte of the segment's payload, which is the `len` bytes at `base` of the frame.
/// `request.body` holds the bytes of the message that are left.
#[inline(always)]
pub fn step<P: Packet>(
    request: &mut Request,
    name: &mut [u8; NAME_BUF],
    packet: P,
    base: u32,
    len: u32,
) -> u32 {
    let offset = request.offset;
    if offset >= len {
        let between = request.stage == stage::LENGTH && request.count == 0;
        return if between { BOUNDARY } else { MORE };
    }
    let Some(byte) = packet.view::<1>(base + offset) else {
        return MORE;
    };
    let byte = byte.u8(0);
    request.offset = offset + 1;
    let stage = request.stage;
    if stage == stage::LENGTH {
        return step_length(request, byte);
    }
    request.body -= 1;
    if stage == stage::LETTERS {
        return step_letter(request, name, byte);
    }
    if stage == stage::LABEL {
        return step_label(request, name, byte);
    }
    request.word = request.word << 8 | byte as u64;
    request.count += 1;
    if stage == stage::HEADER {
        step_header(request)
    } else {
        step_kind(request)
    }
}

#[inline(always)]
fn step_length(request: &mut Request, byte: u32) -> u32 {
    request.body = request.body << 8 | byte;
    request.count += 1;
    if request.count < 2 {
        return GO;
    }
    request.count = 0;
    request.word = 0;
    request.marks = 0;
    request.name_len = 0;
    request.stage = stage::HEADER;
    if request.body < MESSAGE_MIN {
        MALFORMED
    } else {
        GO
    }
}

/// Identifier, flags, and the numbers of records: the first eight bytes matter.
#[inline(always)]
fn step_header(request: &mut Request) -> u32 {
    if request.count == 6 {
        let questions = request.word & 0xffff;
        if request.word >> 24 & NO_QUERY != 0 || questions == 0 {
            return jump(request, NO_NAME);
        }
        if questions != 1 {
            return MALFORMED;
        }
    }
    if request.count == 12 {
        request.count = 0;
        request.stage = stage::LABEL;
    }
    GO
}

#[inline(always)]
fn step_label(request: &mut Request, name: &mut [u8; NAME_BUF], byte: u32) -> u32 {
    // Type and class must follow; a longer label is a compression pointer.
    if byte > LABEL_MAX || byte + 4 > request.body {
        return MALFORMED;
    }
    if byte == 0 {
        request.count = 0;
        request.word = 0;
        request.stage = stage::KIND;
        return GO;
    }
    request.digit = byte as u8;
    request.stage = stage::LETTERS;
    if request.name_len == 0 {
        return GO;
    }
    push(request, name, b'.' as u32)
}

#[inline(always)]
fn step_letter(request: &mut Request, name: &mut [u8; NAME_BUF], byte: u32) -> u32 {
    request.digit -= 1;
    if request.digit == 0 {
        request.stage = stage::LABEL;
    }
    push(request, name, byte)
}

#[inline(always)]
fn push(request: &mut Request, name: &mut [u8; NAME_BUF], byte: u32) -> u32 {
    let to = NAME_PAD + request.name_len as usize;
    if let Some(place) = name.get_mut(to) {
        *place = lower_word(byte as u64) as u8;
    }
    request.name_len = request.name_len.saturating_add(1);
    if request.name_len as u32 >= NAME_LEN_MAX {
        MALFORMED
    } else {
        GO
    }
}

#[inline(always)]
fn step_kind(request: &mut Request) -> u32 {
    if request.count < 4 {
        return GO;
    }
    let class = request.word & 0xffff;
    request.path = request.word >> 16 & 0xffff;
    let named = request.name_len != 0 && (class == CLASS_IN || class == CLASS_ANY);
    jump(request, if named { NAME } else { NO_NAME })
}

/// The rest of the message is of no account.
#[inline(always)]
fn jump(request: &mut Request, outcome: u32) -> u32 {
    request.offset += request.body;
    request.body = 0;
    request.count = 0;
    request.word = 0;
    request.stage = stage::LENGTH;
    if outcome == NAME {
        request.marks |= mark::NAMED;
    }
    outcome
}

/// Judges a query whose name was read into the row's buffer and looked up. The type that is asked for stands in
/// `request.path`.
#[inline(always)]
pub fn judge<W: World>(world: &mut W, row: u32) -> u32 {
    let facts = world.facts();
    facts.outcome.category = CATEGORY_NONE;
    facts.outcome.entry = 0;
    facts.outcome.name_at = 0;
    facts.outcome.name_len = facts.name_len;
    facts.outcome.name_row = row + 1;
    let reason = match decide_into_outcome(world, Moment::Name) {
        0 => Reason::PassDnsName.number(),
        reason => reason,
    };
    let facts = world.facts();
    let (kind, policy, engine) = (facts.request.path as u32, facts.policy, facts.engine);
    facts.engine = 0;
    let flags = world.policy(policy).map_or(0, |policy| policy.flags);
    if dns::form(reason, kind, flags, engine) == reason {
        reason
    } else {
        Reason::RefuseDnsForm.number()
    }
}
