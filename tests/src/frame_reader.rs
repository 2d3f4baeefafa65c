//! Reads frames for the tests: independent of the program's own parser, slow and plain. Takes a
//! frame, gives what it says, or what is wrong with it; and judges the resets that the program sends.

#![expect(
    clippy::indexing_slicing,
    reason = "test support: lengths are checked by `take`, and a panic is a failed test"
)]

use std::net::IpAddr;

use crate::frames::{ACK, FIN, Path, RST, SYN, fold, sum};

/// What a whole frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// MAC address of the sender.
    pub from: [u8; 6],
    /// MAC address of the receiver.
    pub to: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: Vec<(u16, u16)>,
    /// MPLS labels, outermost first.
    pub labels: Vec<u32>,
    /// PPPoE session.
    pub pppoe: Option<u16>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol behind the extension headers.
    pub protocol: u8,
    /// Whether the packet is a part of one.
    pub fragment: bool,
    /// What the network header carries, by its own length.
    pub content: Vec<u8>,
    /// Bytes behind the packet.
    pub padding: usize,
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Options.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self.bytes.get(self.at..self.at + count);
        self.at += count;
        taken.ok_or_else(|| format!("ends before byte {}", self.at))
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn mac(bytes: &[u8]) -> [u8; 6] {
    std::array::from_fn(|at| bytes[at])
}

/// Reads a frame with all its lengths and header checksums.
///
/// # Errors
/// What does not agree.
pub fn read(frame: &[u8]) -> Result<Seen, String> {
    let mut cursor = Cursor {
        bytes: frame,
        at: 0,
    };
    let to = mac(cursor.take(6)?);
    let from = mac(cursor.take(6)?);
    let (mut tags, mut labels, mut pppoe) = (Vec::new(), Vec::new(), None);
    let mut kind = cursor.u16()?;
    while matches!(kind, 0x8100 | 0x88a8 | 0x9100) {
        tags.push((kind, cursor.u16()? & 0xfff));
        kind = cursor.u16()?;
    }
    let mut told = None;
    if kind == 0x8864 {
        let head = cursor.take(8)?;
        pppoe = Some(u16::from_be_bytes([head[2], head[3]]));
        told = Some(usize::from(u16::from_be_bytes([head[4], head[5]])));
        kind = if head[7] == 0x21 { 0x0800 } else { 0x86dd };
    }
    if kind == 0x8847 {
        let mut entry = 0;
        while entry & 0x100 == 0 {
            entry = be32(cursor.take(4)?);
            labels.push(entry >> 12);
        }
        kind = if frame.get(cursor.at).is_some_and(|byte| byte >> 4 == 6) {
            0x86dd
        } else {
            0x0800
        };
    }
    let network = frame.get(cursor.at..).unwrap_or_default();
    let mut seen = match kind {
        0x0800 => read_ipv4(network)?,
        0x86dd => read_ipv6(network)?,
        other => return Err(format!("EtherType {other:#06x}")),
    };
    if told.is_some_and(|told| told != network.len() - seen.padding + 2) {
        return Err(format!("PPPoE tells {told:?} bytes"));
    }
    (seen.from, seen.to, seen.tags, seen.labels, seen.pppoe) = (from, to, tags, labels, pppoe);
    Ok(seen)
}

fn read_ipv4(bytes: &[u8]) -> Result<Seen, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    let first = cursor.take(20)?;
    let header = usize::from(first[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([first[2], first[3]]));
    if first[0] >> 4 != 4 || header < 20 || total < header || bytes.len() < total {
        return Err(format!(
            "IPv4 header {header}, length {total} in {} bytes",
            bytes.len()
        ));
    }
    if fold(sum(0, &bytes[..header])) != 0 {
        return Err("IPv4 header checksum".into());
    }
    let address =
        |at: usize| IpAddr::from(<[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap_or_default());
    let fragment = u16::from_be_bytes([first[6], first[7]]) & 0x3fff != 0;
    Ok(packet(
        address(12),
        address(16),
        first[9],
        fragment,
        &bytes[header..total],
        bytes.len() - total,
    ))
}

fn read_ipv6(bytes: &[u8]) -> Result<Seen, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    let first = cursor.take(40)?;
    let total = 40 + usize::from(u16::from_be_bytes([first[4], first[5]]));
    if first[0] >> 4 != 6 || bytes.len() < total {
        return Err(format!("IPv6 length {total} in {} bytes", bytes.len()));
    }
    let address =
        |at: usize| IpAddr::from(<[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap_or_default());
    let (mut protocol, mut fragment) = (first[6], false);
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) && !fragment {
        let head = cursor.take(8)?;
        let len = match protocol {
            44 => 8,
            51 => (usize::from(head[1]) + 2) * 4,
            _ => (usize::from(head[1]) + 1) * 8,
        };
        fragment = protocol == 44 && u16::from_be_bytes([head[2], head[3]]) & 0xfff9 != 0;
        protocol = head[0];
        cursor.at += len - 8;
    }
    let content = bytes
        .get(cursor.at..total)
        .ok_or("IPv6 extension headers beyond the packet")?;
    Ok(packet(
        address(8),
        address(24),
        protocol,
        fragment,
        content,
        bytes.len() - total,
    ))
}

fn packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    fragment: bool,
    content: &[u8],
    padding: usize,
) -> Seen {
    Seen {
        from: [0; 6],
        to: [0; 6],
        tags: Vec::new(),
        labels: Vec::new(),
        pppoe: None,
        source,
        destination,
        protocol,
        fragment,
        content: content.to_vec(),
        padding,
    }
}

impl Seen {
    /// The TCP segment, with its checksum right.
    ///
    /// # Errors
    /// What does not agree.
    pub fn segment(&self) -> Result<Segment, String> {
        let segment = self.segment_unchecked()?;
        let path = Path {
            source: self.source,
            destination: self.destination,
            ..Path::default()
        };
        let addresses = [path.source, path.destination]
            .map(crate::frames::address_bytes)
            .concat();
        let len = u32::try_from(self.content.len()).unwrap_or(u32::MAX);
        if fold(sum(sum(6 + len, &addresses), &self.content)) != 0 {
            return Err("TCP checksum".into());
        }
        Ok(segment)
    }

    /// The TCP segment, whatever its checksum: captures with offload hold none.
    ///
    /// # Errors
    /// What does not agree.
    pub fn segment_unchecked(&self) -> Result<Segment, String> {
        let content = &self.content;
        if self.protocol != 6 || self.fragment || content.len() < 20 {
            return Err("no whole TCP header".into());
        }
        let header = usize::from(content[12] >> 4) * 4;
        let payload = content
            .get(header..)
            .filter(|_| header >= 20)
            .ok_or("TCP header length")?;
        Ok(Segment {
            sport: u16::from_be_bytes([content[0], content[1]]),
            dport: u16::from_be_bytes([content[2], content[3]]),
            seq: be32(&content[4..8]),
            ack: be32(&content[8..12]),
            flags: content[13],
            options: content[20..header].to_vec(),
            payload: payload.to_vec(),
        })
    }
}

/// Checks that a reply goes back to its sender in the same encapsulation, with `labels` instead of the
/// request's.
///
/// # Errors
/// What is wrong with it.
fn check_turned(asked: &Seen, answer: &Seen, labels: &[u32]) -> Result<(), String> {
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    same(
        "MAC addresses are not swapped",
        (answer.from, answer.to) == (asked.to, asked.from),
    )?;
    same("VLAN tags differ", answer.tags == asked.tags)?;
    same("PPPoE session differs", answer.pppoe == asked.pppoe)?;
    same("labels differ", answer.labels == labels)?;
    let addresses = (answer.source, answer.destination) == (asked.destination, asked.source);
    same("addresses are not swapped", addresses)
}

/// Checks a UDP header, with its length and checksum.
///
/// # Errors
/// What is wrong with it.
fn check_udp(source: &IpAddr, destination: &IpAddr, datagram: &[u8]) -> Result<(), String> {
    let told = datagram
        .get(4..6)
        .and_then(|len| len.first_chunk::<2>())
        .map(|len| u16::from_be_bytes(*len));
    if told.map(usize::from) != Some(datagram.len()) {
        return Err(format!("UDP tells {told:?} of {} bytes", datagram.len()));
    }
    let addresses = [*source, *destination]
        .map(crate::frames::address_bytes)
        .concat();
    let len = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
    if fold(sum(sum(17 + len, &addresses), datagram)) != 0 {
        return Err("UDP checksum".into());
    }
    Ok(())
}

/// The segments of a request and of an answer to it, which goes back by the same way.
fn turned_segments(
    request: &[u8],
    reply: &[u8],
    labels: &[u32],
) -> Result<(Segment, Segment), String> {
    let (asked, answer) = (read(request)?, read(reply)?);
    let (theirs, ours) = (asked.segment()?, answer.segment()?);
    check_turned(&asked, &answer, labels)?;
    if (ours.sport, ours.dport) != (theirs.dport, theirs.sport) {
        return Err("ports are not swapped".to_owned());
    }
    Ok((theirs, ours))
}

/// The datagrams of a request and of an answer to it, each with its UDP header: the answer's is sound,
/// and goes back by the same way with `labels`.
///
/// # Errors
/// What is wrong with it.
pub fn turned_datagrams(
    request: &[u8],
    reply: &[u8],
    labels: &[u32],
) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (asked, answer) = (read(request)?, read(reply)?);
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    check_turned(&asked, &answer, labels)?;
    same("is no UDP", answer.protocol == 17)?;
    same("has padding", answer.padding == 0)?;
    let (theirs, ours) = (asked.content, answer.content);
    let ports = ours.get(..2) == theirs.get(2..4) && ours.get(2..4) == theirs.get(..2);
    same("ports are not swapped", ports)?;
    check_udp(&answer.source, &answer.destination, &ours)?;
    Ok((theirs, ours))
}

/// Checks a reset: an answer to `request` that a stock TCP takes, in the same encapsulation, with
/// `labels` instead of the request's.
///
/// # Errors
/// What is wrong with it.
pub fn check_reset(request: &[u8], reply: &[u8], labels: &[u32]) -> Result<(), String> {
    let (theirs, ours) = turned_segments(request, reply, labels)?;
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    same("has a payload", ours.payload.is_empty())?;
    same("is no reset", ours.flags & RST != 0)?;
    let len = u32::try_from(theirs.payload.len()).map_err(|error| error.to_string())?;
    let marks = u32::from(theirs.flags & SYN != 0) + u32::from(theirs.flags & FIN != 0);
    let end = theirs.seq.wrapping_add(len).wrapping_add(marks);
    if theirs.flags & ACK != 0 {
        // RFC 9293 section 3.10.7.1: the reset takes its number from the acknowledgement; RFC 5961
        // lets only the exact next number through.
        same(
            "sequence number is not the one expected next",
            ours.seq == theirs.ack,
        )?;
    } else {
        same(
            "does not acknowledge a segment that acknowledged nothing",
            ours.flags & ACK != 0,
        )?;
    }
    same(
        "acknowledges other bytes",
        ours.flags & ACK == 0 || ours.ack == end,
    )?;
    same(
        "is longer than what it answers",
        reply.len() <= request.len(),
    )
}

/// Checks a redirect: a whole answer to the request in `request` that ends the stream, in the same
/// encapsulation, with its time stamps echoed; gives where it leads.
///
/// # Errors
/// What is wrong with it.
pub fn check_redirect(request: &[u8], reply: &[u8], labels: &[u32]) -> Result<String, String> {
    let (theirs, ours) = turned_segments(request, reply, labels)?;
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    same("does not end the stream", ours.flags & FIN != 0)?;
    same("is a reset", ours.flags & (RST | SYN) == 0)?;
    same("is not the next byte", ours.seq == theirs.ack)?;
    let len = u32::try_from(theirs.payload.len()).map_err(|error| error.to_string())?;
    let len = len + u32::from(theirs.flags & FIN != 0);
    same(
        "acknowledges something else",
        ours.ack == theirs.seq.wrapping_add(len),
    )?;
    let stamps = |segment: &Segment| {
        let at = segment.options.windows(2).position(|pair| pair == [8, 10]);
        at.and_then(|at| segment.options.get(at + 2..at + 10))
            .map(<[u8]>::to_vec)
    };
    let echoed = stamps(&theirs).map(|mut stamps| {
        stamps.rotate_left(4);
        stamps
    });
    same("time stamps are not echoed", stamps(&ours) == echoed)?;
    let text = String::from_utf8(ours.payload).map_err(|error| error.to_string())?;
    same("no redirect", text.starts_with("HTTP/1.1 302 Found\r\n"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the head")?;
    same("has a body", body.is_empty())?;
    same("no length", head.contains("\r\nContent-Length: 0"))?;
    let location = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("Location: "));
    Ok(location.ok_or("no location")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Extension, PSH, TPID_CUSTOMER, TPID_PROVIDER};

    #[test]
    fn reads_what_was_built() {
        let mut six = Path::between("fd01::5", "2001:db8::7");
        six.extensions = vec![Extension::HopByHop(8), Extension::Authentication(24)];
        let mut tagged = Path {
            tags: vec![(TPID_PROVIDER, 7), (TPID_CUSTOMER, 5)],
            ..Path::default()
        };
        tagged.pppoe = Some(9);
        tagged.ip_options = vec![1; 8];
        let labelled = Path {
            labels: vec![100, 200],
            ..Path::default()
        };
        for path in [Path::default(), six, tagged, labelled] {
            let seen = read(&path.data(1_000, b"payload")).unwrap();
            assert_eq!(
                (seen.tags.clone(), seen.labels.clone()),
                (path.tags.clone(), path.labels.clone())
            );
            assert_eq!(
                (seen.source, seen.destination),
                (path.source, path.destination)
            );
            let segment = seen.segment().unwrap();
            assert_eq!((segment.seq, segment.flags), (1_000, PSH | ACK));
            assert_eq!(segment.payload, b"payload");
        }
    }

    #[test]
    fn padding_is_no_payload() {
        let seen = read(&Path::default().data(1, b"")).unwrap();
        assert_eq!(
            (seen.padding, seen.segment().unwrap().payload.len()),
            (6, 0)
        );
    }

    #[test]
    fn wrong_checksums_are_found() {
        let mut frame = Path::default().data(1, b"payload");
        *frame.last_mut().unwrap() ^= 1;
        // The last byte is payload: 54 bytes of headers and 7 of payload are above 60.
        assert_eq!(read(&frame).unwrap().segment(), Err("TCP checksum".into()));
        frame[26] ^= 1;
        assert_eq!(read(&frame), Err("IPv4 header checksum".into()));
    }
}
