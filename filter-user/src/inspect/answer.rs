//! Version Negotiation to a client (RFC 9000 sections 6 and 17.2.1), built on the host from a copy of its
//! Initial: what `reply.rs` of the program makes of the packet itself.

use std::net::IpAddr;

use filter_common::abi::{MPLS_REPLY_LABEL, MPLS_REPLY_NONE};
use filter_common::quic::other_version;

use super::copy::Copy;

const HOP_LIMIT: u8 = 64;
const UDP: u8 = 17;

/// The frame to send through the interface that the copy came from; `None`: none can be sent.
#[must_use]
pub fn frame(copy: &Copy<'_>) -> Option<Vec<u8>> {
    let quic = negotiation(copy.datagram)?;
    let udp = datagram(copy, &quic)?;
    let packet = network(copy, &udp)?;
    let mut frame = link(copy, packet.len())?;
    frame.extend(packet);
    Some(frame)
}

/// The Version Negotiation packet.
fn negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = datagram.get(1..)?.split_first_chunk::<4>()?;
    let (to_len, rest) = rest.split_first()?;
    let (to, rest) = rest.split_at_checked(usize::from(*to_len))?;
    let (from_len, rest) = rest.split_first()?;
    let from = rest.get(..usize::from(*from_len))?;
    let mut packet = vec![0xc0, 0, 0, 0, 0, *from_len];
    packet.extend(from);
    packet.push(*to_len);
    packet.extend(to);
    packet.extend(other_version(u32::from_be_bytes(*version)).to_be_bytes());
    Some(packet)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// One's complement sum of bytes, complemented (RFC 1071).
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(pair.first().copied().unwrap_or(0)) << 8 | u64::from(low);
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).unwrap_or(0).to_be_bytes()
}

fn datagram(copy: &Copy<'_>, quic: &[u8]) -> Option<Vec<u8>> {
    let ports = copy.frame.get(copy.l4..copy.l4 + 4)?;
    let len = u16::try_from(8 + quic.len()).ok()?.to_be_bytes();
    let (source, destination) = ports.split_at_checked(2)?;
    let mut udp = [destination, source, &len, &[0, 0], quic].concat();
    let (from, to) = (octets(copy.destination), octets(copy.source));
    let sum = match checksum(&[&from, &to, &[0, UDP], &len, &udp]) {
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    udp.get_mut(6..8)?.copy_from_slice(&sum);
    Some(udp)
}

fn network(copy: &Copy<'_>, udp: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (octets(copy.destination), octets(copy.source));
    let mut packet = Vec::with_capacity(40 + udp.len());
    if copy.source.is_ipv4() {
        packet.extend([0x45, 0]);
        packet.extend(u16::try_from(20 + udp.len()).ok()?.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, HOP_LIMIT, UDP, 0, 0]);
        packet.extend(from);
        packet.extend(to);
        let sum = checksum(&[&packet]);
        packet.get_mut(10..12)?.copy_from_slice(&sum);
    } else {
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(u16::try_from(udp.len()).ok()?.to_be_bytes());
        packet.extend([UDP, HOP_LIMIT]);
        packet.extend(from);
        packet.extend(to);
    }
    packet.extend(udp);
    Some(packet)
}

/// The link's headers with the addresses swapped: tags and PPPoE stay, labels give way to the return
/// label or to none.
fn link(copy: &Copy<'_>, packet_len: usize) -> Option<Vec<u8>> {
    let head = if copy.mpls_at == 0 {
        copy.l3
    } else {
        copy.mpls_at
    };
    let link = copy.frame.get(..head)?;
    let (to, rest) = link.split_at_checked(6)?;
    let (from, rest) = rest.split_at_checked(6)?;
    let mut link = [from, to, rest].concat();
    if copy.pppoe_at != 0 {
        // The length counts the PPP protocol field (RFC 2516).
        let len = u16::try_from(packet_len + 2).ok()?.to_be_bytes();
        link.get_mut(copy.pppoe_at + 4..copy.pppoe_at + 6)?
            .copy_from_slice(&len);
    }
    if copy.mpls_at == 0 {
        return Some(link);
    }
    if copy.mpls_reply == MPLS_REPLY_NONE {
        return None;
    }
    if copy.mpls_reply & 0xff == MPLS_REPLY_LABEL {
        // Label, bottom of stack, time to live (RFC 3032).
        let entry = (copy.mpls_reply >> 8) << 12 | 1 << 8 | u32::from(HOP_LIMIT);
        link.extend(entry.to_be_bytes());
    } else {
        let kind: [u8; 2] = if copy.source.is_ipv4() {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        link.get_mut(copy.mpls_at - 2..copy.mpls_at)?
            .copy_from_slice(&kind);
    }
    Some(link)
}
