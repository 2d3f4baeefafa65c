//! What a client that is stopped is told, built on the host from a copy of its Initial: Version Negotiation
//! (RFC 9000 sections 6 and 17.2.1), which is what `reply.rs` of the program makes of the packet itself, and
//! that nobody is there (ICMP), for a client that heard from its server before the verdict.

use std::net::IpAddr;

use filter_common::abi::{MPLS_REPLY_LABEL, MPLS_REPLY_NONE};
use filter_common::quic::other_version;

use super::copy::Copy;

const HOP_LIMIT: u8 = 64;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// "Destination unreachable: port unreachable" (RFC 792).
const UNREACHABLE: [u8; 2] = [3, 3];
/// The same (RFC 4443 section 3.1).
const UNREACHABLE6: [u8; 2] = [1, 4];
/// Longest quotation: the network header with some extensions, the ports, and the first bytes behind them. It
/// holds no name that is not encrypted, and leaves the answer far below 576 bytes (RFC 1812 section 4.3.2.3).
const QUOTE_MAX: usize = 128;

/// Version Negotiation: the frame to send through the interface that the copy came from; `None`: none can be
/// sent.
#[must_use]
pub fn frame(copy: &Copy<'_>) -> Option<Vec<u8>> {
    let quic = negotiation(copy.datagram)?;
    let udp = datagram(copy, &quic)?;
    framed(copy, UDP, &udp)
}

/// That nobody is at the port. A client that has taken a packet of its server's takes no Version Negotiation
/// any more (RFC 9000 section 6.2), and its handshake would time out after half a minute and more; its kernel
/// tells it of this at once, whatever it has heard.
#[must_use]
pub fn unreachable(copy: &Copy<'_>) -> Option<Vec<u8>> {
    let quoted = copy.frame.get(copy.l3..)?;
    let quoted = quoted.get(..QUOTE_MAX).unwrap_or(quoted);
    let is_ipv4 = copy.source.is_ipv4();
    let kind = if is_ipv4 { UNREACHABLE } else { UNREACHABLE6 };
    let mut message = [&kind[..], &[0; 6], quoted].concat();
    let sum = if is_ipv4 {
        checksum(&[&message])
    } else {
        let (from, to) = (octets(copy.destination), octets(copy.source));
        let len = u32::try_from(message.len()).ok()?.to_be_bytes();
        checksum(&[&from, &to, &len, &[0, 0, 0, ICMPV6], &message])
    };
    message.get_mut(2..4)?.copy_from_slice(&sum);
    framed(copy, if is_ipv4 { ICMP } else { ICMPV6 }, &message)
}

fn framed(copy: &Copy<'_>, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let packet = network(copy, protocol, payload)?;
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

fn network(copy: &Copy<'_>, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (octets(copy.destination), octets(copy.source));
    let mut packet = Vec::with_capacity(40 + payload.len());
    if copy.source.is_ipv4() {
        packet.extend([0x45, 0]);
        packet.extend(u16::try_from(20 + payload.len()).ok()?.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, HOP_LIMIT, protocol, 0, 0]);
        packet.extend(from);
        packet.extend(to);
        let sum = checksum(&[&packet]);
        packet.get_mut(10..12)?.copy_from_slice(&sum);
    } else {
        packet.extend([0x60, 0, 0, 0]);
        packet.extend(u16::try_from(payload.len()).ok()?.to_be_bytes());
        packet.extend([protocol, HOP_LIMIT]);
        packet.extend(from);
        packet.extend(to);
    }
    packet.extend(payload);
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
