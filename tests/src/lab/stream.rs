//! What a server could have read: TCP streams out of captured frames, and the server name at their
//! start. Written apart from the filter's own parsers, so that one fault cannot hide in both.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::capture::Frame;

const SYN: u8 = 0x02;

/// A TCP segment of a captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// Who was to get it.
    pub to: SocketAddr,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Header flags.
    pub flags: u8,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Reads an untagged frame without extension headers: the lab's clients send no others by
/// themselves.
#[must_use]
pub fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let (header, packet) = frame.split_at_checked(14)?;
    match header.get(12..14)? {
        [0x08, 0x00] => {
            let length = usize::from(packet.first()? & 15) * 4;
            let total = usize::from(u16_at(packet, 2)?);
            let from = Ipv4Addr::from(u32_at(packet, 12)?);
            let to = Ipv4Addr::from(u32_at(packet, 16)?);
            let tcp = packet.get(length..total)?;
            (*packet.get(9)? == 6).then(|| tcp_segment(from.into(), to.into(), tcp))?
        }
        [0x86, 0xdd] => {
            let total = 40 + usize::from(u16_at(packet, 4)?);
            let from = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?);
            let to = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?);
            let tcp = packet.get(40..total)?;
            (*packet.get(6)? == 6).then(|| tcp_segment(from.into(), to.into(), tcp))?
        }
        _ => None,
    }
}

fn tcp_segment(from: IpAddr, to: IpAddr, tcp: &[u8]) -> Option<Segment<'_>> {
    let header = usize::from(tcp.get(12)? >> 4) * 4;
    Some(Segment {
        from: SocketAddr::new(from, u16_at(tcp, 0)?),
        to: SocketAddr::new(to, u16_at(tcp, 2)?),
        sequence: u32_at(tcp, 4)?,
        flags: *tcp.get(13)?,
        payload: tcp.get(header..)?,
    })
}

/// The first bytes of each connection, in the order of sequence numbers, without gaps.
///
/// A second SYN with another number between the same addresses starts another connection. Where
/// bytes came twice the first copy counts.
#[must_use]
pub fn starts(frames: &[Frame]) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
    let mut streams = Vec::<Stream>::new();
    let mut newest = HashMap::<(SocketAddr, SocketAddr), usize>::new();
    for segment in frames.iter().filter_map(|frame| segment(&frame.bytes)) {
        let key = (segment.from, segment.to);
        let known = newest.get(&key).and_then(|&at| streams.get_mut(at));
        let first = segment.sequence.wrapping_add(1);
        match known {
            Some(stream) if segment.flags & SYN == 0 || stream.first == first => {
                stream.take(&segment);
            }
            _ if segment.flags & SYN != 0 => {
                newest.insert(key, streams.len());
                streams.push(Stream {
                    key,
                    first,
                    bytes: Vec::new(),
                    filled: Vec::new(),
                });
            }
            _ => {}
        }
    }
    streams
        .into_iter()
        .map(|stream| (stream.key.0, stream.key.1, stream.prefix()))
        .collect()
}

/// Longest start of a connection that is kept: longer than any ClientHello here.
const START_MAX: usize = 16 << 10;

struct Stream {
    key: (SocketAddr, SocketAddr),
    first: u32,
    bytes: Vec<u8>,
    filled: Vec<bool>,
}

impl Stream {
    fn take(&mut self, segment: &Segment<'_>) {
        let start = segment.sequence.wrapping_sub(self.first) as usize;
        for (at, &byte) in segment
            .payload
            .iter()
            .enumerate()
            .map(|(n, b)| (start + n, b))
        {
            if at >= START_MAX {
                break;
            }
            if at >= self.bytes.len() {
                self.bytes.resize(at + 1, 0);
                self.filled.resize(at + 1, false);
            }
            if let (Some(to), Some(filled @ false)) =
                (self.bytes.get_mut(at), self.filled.get_mut(at))
            {
                *to = byte;
                *filled = true;
            }
        }
    }

    fn prefix(mut self) -> Vec<u8> {
        let whole = self.filled.iter().take_while(|filled| **filled).count();
        self.bytes.truncate(whole);
        self.bytes
    }
}

/// The server name in the first bytes of a TLS stream, as far as it is complete: also where the
/// rest of the ClientHello is missing, and over any number of records.
#[must_use]
pub fn server_name(stream: &[u8]) -> Option<String> {
    let hello = handshake_bytes(stream);
    let body = hello.get(4..)?;
    if *hello.first()? != 1 {
        return None;
    }
    // Version and random, then three fields with lengths of 1, 2 and 1 bytes.
    let mut at = 34;
    at += 1 + usize::from(*body.get(at)?);
    at += 2 + usize::from(u16_at(body, at)?);
    at += 1 + usize::from(*body.get(at)?);
    at += 2;
    loop {
        let (kind, length) = (u16_at(body, at)?, usize::from(u16_at(body, at + 2)?));
        if kind == 0 {
            // Length of the list, type of the name, length of the name.
            let name = usize::from(u16_at(body, at + 7)?);
            let bytes = body.get(at + 9..at + 9 + name)?;
            return Some(String::from_utf8_lossy(bytes).to_ascii_lowercase());
        }
        at += 4 + length;
    }
}

/// The bytes of the handshake records at the start, without record headers.
fn handshake_bytes(mut stream: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((header, rest)) = stream.split_at_checked(5) {
        let length = u16_at(header, 3).map_or(0, usize::from).min(rest.len());
        if header.first() != Some(&22) || length == 0 {
            break;
        }
        let (body, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        bytes.extend_from_slice(body);
        stream = next;
    }
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Server names that are complete in what was captured, with who sent them.
#[must_use]
pub fn complete_names(frames: &[Frame]) -> Vec<(SocketAddr, String)> {
    let streams = starts(frames).into_iter();
    streams
        .filter_map(|(from, _, bytes)| Some((from, server_name(&bytes)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::server_name;
    use crate::lab::client::{client_hello, middle_of_name};
    use crate::lab::pki::Authority;

    const NAME: &str = "reading.example";

    fn hello() -> Vec<u8> {
        client_hello(&Authority::new().unwrap(), NAME).unwrap()
    }

    /// The same handshake bytes in records of at most `size` bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let records = hello[5..].chunks(size);
        let header = |part: &[u8]| [22, 3, 1, 0, u8::try_from(part.len()).unwrap()];
        records
            .flat_map(|part| [&header(part)[..], part].concat())
            .collect()
    }

    #[test]
    fn name_is_complete_from_its_last_byte_on() {
        let hello = hello();
        let end = middle_of_name(&hello, NAME).unwrap() - NAME.len() / 2 + NAME.len();
        for length in 0..=hello.len() {
            let seen = server_name(&hello[..length]);
            assert_eq!(
                seen.as_deref(),
                (length >= end).then_some(NAME),
                "first {length} bytes"
            );
        }
    }

    #[test]
    fn name_is_read_over_records_of_any_size() {
        let hello = hello();
        for size in 1..200 {
            let seen = server_name(&in_records(&hello, size));
            assert_eq!(seen.as_deref(), Some(NAME), "records of {size} bytes");
        }
    }

    #[test]
    fn no_name_in_other_bytes() {
        assert_eq!(
            server_name(b"GET / HTTP/1.1\r\nHost: reading.example\r\n\r\n"),
            None
        );
        assert_eq!(server_name(&[]), None);
    }
}
