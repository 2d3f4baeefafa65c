//! Builds the frames of the packet tables. Takes a path (encapsulation, addresses, ports) and gives
//! whole Ethernet frames with right checksums, or wrong in exactly the way that was asked for.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "test support: a frame that does not fit is a mistake in the case, which a panic shows"
)]

use std::net::{IpAddr, Ipv4Addr};

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag PSH.
pub const PSH: u8 = 0x08;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;
/// TCP flag URG.
pub const URG: u8 = 0x20;

/// Customer VLAN tag.
pub const TPID_CUSTOMER: u16 = 0x8100;
/// Provider VLAN tag.
pub const TPID_PROVIDER: u16 = 0x88a8;
/// Provider VLAN tag of older equipment.
pub const TPID_OLD: u16 = 0x9100;

/// Protocol numbers of the network header.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// GRE, as an example of what is neither TCP nor UDP.
    pub const GRE: u8 = 47;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options of this many bytes in all (a multiple of 8).
    HopByHop(usize),
    /// Routing header of this many bytes in all (a multiple of 8).
    Routing(usize),
    /// Destination options of this many bytes in all (a multiple of 8).
    Destination(usize),
    /// Authentication header of this many bytes in all (a multiple of 4, counted in words less two).
    Authentication(usize),
    /// Fragment header: offset in units of 8 bytes, and whether more fragments follow.
    Fragment(u16, bool),
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Extension::HopByHop(_) => 0,
            Extension::Routing(_) => 43,
            Extension::Fragment(..) => 44,
            Extension::Authentication(_) => 51,
            Extension::Destination(_) => 60,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match *self {
            Extension::Fragment(offset, more) => {
                let field = (offset << 3 | u16::from(more)).to_be_bytes();
                vec![next, 0, field[0], field[1], 0x12, 0x34, 0x56, 0x78]
            }
            Extension::Authentication(len) => {
                let mut bytes = vec![0; len];
                bytes[..2].copy_from_slice(&[next, (len / 4 - 2) as u8]);
                bytes
            }
            Extension::HopByHop(len) | Extension::Destination(len) => {
                // One PadN option fills the header.
                let mut bytes = vec![0; len];
                bytes[..4].copy_from_slice(&[next, (len / 8 - 1) as u8, 1, (len - 4) as u8]);
                bytes
            }
            Extension::Routing(len) => {
                // Type 253 (experiments), no segments left.
                let mut bytes = vec![0; len];
                bytes[..4].copy_from_slice(&[next, (len / 8 - 1) as u8, 253, 0]);
                bytes
            }
        }
    }
}

/// Where a frame travels: everything but the transport's own content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// MAC address of the sender.
    pub from: [u8; 6],
    /// MAC address of the next hop.
    pub to: [u8; 6],
    /// VLAN tags, outermost first: TPID and VLAN id.
    pub tags: Vec<(u16, u16)>,
    /// MPLS labels, outermost first.
    pub labels: Vec<u32>,
    /// PPPoE session.
    pub pppoe: Option<u16>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// IPv4 options (a multiple of 4 bytes).
    pub ip_options: Vec<u8>,
    /// IPv4 flags and fragment offset; normally "do not fragment".
    pub ip_fragment: u16,
    /// IPv6 extension headers, in order.
    pub extensions: Vec<Extension>,
    /// TCP options (a multiple of 4 bytes).
    pub tcp_options: Vec<u8>,
    /// TCP urgent pointer.
    pub urgent: u16,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// Added to the length that the IP header tells.
    pub ip_length_error: i32,
    /// Bytes that the frame is padded to (with 0xee, so that padding that is read shows), normally
    /// Ethernet's least: 60.
    pub pad_to: usize,
}

impl Default for Path {
    fn default() -> Self {
        Path {
            from: [2, 0, 0, 0, 0, 2],
            to: [2, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            labels: Vec::new(),
            pppoe: None,
            source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)),
            destination: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
            sport: 40_000,
            dport: 443,
            ip_options: Vec::new(),
            ip_fragment: 0x4000,
            extensions: Vec::new(),
            tcp_options: Vec::new(),
            urgent: 0,
            ack: 0x1122_3344,
            ip_length_error: 0,
            pad_to: 60,
        }
    }
}

impl Path {
    /// The path between two addresses, written as text.
    ///
    /// # Panics
    /// If one of them is no address.
    #[must_use]
    pub fn between(source: &str, destination: &str) -> Path {
        let address = |text: &str| match text.parse() {
            Ok(address) => address,
            Err(error) => panic!("{text} is no address: {error}"),
        };
        Path {
            source: address(source),
            destination: address(destination),
            ..Path::default()
        }
    }

    /// A TCP segment.
    #[must_use]
    pub fn tcp(&self, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        self.packet(protocol::TCP, self.tcp_segment(seq, flags, payload))
    }

    /// The SYN in front of the first byte `first`.
    #[must_use]
    pub fn syn(&self, first: u32) -> Vec<u8> {
        let path = Path {
            ack: 0,
            ..self.clone()
        };
        path.tcp(first.wrapping_sub(1), SYN, &[])
    }

    /// A segment with data.
    #[must_use]
    pub fn data(&self, seq: u32, payload: &[u8]) -> Vec<u8> {
        self.tcp(seq, PSH | ACK, payload)
    }

    /// A UDP datagram.
    #[must_use]
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let len = (8 + payload.len()) as u16;
        let mut datagram = Vec::with_capacity(8 + payload.len());
        datagram.extend(self.sport.to_be_bytes());
        datagram.extend(self.dport.to_be_bytes());
        datagram.extend(len.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.checksum(protocol::UDP, &mut datagram, 6);
        self.packet(protocol::UDP, datagram)
    }

    /// An echo request of ICMP or ICMPv6.
    #[must_use]
    pub fn ping(&self) -> Vec<u8> {
        let number = if self.source.is_ipv4() {
            protocol::ICMP
        } else {
            protocol::ICMPV6
        };
        let kind = if self.source.is_ipv4() { 8 } else { 128 };
        let mut message = vec![kind, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n', b'g'];
        let sum = if self.source.is_ipv4() {
            fold(sum(0, &message))
        } else {
            fold(sum(self.pseudo(number, message.len()), &message))
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(number, message)
    }

    /// A packet of any protocol with this content behind the network header.
    #[must_use]
    pub fn packet(&self, protocol: u8, content: Vec<u8>) -> Vec<u8> {
        let network = self.network(protocol, content);
        let mut frame = self.link(network.len());
        frame.extend(network);
        if frame.len() < self.pad_to {
            frame.resize(self.pad_to, 0xee);
        }
        frame
    }

    /// The packet of a TCP segment cut into two IP fragments, the first with `cut` bytes of it
    /// (a multiple of 8).
    #[must_use]
    pub fn tcp_fragments(&self, seq: u32, payload: &[u8], cut: usize) -> [Vec<u8>; 2] {
        let segment = self.tcp_segment(seq, PSH | ACK, payload);
        self.fragments(protocol::TCP, &segment, cut)
    }

    /// Any transport content cut into two IP fragments.
    #[must_use]
    pub fn fragments(&self, protocol: u8, content: &[u8], cut: usize) -> [Vec<u8>; 2] {
        let part = |offset: usize, more: bool, bytes: &[u8]| {
            let mut path = self.clone();
            if self.source.is_ipv4() {
                path.ip_fragment = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
            } else {
                path.extensions
                    .push(Extension::Fragment((offset / 8) as u16, more));
            }
            path.packet(protocol, bytes.to_vec())
        };
        [
            part(0, true, &content[..cut]),
            part(cut, false, &content[cut..]),
        ]
    }

    /// The TCP header with its options, and the payload.
    #[must_use]
    pub fn tcp_segment(&self, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.tcp_options.len();
        let mut segment = Vec::with_capacity(header + payload.len());
        segment.extend(self.sport.to_be_bytes());
        segment.extend(self.dport.to_be_bytes());
        segment.extend(seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment.extend([((header / 4) << 4) as u8, flags, 0xfa, 0xf0, 0, 0]);
        segment.extend(self.urgent.to_be_bytes());
        segment.extend(&self.tcp_options);
        segment.extend(payload);
        self.checksum(protocol::TCP, &mut segment, 16);
        segment
    }

    fn checksum(&self, protocol: u8, content: &mut [u8], at: usize) {
        let value = fold(sum(self.pseudo(protocol, content.len()), content));
        content[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    fn pseudo(&self, protocol: u8, len: usize) -> u32 {
        let addresses = [address_bytes(self.source), address_bytes(self.destination)].concat();
        sum(u32::from(protocol) + len as u32, &addresses)
    }

    fn network(&self, protocol: u8, content: Vec<u8>) -> Vec<u8> {
        if self.source.is_ipv4() {
            self.ipv4(protocol, content)
        } else {
            self.ipv6(protocol, content)
        }
    }

    fn ipv4(&self, protocol: u8, content: Vec<u8>) -> Vec<u8> {
        let header = 20 + self.ip_options.len();
        let total = (header + content.len()) as i32 + self.ip_length_error;
        let mut packet = vec![0x40 | (header / 4) as u8, 0];
        packet.extend((total as u16).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.ip_fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(address_bytes(self.source));
        packet.extend(address_bytes(self.destination));
        packet.extend(&self.ip_options);
        let value = fold(sum(0, &packet));
        packet[10..12].copy_from_slice(&value.to_be_bytes());
        packet.extend(content);
        packet
    }

    fn ipv6(&self, protocol: u8, content: Vec<u8>) -> Vec<u8> {
        let numbers: Vec<u8> = self.extensions.iter().map(Extension::number).collect();
        let after = |at: usize| numbers.get(at).copied().unwrap_or(protocol);
        let headers: Vec<u8> = (self.extensions.iter().enumerate())
            .flat_map(|(at, extension)| extension.bytes(after(at + 1)))
            .collect();
        let len = (headers.len() + content.len()) as i32 + self.ip_length_error;
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((len as u16).to_be_bytes());
        packet.extend([after(0), 64]);
        packet.extend(address_bytes(self.source));
        packet.extend(address_bytes(self.destination));
        packet.extend(headers);
        packet.extend(content);
        packet
    }

    fn link(&self, network_len: usize) -> Vec<u8> {
        let ip = if self.source.is_ipv4() {
            0x0800u16
        } else {
            0x86dd
        };
        let carried = match (self.pppoe, self.labels.is_empty()) {
            (Some(_), _) => 0x8864,
            (None, false) => 0x8847,
            (None, true) => ip,
        };
        let mut link = [self.to, self.from].concat();
        for (tpid, vlan) in &self.tags {
            link.extend(tpid.to_be_bytes());
            link.extend(vlan.to_be_bytes());
        }
        link.extend(carried.to_be_bytes());
        if let Some(session) = self.pppoe {
            link.extend([0x11, 0]);
            link.extend(session.to_be_bytes());
            link.extend((network_len as u16 + 2).to_be_bytes());
            link.extend(if ip == 0x0800 { [0, 0x21] } else { [0, 0x57] });
        }
        for (at, label) in self.labels.iter().enumerate() {
            let bottom = u32::from(at + 1 == self.labels.len());
            link.extend((label << 12 | bottom << 8 | 62).to_be_bytes());
        }
        link
    }
}

/// An address in network byte order.
#[must_use]
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Adds `bytes` to a one's complement sum that is not folded yet.
#[must_use]
pub fn sum(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |total, pair| {
        total + u32::from(pair[0]) * 256 + u32::from(pair.get(1).copied().unwrap_or(0))
    })
}

/// Folds a one's complement sum into a checksum.
#[must_use]
pub fn fold(mut total: u32) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}
