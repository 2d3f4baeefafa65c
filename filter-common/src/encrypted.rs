//! DNS that hides what is asked for, told by where it goes: port 853, and the addresses of resolvers that
//! are known for it. By name it is a denied entry like any other (see `rule`).
//!
//! The destination's address has been judged before: the provider's own resolvers pass, and what is
//! forbidden by itself has named its own reason. Plain DNS to the same address is judged by the name that
//! is asked for, and ICMP tells a person whether the network works: both go on.

use crate::abi::POLICY_ENCRYPTED_DNS;
use crate::dns;
use crate::lookup::{POLICY_UNKNOWN, need_policy};
use crate::reason::Reason;
use crate::rule::Step;
use crate::world::World;

/// Port of DNS over TLS (RFC 7858 section 3.1), over DTLS (RFC 8094) and over QUIC (RFC 9250 section 4.1.1).
pub const PORT: u32 = 853;

/// The reason by which a SYN or a datagram to this port is stopped; 0: it is none of encrypted DNS, as
/// nearly all are.
#[inline(always)]
pub(crate) fn stopped<W: World>(world: &mut W, port: u32) -> u32 {
    let facts = world.facts();
    let listed = facts.policy != POLICY_UNKNOWN && facts.endpoint != 0 && port != dns::PORT;
    if port == PORT || listed {
        world.call_endpoint()
    } else {
        0
    }
}

/// What the policy makes of encrypted DNS; 0: it goes on. The organisation's bypass lifts it, and so does a
/// local list that allows the address.
#[inline(always)]
pub fn endpoint<W: World>(world: &mut W) -> u32 {
    need_policy(world);
    let facts = world.facts();
    let (row, step) = (facts.policy, facts.best.step);
    let own = step == Step::Infrastructure as u32 || step == Step::LocalAllow as u32;
    let lifted = own || facts.bypass != 0;
    let blocked = world
        .policy(row)
        .is_some_and(|policy| policy.flags & POLICY_ENCRYPTED_DNS != 0);
    if lifted || !blocked {
        return 0;
    }
    let facts = world.facts();
    facts.outcome.entry = facts.endpoint;
    Reason::BlockEncryptedDns.number()
}
