//! Whose packet is it: from the interface and the first byte to an organisation's number, reading no
//! further than the address that it is told by.

use crate::abi::{INTERFACE_VLAN_REALMS, Interface, REALM_NONE};
use crate::bytes::{Packet, View};
use crate::limits::INTERFACES;
use crate::name::{org6_key, org6_tag};
use crate::org::{ORG6_SPLIT_MARK, index_lane, index_word, page_lane, page_word};
use crate::packet::{EtherType, ipv6_words, read_link};
use crate::rule::CATEGORY_NONE;
use crate::table::{bloom_bits, find_in_bucket, other_bucket, position};
use crate::world::World;

/// Where a packet comes from, and so which of its addresses tells the organisation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// From an organisation: its source.
    Organisations,
    /// From the internet: its destination.
    Internet,
}

impl Side {
    /// Offset of the address in an IPv4 header (RFC 791 section 3.1).
    #[inline(always)]
    const fn at_ipv4(self) -> usize {
        match self {
            Side::Organisations => 12,
            Side::Internet => 16,
        }
    }

    /// Offset of the address in an IPv6 header (RFC 8200 section 3).
    #[inline(always)]
    const fn at_ipv6(self) -> usize {
        match self {
            Side::Organisations => 8,
            Side::Internet => 24,
        }
    }
}

/// The attached interface that the frame came from, and its row.
#[inline(always)]
pub(crate) fn arrival<W: World>(world: &W) -> Option<(u32, Interface)> {
    let ifindex = world.ifindex();
    let row = interface_row(ifindex, world.control().interface_multiplier);
    let interface = world.interface(row)?;
    if interface.ifindex == ifindex {
        Some((row, interface))
    } else {
        None
    }
}

/// Whose packet is it that came from the organisations' side. `facts` gets the link's facts.
#[inline(always)]
pub(crate) fn identify<W: World>(world: &mut W, row: u32, interface: Interface) -> Option<u32> {
    let kind = EtherType(world.packet().view::<14>(0)?.be16(12));
    if kind != EtherType::IPV4 && kind != EtherType::IPV6 {
        return identify_behind_link(world, row, interface, Side::Organisations);
    }
    // Nothing is written before the address is known to be enrolled.
    let version = if kind == EtherType::IPV4 { 4 } else { 6 };
    let org = identify_address(world, version, 14, interface.realm, Side::Organisations)?;
    if !world.open_facts() {
        return None;
    }
    let facts = world.facts();
    facts.l3 = 14;
    facts.version = version;
    facts.pppoe_at = 0;
    facts.mpls_at = 0;
    facts.realm = interface.realm;
    facts.interface = row;
    Some(org)
}

/// As [`identify`], behind tags, labels or PPPoE as well, and from either side.
#[inline(always)]
pub(crate) fn identify_behind_link<W: World>(
    world: &mut W,
    row: u32,
    interface: Interface,
    side: Side,
) -> Option<u32> {
    if !world.open_facts() {
        return None;
    }
    world.call_link();
    let facts = world.facts();
    let (vlan, l3, version) = (facts.spare[0], facts.l3, facts.version);
    let mut realm = interface.realm;
    if interface.flags & INTERFACE_VLAN_REALMS != 0 && vlan != 0 {
        let word = world.vlan_realms(interface.vlan_base + (vlan >> 2))?;
        realm = (word >> ((vlan & 3) * 16)) as u32 & 0xffff;
        if realm == REALM_NONE {
            return None;
        }
    }
    let l3 = world.forget(l3);
    let org = identify_address(world, version, l3, realm, side)?;
    let facts = world.facts();
    facts.realm = realm;
    facts.interface = row;
    Some(org)
}

/// Nothing has happened to the organisation's packet yet.
#[inline(always)]
pub(crate) fn begin_outcome<W: World>(world: &mut W, org: u32) {
    let outcome = &mut world.facts().outcome;
    outcome.org = org;
    outcome.name_len = 0;
    outcome.http = 0;
    outcome.category = CATEGORY_NONE;
    outcome.entry = 0;
}

/// The organisation of the address behind `l3`.
#[inline(always)]
fn identify_address<W: World>(
    world: &mut W,
    version: u32,
    l3: u32,
    realm: u32,
    side: Side,
) -> Option<u32> {
    let org = if version == 4 {
        identify_ipv4(world, l3, realm, side)?
    } else if version == 6 {
        identify_ipv6(world, l3, realm, side)?
    } else {
        0
    };
    if org == 0 { None } else { Some(org) }
}

/// Row of `INTERFACES` of an interface.
#[inline(always)]
#[must_use]
pub fn interface_row(ifindex: u32, multiplier: u32) -> u32 {
    ifindex.wrapping_mul(multiplier) >> (32 - INTERFACES.trailing_zeros())
}

/// [`read_link`] into the facts: see [`World::call_link`].
#[inline(always)]
pub fn link_into_facts<W: World>(world: &mut W) {
    let link = read_link(world.packet());
    let facts = world.facts();
    facts.l3 = link.l3;
    facts.pppoe_at = link.pppoe_at;
    facts.mpls_at = link.mpls_at;
    facts.version = link.version;
    facts.spare[0] = link.vlan;
}

#[inline(always)]
fn identify_ipv4<W: World>(world: &mut W, l3: u32, realm: u32, side: Side) -> Option<u32> {
    let address = world.packet().view::<20>(l3)?.be32(side.at_ipv4());
    let page = index_lane(world.org4_index(index_word(realm, address))?, address);
    if page == 0 {
        return None;
    }
    Some(page_lane(
        world.org4_page(page_word(page, address))?,
        address,
    ))
}

#[inline(always)]
fn identify_ipv6<W: World>(world: &mut W, l3: u32, realm: u32, side: Side) -> Option<u32> {
    let header = world.packet().view::<40>(l3)?;
    let control = world.control();
    let (seed, bloom_len, bucket_len) = (
        control.seed,
        control.org6_bloom_len,
        control.org6_bucket_len,
    );
    let high = header.be64(side.at_ipv6());
    let key = org6_key(seed, realm, high);
    let bits = bloom_bits(key);
    if world.org6_bloom(position(key, bloom_len))? & bits != bits {
        return None;
    }
    let tag = org6_tag(realm, high);
    let first = position(key, bucket_len);
    let (mut org, _) = find_in_bucket(world.org6_bucket(first)?, tag);
    if org == 0 {
        let second = other_bucket(first, tag, bucket_len);
        org = find_in_bucket(world.org6_bucket(second)?, tag).0;
    }
    if org != ORG6_SPLIT_MARK {
        return Some(org);
    }
    if !world.open_facts() {
        return None;
    }
    let facts = world.facts();
    facts.source = ipv6_words(header, side.at_ipv6());
    Some(world.org6_split(realm))
}
