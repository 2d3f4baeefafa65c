//! DNS over UDP (RFC 1035 section 4): the question's name, and the answer to a query that is forbidden, or
//! that passes in another form only.
//!
//! The message is copied into map memory first: there the lengths in front of the labels become dots,
//! and the name is walked like any other. The answer is built in the same place.

use crate::abi::{
    POLICY_DNS_NXDOMAIN, POLICY_ECH_WITHHELD, POLICY_SAFE_MODERATE, POLICY_SAFE_SEARCH,
};
use crate::bytes::{Packet, View};
use crate::limits::{DNS_LABELS_MAX, DNS_LEN_MAX, DNS_OPTIONS_MAX, DNS_TTL};
use crate::lookup::{decide_into_outcome, need_policy};
use crate::reason::{FIRST_ANSWERED, FIRST_NOT_PASS, Reason};
use crate::rule::{CATEGORY_NONE, Moment};
use crate::walk::name_in_message;
use crate::world::World;

/// Port of DNS.
pub const PORT: u32 = 53;
/// Bytes of the header (RFC 1035 section 4.1.1).
pub const HEADER_LEN: u32 = 12;
/// Longest name on the wire, with the root's length byte (RFC 1035 section 3.1).
const NAME_WIRE_MAX: u32 = 255;
/// Longest label.
const LABEL_MAX: u32 = 63;

/// Flags in the header's second word: an answer.
const FLAG_ANSWER: u32 = 0x8000;
/// The operation; 0 is a query.
const FLAG_OPCODE: u32 = 0x7800;
/// Recursion desired.
const FLAG_RECURSION_DESIRED: u32 = 0x0100;
/// Recursion available.
const FLAG_RECURSION_AVAILABLE: u32 = 0x0080;
/// Checking disabled (RFC 4035 section 3.2.2).
const FLAG_CHECKING_DISABLED: u32 = 0x0010;
/// Response code: no such name.
const NXDOMAIN: u32 = 3;

/// IPv4 address.
pub const TYPE_A: u32 = 1;
/// IPv6 address.
pub const TYPE_AAAA: u32 = 28;
/// Service binding (RFC 9460), which may hold a key of Encrypted ClientHello.
pub const TYPE_SVCB: u32 = 64;
/// Service binding of HTTPS.
pub const TYPE_HTTPS: u32 = 65;
/// EDNS (RFC 6891).
const TYPE_OPT: u32 = 41;
/// The Internet.
const CLASS_IN: u32 = 1;
/// Any class.
const CLASS_ANY: u32 = 255;
/// Option: DNS cookie (RFC 7873).
const OPTION_COOKIE: u32 = 10;
/// Option: extended error (RFC 8914).
const OPTION_ERROR: u32 = 15;
/// Extended error: an answer that is not the name's own, by policy (RFC 8914 section 4.5).
const ERROR_FORGED: u32 = 4;
/// Extended error: blocked by the operator's policy (RFC 8914 section 4.16).
const ERROR_BLOCKED: u32 = 15;
/// Extended error: blocked by a demand from outside (RFC 8914 section 4.17).
const ERROR_CENSORED: u32 = 16;
/// Longest cookie: 8 bytes of the client's, 32 of the server's.
const COOKIE_MAX: u32 = 40;
/// Payload that an answer is told to be able to take (DNS flag day 2020).
const UDP_SIZE: u32 = 1232;
/// Where a query's cookie is kept while the answer is built over it.
const COOKIE_AT: u32 = DNS_LEN_MAX;

#[inline(always)]
fn be16<W: World>(world: &mut W, at: u32) -> u32 {
    world.message_u8(at) << 8 | world.message_u8(at.wrapping_add(1))
}

#[inline(always)]
fn put16<W: World>(world: &mut W, at: u32, value: u32) {
    world.put_message_u8(at, value >> 8);
    world.put_message_u8(at.wrapping_add(1), value);
}

/// Writes four bytes of the message in network order.
#[inline(always)]
pub(crate) fn put32<W: World>(world: &mut W, at: u32, value: u32) {
    put16(world, at, value >> 16);
    put16(world, at.wrapping_add(2), value);
}

/// Copies the datagram's payload into the message. `facts.payload` and `payload_len` tell where it is;
/// it is at least a header and at most [`DNS_LEN_MAX`] bytes long.
#[inline(always)]
pub fn copy_message<W: World>(world: &mut W) {
    let packet = world.packet();
    let facts = world.facts();
    let (from, len) = (facts.payload, facts.payload_len);
    let mut at = 0;
    for _ in 0..DNS_LEN_MAX / 8 {
        if at + 8 > len {
            break;
        }
        copy_word(world, packet, from, at);
        at += 8;
    }
    // The rest, with some bytes twice: a message is longer than a word.
    copy_word(world, packet, from, len.wrapping_sub(8) & (DNS_LEN_MAX - 1));
}

#[inline(always)]
fn copy_word<W: World>(world: &mut W, packet: W::Packet, from: u32, at: u32) {
    if let Some(view) = packet.view::<8>(from + at) {
        world.put_message_word(at, view.le64(0));
    }
}

/// What a query is, before its name is looked up.
enum Query {
    /// Nothing is asked that has a name.
    Reason(Reason),
    /// The name is [`HEADER_LEN`] + 1 bytes into the message, this long; type and class follow at this
    /// place.
    Name(u32, u32),
}

/// Judges the datagram to port 53 in hand: `facts.payload` and `payload_len` are set.
#[inline(always)]
pub fn query<W: World>(world: &mut W) -> u32 {
    let len = world.facts().payload_len;
    if !world.open_message() || !(HEADER_LEN..=DNS_LEN_MAX).contains(&len) {
        return Reason::RefuseDnsMalformed.number();
    }
    copy_message(world);
    let len = world.forget(len);
    let (name_len, behind) = match read_query(world, len) {
        Query::Reason(reason) => return reason.number(),
        Query::Name(name_len, behind) => (name_len, behind),
    };
    need_policy(world);
    let facts = world.facts();
    // What is listed for the resolver's address says nothing of the name that is asked for.
    facts.best.clear();
    facts.outcome.category = CATEGORY_NONE;
    facts.outcome.entry = 0;
    facts.engine = 0;
    facts.name_len = name_len;
    facts.question_end = behind + 4;
    facts.outcome.name_at = facts.payload + HEADER_LEN + 1;
    facts.outcome.name_len = name_len;
    facts.outcome.name_row = 0;
    name_in_message(world);
    let reason = match decide_into_outcome(world, Moment::Name) {
        0 => Reason::PassDnsName.number(),
        reason => reason,
    };
    in_form(world, reason)
}

/// The same reason, or the one by which the query passes in another form.
#[inline(always)]
fn in_form<W: World>(world: &mut W, reason: u32) -> u32 {
    let facts = world.facts();
    let (end, row, engine) = (facts.question_end, facts.policy, facts.engine);
    // One state for the verifier, not one for each reason.
    let reason = world.forget(reason);
    let end = world.forget(end);
    let kind = be16(world, end.wrapping_sub(4));
    let flags = world.policy(row).map_or(0, |policy| policy.flags);
    let form = form(reason, kind, flags, engine);
    let answer = form == Reason::PassSafeSearch.number();
    world.facts().engine = if answer { answer_row(engine, flags) } else { 0 };
    form
}

/// The row of `ANSWERS` with the addresses that a policy with these flags gives for a search engine's names.
#[inline(always)]
#[must_use]
pub fn answer_row(engine: u32, flags: u32) -> u32 {
    2 * engine + (flags & POLICY_SAFE_MODERATE != 0) as u32
}

/// What becomes of a query of this type for a name that may be reached by `reason`: the reason itself, or
/// one by which it is answered here. `engine` is the number of the search engine that the name is of, or 0.
/// No allowed list lifts that: it says that a name may be reached, not how.
/// The organisation's bypass does.
#[inline(always)]
#[must_use]
pub fn form(reason: u32, kind: u32, flags: u32, engine: u32) -> u32 {
    if reason >= FIRST_ANSWERED || reason == Reason::PassBypass.number() {
        return reason;
    }
    let binding = kind == TYPE_SVCB || kind == TYPE_HTTPS;
    let leads = binding || kind == TYPE_A || kind == TYPE_AAAA;
    if engine != 0 && leads && flags & POLICY_SAFE_SEARCH != 0 {
        return Reason::PassSafeSearch.number();
    }
    if binding && flags & POLICY_ECH_WITHHELD != 0 {
        return Reason::PassDnsWithheld.number();
    }
    reason
}

#[inline(always)]
fn read_query<W: World>(world: &mut W, len: u32) -> Query {
    let questions = be16(world, 4);
    if be16(world, 2) & (FLAG_ANSWER | FLAG_OPCODE) != 0 || questions == 0 {
        return Query::Reason(Reason::PassDnsOther);
    }
    if questions != 1 {
        return Query::Reason(Reason::RefuseDnsQuestions);
    }
    // Where the next label's length stands is kept in map memory: one state for the verifier.
    let mut at = HEADER_LEN;
    for _ in 0..DNS_LABELS_MAX {
        at = world.forget(at);
        let label_len = world.message_u8(at);
        if label_len == 0 || label_len > LABEL_MAX || at >= len {
            break;
        }
        world.put_message_u8(at, b'.' as u32);
        at += 1 + label_len;
    }
    let at = world.forget(at);
    // The root's length, the type and the class are there; a longer label is a compression pointer.
    if at + 5 > len || world.message_u8(at) != 0 || at - HEADER_LEN >= NAME_WIRE_MAX {
        return Query::Reason(Reason::RefuseDnsMalformed);
    }
    let class = be16(world, at + 3);
    if at == HEADER_LEN || (class != CLASS_IN && class != CLASS_ANY) {
        return Query::Reason(Reason::PassDnsOther);
    }
    Query::Name(at - HEADER_LEN - 1, at + 1)
}

/// Builds the answer to the query in hand, from the message as it came (see [`copy_message`]) up to
/// `facts.question_end`; gives its length. The question stays as it is, the case of its letters too.
///
/// An answer without a record names no authority either: nobody keeps it (RFC 2308 section 5), so that it
/// ends with the policy that it comes of.
#[inline(always)]
pub fn answer<W: World>(world: &mut W) -> u32 {
    let facts = world.facts();
    let (end, len, row) = (facts.question_end, facts.payload_len, facts.policy);
    let reason = facts.outcome.reason;
    let nxdomain = !exists(reason)
        || reason >= FIRST_NOT_PASS
            && world
                .policy(row)
                .is_none_or(|policy| policy.flags & POLICY_DNS_NXDOMAIN != 0);
    // One state for the verifier, not one for each way here.
    let code = world.forget(nxdomain as u32 * NXDOMAIN);
    let error = world.forget(error_of(reason));
    let end = world.forget(end);
    let len = world.forget(len);
    let flags = be16(world, 2);
    let kind = be16(world, end.wrapping_sub(4));
    let edns = read_edns(world, end, len);
    let address_len = if code != 0 {
        0
    } else {
        put_address(world, end, kind)
    };
    let at = world.forget(end + address_len);
    put16(
        world,
        2,
        FLAG_ANSWER
            | FLAG_RECURSION_AVAILABLE
            | code
            | flags & (FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED),
    );
    put16(world, 4, 1);
    put16(world, 6, (address_len != 0) as u32);
    put16(world, 8, 0);
    put16(world, 10, edns.present);
    if edns.present == 0 {
        return at;
    }
    put_edns(world, at, edns, error)
}

/// The extended error that tells it.
#[inline(always)]
fn error_of(reason: u32) -> u32 {
    if reason < FIRST_NOT_PASS {
        ERROR_FORGED
    } else if reason == Reason::BlockUnifiedName.number() {
        ERROR_CENSORED
    } else {
        ERROR_BLOCKED
    }
}

/// Whether a name exists at all: not if it is forbidden as a way to hide names, whatever the profile says of
/// others. Devices take nothing else for a refusal of a canary name, and no person looks at a page there.
#[inline(always)]
#[must_use]
pub fn exists(reason: u32) -> bool {
    !(Reason::BlockEncryptedDnsName.number()..=Reason::BlockEchName.number()).contains(&reason)
}

/// The address in a row of `ANSWERS` as the answer to the question; gives its length, 0 if there is none of
/// this kind. A canonical name is not told: no stub asks for one, and the answer stays as short as any.
#[inline(always)]
fn put_address<W: World>(world: &mut W, at: u32, kind: u32) -> u32 {
    let row = world.facts().engine;
    let row = world.forget(row);
    let words = if kind == TYPE_A {
        1
    } else if kind == TYPE_AAAA {
        4
    } else {
        return 0;
    };
    let mut seen = 0;
    for word in 0..4 {
        if word >= words {
            break;
        }
        let value = world.answer_word(row, if words == 1 { 7 } else { word });
        seen |= value;
        put32(world, at + 12 + 4 * word, value);
    }
    if seen == 0 {
        return 0;
    }
    // The name is that of the question (RFC 1035 section 4.1.4).
    put16(world, at, 0xc000 | HEADER_LEN);
    put16(world, at + 2, kind);
    put16(world, at + 4, CLASS_IN);
    put32(world, at + 6, DNS_TTL);
    put16(world, at + 10, 4 * words);
    12 + 4 * words
}

/// What the answer needs of a query's OPT record.
#[derive(Clone, Copy)]
struct Edns {
    /// 1 if the query has one.
    present: u32,
    /// The bit "DNSSEC OK", as it stands in the record's flags.
    dnssec_ok: u32,
    /// Bytes of the cookie, kept at [`COOKIE_AT`]; 0: none.
    cookie_len: u32,
}

/// Reads the OPT record behind the question, where it stands first (RFC 6891 section 6.1).
#[inline(always)]
fn read_edns<W: World>(world: &mut W, at: u32, len: u32) -> Edns {
    let plain = be16(world, 6) | be16(world, 8) == 0 && be16(world, 10) != 0;
    if !plain || at + 11 > len || world.message_u8(at) != 0 || be16(world, at + 1) != TYPE_OPT {
        return Edns::NONE;
    }
    let dnssec_ok = be16(world, at + 7) & 0x8000;
    let end = at + 11 + be16(world, at + 9);
    let mut option = at + 11;
    let mut cookie_len = 0;
    for _ in 0..DNS_OPTIONS_MAX {
        if option + 4 > end || end > len {
            break;
        }
        let option_len = be16(world, option + 2);
        let whole = option + 4 + option_len <= end;
        if be16(world, option) == OPTION_COOKIE && whole && is_cookie_len(option_len) {
            cookie_len = option_len;
            break;
        }
        option += 4 + option_len;
    }
    if cookie_len != 0 {
        keep_cookie(world, option + 4);
    }
    Edns {
        present: 1,
        dnssec_ok,
        cookie_len,
    }
}

impl Edns {
    const NONE: Edns = Edns {
        present: 0,
        dnssec_ok: 0,
        cookie_len: 0,
    };
}

/// Lengths of a cookie (RFC 7873 section 4).
#[inline(always)]
fn is_cookie_len(len: u32) -> bool {
    len == 8 || (16..=COOKIE_MAX).contains(&len)
}

#[inline(always)]
fn keep_cookie<W: World>(world: &mut W, from: u32) {
    // Whole words of the longest one: a loop to its own end is endless to kernel 6.1.
    for word in 0..COOKIE_MAX / 8 {
        let value = world.message_word(from + 8 * word);
        world.put_message_word(COOKIE_AT + 8 * word, value);
    }
}

/// The answer's OPT record with the extended error and the query's cookie; gives the place behind it.
#[inline(always)]
fn put_edns<W: World>(world: &mut W, at: u32, edns: Edns, error: u32) -> u32 {
    let cookie_len = edns.cookie_len;
    let cookie_option = if cookie_len == 0 { 0 } else { 4 + cookie_len };
    world.put_message_u8(at, 0);
    put16(world, at + 1, TYPE_OPT);
    put16(world, at + 3, UDP_SIZE);
    put16(world, at + 5, 0);
    put16(world, at + 7, edns.dnssec_ok);
    put16(world, at + 9, 6 + cookie_option);
    put16(world, at + 11, OPTION_ERROR);
    put16(world, at + 13, 2);
    put16(world, at + 15, error);
    let at = at + 17;
    if cookie_len == 0 {
        return at;
    }
    put16(world, at, OPTION_COOKIE);
    put16(world, at + 2, cookie_len);
    // What is behind it is behind the answer's end too.
    for word in 0..COOKIE_MAX / 8 {
        let value = world.message_word(COOKIE_AT + 8 * word);
        world.put_message_word(at + 4 + 8 * word, value);
    }
    at + 4 + cookie_len
}
