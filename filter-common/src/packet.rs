//! From the first byte of a frame to its transport header: tags, labels, PPPoE, IPv4, IPv6.
//!
//! Every stage takes the facts gathered so far and adds its own; offsets always come from the stage
//! before, never from a constant header size.

use crate::abi::Scratch;
use crate::bytes::{Packet, View};
use crate::limits::{IPV6_EXTENSIONS_MAX, MPLS_LABELS_MAX, VLAN_TAGS_MAX};

/// EtherType (IEEE 802 numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(pub u32);

impl EtherType {
    /// IPv4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// IPv6.
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// PPPoE session stage (RFC 2516).
    pub const PPPOE: EtherType = EtherType(0x8864);
    /// MPLS unicast (RFC 3032, RFC 5332).
    pub const MPLS: EtherType = EtherType(0x8847);
    /// MPLS with an upstream-assigned label (RFC 5332).
    pub const MPLS_UPSTREAM: EtherType = EtherType(0x8848);

    /// 802.1Q, 802.1ad, and the older outer tag of stacked VLANs.
    #[inline(always)]
    #[must_use]
    pub fn is_vlan(self) -> bool {
        self.0 == 0x8100 || self.0 == 0x88a8 || self.0 == 0x9100
    }
}

/// IP protocol number (IANA).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u32);

impl Protocol {
    /// ICMP.
    pub const ICMP: Protocol = Protocol(1);
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// Hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: Protocol = Protocol(0);
    /// Routing header (RFC 8200 section 4.4).
    pub const ROUTING: Protocol = Protocol(43);
    /// Fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: Protocol = Protocol(44);
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: Protocol = Protocol(51);
    /// Destination options (RFC 8200 section 4.6).
    pub const DESTINATION: Protocol = Protocol(60);
    /// Mobility header (RFC 6275).
    pub const MOBILITY: Protocol = Protocol(135);
}

/// VLAN id of a frame without a tag.
pub const VLAN_NONE: u32 = 0;

/// What is in front of the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// IP version; 0: no IP.
    pub version: u32,
    /// Offset of the network header.
    pub l3: u32,
    /// Outermost VLAN id, or [`VLAN_NONE`] (also for a priority tag).
    pub vlan: u32,
    /// Offset of the PPPoE header; 0: none.
    pub pppoe_at: u32,
    /// Offset of the label stack; 0: none.
    pub mpls_at: u32,
}

impl Link {
    const NOT_IP: Link = Link {
        version: 0,
        l3: 0,
        vlan: 0,
        pppoe_at: 0,
        mpls_at: 0,
    };
}

#[inline(always)]
fn version_of(kind: EtherType) -> u32 {
    if kind == EtherType::IPV4 {
        4
    } else if kind == EtherType::IPV6 {
        6
    } else {
        0
    }
}

/// Reads tags, labels and PPPoE behind an Ethernet header. Frames with more than the limits are no IP.
#[inline(always)]
pub fn read_link<P: Packet>(packet: P) -> Link {
    read_tags(packet).unwrap_or(Link::NOT_IP)
}

#[inline(always)]
fn read_tags<P: Packet>(packet: P) -> Option<Link> {
    let mut kind = EtherType(packet.view::<14>(0)?.be16(12));
    let mut link = Link {
        l3: 14,
        ..Link::NOT_IP
    };
    for _ in 0..VLAN_TAGS_MAX {
        if !kind.is_vlan() {
            break;
        }
        let tag = packet.view::<4>(link.l3)?;
        if link.vlan == VLAN_NONE {
            link.vlan = tag.be16(0) & 0xfff;
        }
        kind = EtherType(tag.be16(2));
        link.l3 += 4;
    }
    if kind == EtherType::PPPOE {
        let header = packet.view::<8>(link.l3)?;
        // Version 1, type 1, code 0: a session's data (RFC 2516 section 4).
        if header.be16(0) != 0x1100 {
            return None;
        }
        link.pppoe_at = link.l3;
        link.l3 += 8;
        link.version = match header.be16(6) {
            0x0021 => 4,
            0x0057 => 6,
            _ => 0,
        };
        return Some(link);
    }
    if kind == EtherType::MPLS || kind == EtherType::MPLS_UPSTREAM {
        link.mpls_at = link.l3;
        return read_labels(packet, link);
    }
    link.version = version_of(kind);
    Some(link)
}

#[inline(always)]
fn read_labels<P: Packet>(packet: P, mut link: Link) -> Option<Link> {
    for _ in 0..MPLS_LABELS_MAX {
        let label = packet.view::<4>(link.l3)?;
        link.l3 += 4;
        // Bottom of stack (RFC 3032 section 2.1); what follows is told by the first nibble alone.
        if label.u8(2) & 1 != 0 {
            let nibble = packet.view::<1>(link.l3)?.u8(0) >> 4;
            link.version = if nibble == 4 || nibble == 6 {
                nibble
            } else {
                0
            };
            return Some(link);
        }
    }
    None
}

/// What a network header says, once it is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Offset of the transport header.
    pub l4: u32,
    /// Offset behind the packet's last byte, by the network header and not by the frame.
    pub end: u32,
    /// Fragment: [`FRAGMENT_NONE`], [`FRAGMENT_FIRST`] or [`FRAGMENT_LATER`].
    pub fragment: u32,
}

/// Whole packet.
pub const FRAGMENT_NONE: u32 = 0;
/// First fragment: the transport header is here.
pub const FRAGMENT_FIRST: u32 = 1;
/// Later fragment.
pub const FRAGMENT_LATER: u32 = 2;

#[inline(always)]
fn fragment_kind(offset: u32, more: bool) -> u32 {
    if offset != 0 {
        FRAGMENT_LATER
    } else if more {
        FRAGMENT_FIRST
    } else {
        FRAGMENT_NONE
    }
}

/// Checks an IPv4 header (RFC 791) at `l3` in a frame of `len` bytes. `None`: its lengths do not agree.
#[inline(always)]
pub fn read_ipv4<V: View>(header: V, l3: u32, len: u32) -> Option<Network> {
    let first = header.u8(0);
    let header_len = (first & 15) * 4;
    let total = header.be16(2);
    let end = l3 + total;
    if first >> 4 != 4 || header_len < 20 || total < header_len || end > len {
        return None;
    }
    let fragment = header.be16(6);
    Some(Network {
        protocol: Protocol(header.u8(9)),
        l4: l3 + header_len,
        end,
        fragment: fragment_kind(fragment & 0x1fff, fragment & 0x2000 != 0),
    })
}

/// Checks an IPv6 header (RFC 8200) at `l3` in a frame of `len` bytes; extension headers are left to
/// [`read_extensions`]. `None`: its lengths do not agree (or it is a jumbogram, RFC 2675).
#[inline(always)]
pub fn read_ipv6<V: View>(header: V, l3: u32, len: u32) -> Option<Network> {
    let end = l3 + 40 + header.be16(4);
    if header.u8(0) >> 4 != 6 || end > len {
        return None;
    }
    Some(Network {
        protocol: Protocol(header.u8(6)),
        l4: l3 + 40,
        end,
        fragment: FRAGMENT_NONE,
    })
}

/// The address at this offset of an IPv6 header.
#[inline(always)]
pub fn ipv6_words<V: View>(header: V, at: usize) -> [u32; 4] {
    [
        header.be32(at),
        header.be32(at + 4),
        header.be32(at + 8),
        header.be32(at + 12),
    ]
}

/// Whether this next header is one that [`read_extensions`] walks over.
#[inline(always)]
#[must_use]
pub fn is_extension(next: Protocol) -> bool {
    next == Protocol::HOP_BY_HOP
        || next == Protocol::ROUTING
        || next == Protocol::DESTINATION
        || next == Protocol::FRAGMENT
        || next == Protocol::AUTHENTICATION
        || next == Protocol::MOBILITY
}

/// Result of [`read_extensions`].
pub const EXTENSIONS_READ: u32 = 0;
/// More extension headers than are read.
pub const EXTENSIONS_TOO_MANY: u32 = 1;
/// A header does not end within the packet.
pub const EXTENSIONS_BROKEN: u32 = 2;

/// Walks IPv6 extension headers from `facts.l4` with `facts.protocol` next, both replaced by those
/// behind the last header; `facts.spare[1]` gives the packet's end and `facts.spare[2]` takes the
/// fragment kind. An atomic fragment (RFC 6946) is parsed whole.
#[inline(always)]
pub fn read_extensions<P: Packet>(packet: P, facts: &mut Scratch) -> u32 {
    let end = facts.spare[1];
    facts.spare[2] = FRAGMENT_NONE;
    for _ in 0..IPV6_EXTENSIONS_MAX {
        let next = Protocol(facts.protocol);
        if !is_extension(next) || facts.spare[2] == FRAGMENT_LATER {
            return EXTENSIONS_READ;
        }
        let at = facts.l4;
        let Some(header) = packet.view::<8>(at) else {
            return EXTENSIONS_BROKEN;
        };
        let mut size = (header.u8(1) + 1) * 8;
        if next == Protocol::FRAGMENT {
            size = 8;
            let field = header.be16(2);
            let kind = fragment_kind(field >> 3, field & 1 != 0);
            if kind != FRAGMENT_NONE {
                facts.spare[2] = kind;
            }
        } else if next == Protocol::AUTHENTICATION {
            size = (header.u8(1) + 2) * 4;
        }
        facts.protocol = header.u8(0);
        facts.l4 = at + size;
        if facts.l4 > end {
            return EXTENSIONS_BROKEN;
        }
    }
    if is_extension(Protocol(facts.protocol)) {
        EXTENSIONS_TOO_MANY
    } else {
        EXTENSIONS_READ
    }
}
