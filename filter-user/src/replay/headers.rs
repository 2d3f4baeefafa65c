//! The innermost addresses of a frame, read on the host, for telling whose frame it was. More
//! lenient than the program: any number of tags and labels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Headers walked before the frame counts as having no IP.
const STEPS_MAX: usize = 32;

/// TCP's protocol number.
pub(crate) const TCP: u8 = 6;
/// UDP's protocol number.
pub(crate) const UDP: u8 = 17;

/// A flow as a frame's sender sees it.
pub(crate) type Flow = (IpAddr, IpAddr, Option<(u16, u16)>);

/// Addresses and places of a frame's innermost IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number behind all extension headers.
    pub protocol: u8,
    /// Source and destination port of TCP or UDP; `None` in later fragments.
    pub ports: Option<(u16, u16)>,
    /// Offset of the IP header.
    pub l3: usize,
    /// Offset of the transport header.
    pub l4: usize,
    /// Whether it is a fragment.
    pub fragment: bool,
    /// Offset of the PPPoE header, if there is one.
    pub pppoe: Option<usize>,
}

impl Headers {
    /// Reads an Ethernet frame; `None` if no IP header is in it.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Headers> {
        let (l3, pppoe) = network_header(frame)?;
        let headers = match frame.get(l3)? >> 4 {
            4 => read_ipv4(frame, l3)?,
            6 => read_ipv6(frame, l3)?,
            _ => return None,
        };
        let ports = (headers.protocol == TCP || headers.protocol == UDP)
            .then(|| Some((be16(frame, headers.l4)?, be16(frame, headers.l4 + 2)?)))
            .flatten();
        Some(Headers {
            ports: headers.ports.and(ports),
            pppoe,
            ..headers
        })
    }

    /// The flow it belongs to.
    pub(crate) fn flow(&self) -> Flow {
        (self.source, self.destination, self.ports)
    }

    /// The word for the transport protocol.
    #[must_use]
    pub fn protocol_label(&self) -> String {
        match self.protocol {
            1 => "icmp".into(),
            TCP => "tcp".into(),
            UDP => "udp".into(),
            47 => "gre".into(),
            50 => "esp".into(),
            58 => "icmp6".into(),
            132 => "sctp".into(),
            other => format!("ip-{other}"),
        }
    }
}

/// Offset of the IP header behind tags, labels and PPPoE; and that of the PPPoE header.
fn network_header(frame: &[u8]) -> Option<(usize, Option<usize>)> {
    let (mut kind, mut at, mut pppoe) = (be16(frame, 12)?, 14, None);
    for _ in 0..STEPS_MAX {
        match kind {
            0x0800 | 0x86dd => return Some((at, pppoe)),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                kind = be16(frame, at + 2)?;
                at += 4;
            }
            0x8847 | 0x8848 => {
                let bottom = frame.get(at + 2)? & 1 == 1;
                at += 4;
                if bottom {
                    kind = 0x0800; // or IPv6: the version decides
                }
            }
            0x8864 => {
                pppoe = Some(at);
                kind = match be16(frame, at + 6)? {
                    0x0021 => 0x0800,
                    0x0057 => 0x86dd,
                    _ => return None,
                };
                at += 8;
            }
            _ => return None,
        }
    }
    None
}

fn read_ipv4(frame: &[u8], l3: usize) -> Option<Headers> {
    let header = frame.get(l3..l3 + 20)?;
    let length = usize::from(header.first()? & 15) * 4;
    if length < 20 {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::from(Ipv4Addr::from(octets)))
    };
    let fragment = be16(header, 6)?;
    Some(Headers {
        source: address(12)?,
        destination: address(16)?,
        protocol: *header.get(9)?,
        ports: (fragment & 0x1fff == 0).then_some((0, 0)),
        l3,
        l4: l3 + length,
        fragment: fragment & 0x3fff != 0,
        pppoe: None,
    })
}

fn read_ipv6(frame: &[u8], l3: usize) -> Option<Headers> {
    let header = frame.get(l3..l3 + 40)?;
    let address = |at: usize| {
        let octets: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(octets)))
    };
    let mut headers = Headers {
        source: address(8)?,
        destination: address(24)?,
        protocol: *header.get(6)?,
        ports: Some((0, 0)),
        l3,
        l4: l3 + 40,
        fragment: false,
        pppoe: None,
    };
    for _ in 0..STEPS_MAX {
        let (at, protocol) = (headers.l4, headers.protocol);
        let length = match protocol {
            // Hop-by-hop, routing, destination, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*frame.get(at + 1)?) + 1) * 8,
            44 => {
                let place = be16(frame, at + 2)?;
                headers.fragment |= place & 0xfff9 != 0;
                if place & 0xfff8 != 0 {
                    headers.ports = None;
                }
                8
            }
            51 => (usize::from(*frame.get(at + 1)?) + 2) * 4,
            _ => break,
        };
        headers.protocol = *frame.get(at)?;
        headers.l4 = at + length;
        if headers.ports.is_none() {
            break;
        }
    }
    Some(headers)
}

/// Two bytes in network byte order.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 1];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1]);
        packet.extend([0x30, 0x39, 0x01, 0xbb, 0, 0, 0, 0]);
        packet
    }

    fn frame(headers: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[0u8; 12][..], headers, packet].concat()
    }

    #[test]
    fn innermost_addresses_behind_every_encapsulation() {
        for (name, headers) in [
            ("none", vec![8, 0]),
            ("vlan", vec![0x81, 0, 0, 5, 8, 0]),
            (
                "three tags",
                vec![0x88, 0xa8, 0, 5, 0x91, 0, 0, 6, 0x81, 0, 0, 7, 8, 0],
            ),
            ("pppoe", vec![0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0, 0x21]),
            ("mpls", vec![0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64]),
            (
                "vlan and pppoe",
                vec![0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0, 0x21],
            ),
        ] {
            let read = Headers::read(&frame(&headers, &ipv4(TCP, 0))).expect(name);
            assert_eq!(read.source, IpAddr::from([10, 0, 0, 1]), "{name}");
            assert_eq!(read.ports, Some((12_345, 443)), "{name}");
            assert_eq!(read.pppoe.is_some(), name.contains("pppoe"), "{name}");
        }
        assert!(
            Headers::read(&frame(&[8, 6], &ipv4(TCP, 0))).is_none(),
            "ARP"
        );
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let read = |fragment| Headers::read(&frame(&[8, 0], &ipv4(UDP, fragment))).unwrap();
        assert_eq!((read(0).fragment, read(0).ports.is_some()), (false, true));
        assert_eq!(
            (read(0x2000).fragment, read(0x2000).ports.is_some()),
            (true, true)
        );
        assert_eq!((read(7).fragment, read(7).ports.is_some()), (true, false));
        assert!(!read(0x4000).fragment, "do not fragment");
    }

    #[test]
    fn ipv6_extension_headers_are_walked() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 36, 0, 64];
        packet.extend([0x20; 32]);
        packet.extend([44, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop, then a fragment header
        packet.extend([6, 0, 0, 0, 0, 0, 0, 1]); // atomic fragment, then TCP
        packet.extend([0x30, 0x39, 0x01, 0xbb]);
        let read = Headers::read(&frame(&[0x86, 0xdd], &packet)).unwrap();
        assert_eq!(
            (read.protocol, read.ports, read.fragment),
            (TCP, Some((12_345, 443)), false)
        );
        assert_eq!(read.l4, 14 + 40 + 16);
    }

    #[test]
    fn a_cut_frame_never_panics() {
        let whole = frame(&[0x81, 0, 0, 5, 8, 0], &ipv4(TCP, 0));
        for cut in 0..whole.len() {
            let _ = Headers::read(&whole[..cut]);
        }
    }
}
