//! Frames that are larger than a test run takes: captures made behind offload hold segments of up to
//! 64 KiB. TCP is cut up as the network card would cut it.

use std::net::IpAddr;

use super::headers::{Headers, TCP, be16};
use crate::kernel::run::FRAME_MAX;

/// Bytes of IP packet in a piece: Ethernet's.
const PACKET_MAX: usize = 1500;
/// Longest frame that is run as it is.
const WHOLE_MAX: usize = 3400;
const FIN: u8 = 0x01;
const PUSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// The frame itself, or the segments a network card would make of it; `None` if it is too long and
/// no TCP segment.
pub(crate) fn pieces(frame: Vec<u8>, headers: Option<&Headers>) -> Option<Vec<Vec<u8>>> {
    const _: () = assert!(WHOLE_MAX <= FRAME_MAX);
    let segmented = headers.filter(|headers| headers.protocol == TCP && !headers.fragment);
    match segmented {
        Some(headers) if frame.len() > WHOLE_MAX || has_no_length(&frame, headers) => {
            cut(&frame, headers)
        }
        _ if frame.len() <= FRAME_MAX => Some(vec![frame]),
        _ => None,
    }
}

/// Some systems hand segments to a capture before their length is filled in.
fn has_no_length(frame: &[u8], headers: &Headers) -> bool {
    let at = if headers.source.is_ipv4() { 2 } else { 4 };
    be16(frame, headers.l3 + at) == Some(0)
}

fn cut(frame: &[u8], headers: &Headers) -> Option<Vec<Vec<u8>>> {
    let tcp_len = usize::from(frame.get(headers.l4 + 12)? >> 4) * 4;
    let start = headers.l4 + tcp_len;
    if tcp_len < 20 || start > frame.len() {
        return None;
    }
    let end = packet_end(frame, headers)?.clamp(start, frame.len());
    let (front, payload) = frame.get(..end)?.split_at_checked(start)?;
    let room = PACKET_MAX
        .checked_sub(start - headers.l3)
        .filter(|room| *room > 0)?;
    let count = payload.len().div_ceil(room).max(1);
    let piece = |at: usize| {
        let offset = at * room;
        let part = payload.get(offset..(offset + room).min(payload.len()))?;
        let mut piece = front.to_vec();
        piece.extend(part);
        finish(&mut piece, headers, offset, at, at + 1 == count)?;
        Some(piece)
    };
    (0..count).map(piece).collect()
}

/// End of the IP packet by its own length, or the frame's end where that is not filled in.
fn packet_end(frame: &[u8], headers: &Headers) -> Option<usize> {
    if has_no_length(frame, headers) {
        return Some(frame.len());
    }
    Some(match headers.source {
        IpAddr::V4(_) => headers.l3 + usize::from(be16(frame, headers.l3 + 2)?),
        IpAddr::V6(_) => headers.l3 + 40 + usize::from(be16(frame, headers.l3 + 4)?),
    })
}

/// Makes the headers of a piece those of a segment of its own.
fn finish(
    piece: &mut [u8],
    headers: &Headers,
    offset: usize,
    number: usize,
    last: bool,
) -> Option<()> {
    let (l3, l4) = (headers.l3, headers.l4);
    let length = piece.len() - l3;
    if headers.source.is_ipv4() {
        put16(piece, l3 + 2, length)?;
        let id = usize::from(be16(piece, l3 + 4)?).wrapping_add(number) & 0xffff;
        put16(piece, l3 + 4, id)?;
        put16(piece, l3 + 10, 0)?;
        let sum = checksum(piece.get(l3..l4)?, 0);
        put16(piece, l3 + 10, usize::from(sum))?;
    } else {
        put16(piece, l3 + 4, length - 40)?;
    }
    if let Some(pppoe) = headers.pppoe {
        put16(piece, pppoe + 4, length + 2)?;
    }
    let seq: [u8; 4] = piece.get(l4 + 4..l4 + 8)?.try_into().ok()?;
    let seq = u32::from_be_bytes(seq).wrapping_add(u32::try_from(offset).ok()?);
    piece
        .get_mut(l4 + 4..l4 + 8)?
        .copy_from_slice(&seq.to_be_bytes());
    let flags = piece.get_mut(l4 + 13)?;
    *flags &= if last { 0xff } else { !(FIN | PUSH) };
    *flags &= if number == 0 { 0xff } else { !CWR };
    put16(piece, l4 + 16, 0)?;
    let sum = checksum(piece.get(l4..)?, pseudo_header(headers, piece.len() - l4));
    put16(piece, l4 + 16, usize::from(sum))
}

fn put16(bytes: &mut [u8], at: usize, value: usize) -> Option<()> {
    let value = u16::try_from(value).ok()?;
    bytes
        .get_mut(at..at + 2)?
        .copy_from_slice(&value.to_be_bytes());
    Some(())
}

/// Sum of the words of TCP's pseudo header.
fn pseudo_header(headers: &Headers, length: usize) -> u64 {
    let words = |octets: &[u8]| {
        octets
            .chunks(2)
            .filter_map(|word| be16(word, 0))
            .map(u64::from)
            .sum::<u64>()
    };
    let addresses: u64 = [headers.source, headers.destination]
        .iter()
        .map(|address| match address {
            IpAddr::V4(v4) => words(&v4.octets()),
            IpAddr::V6(v6) => words(&v6.octets()),
        })
        .sum();
    addresses + u64::from(TCP) + length as u64
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8], start: u64) -> u16 {
    let mut sum = start;
    for word in bytes.chunks(2) {
        let low = word.get(1).copied().unwrap_or(0);
        sum += u64::from(word.first().copied().unwrap_or(0)) << 8 | u64::from(low);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 TCP segment behind PPPoE with `payload` bytes.
    fn frame(payload: usize, length: usize) -> Vec<u8> {
        let mut frame = vec![0u8; 12];
        frame.extend([0x88, 0x64, 0x11, 0, 0, 1]);
        frame.extend([0, 0, 0, 0x21]);
        frame.extend([
            0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1,
        ]);
        frame.extend([
            0x30, 0x39, 1, 0xbb, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x50, 0x99, 1, 0, 0, 0, 0, 0,
        ]);
        frame.extend((0..payload).map(|n| u8::try_from(n % 251).unwrap()));
        put16(&mut frame, 22 + 2, length).unwrap();
        frame
    }

    #[test]
    fn pieces_join_to_the_same_stream() {
        let whole = frame(9_000, 9_040);
        let headers = Headers::read(&whole).unwrap();
        let pieces = pieces(whole.clone(), Some(&headers)).unwrap();
        assert_eq!(pieces.len(), 7);
        let (mut stream, mut seq) = (Vec::<u8>::new(), u32::MAX);
        for (number, piece) in pieces.iter().enumerate() {
            let read = Headers::read(piece).unwrap();
            assert_eq!(
                usize::from(be16(piece, read.l3 + 2).unwrap()),
                piece.len() - read.l3
            );
            assert_eq!(
                usize::from(be16(piece, 18).unwrap()),
                piece.len() - read.l3 + 2,
                "PPPoE"
            );
            assert_eq!(
                be16(piece, read.l3 + 4).unwrap(),
                0xffffu16.wrapping_add(u16::try_from(number).unwrap())
            );
            assert_eq!(checksum(&piece[read.l3..read.l4], 0), 0);
            let length = piece.len() - read.l4;
            assert_eq!(checksum(&piece[read.l4..], pseudo_header(&read, length)), 0);
            assert_eq!(piece[read.l4 + 4..read.l4 + 8], seq.to_be_bytes());
            let last = number == 6;
            assert_eq!(piece[read.l4 + 13] & (FIN | PUSH) != 0, last);
            assert_eq!(piece[read.l4 + 13] & CWR != 0, number == 0);
            stream.extend(&piece[read.l4 + 20..]);
            seq = seq.wrapping_add(u32::try_from(length - 20).unwrap());
        }
        assert_eq!(stream, whole[62..]);
    }

    #[test]
    fn a_length_that_was_not_filled_in_is_the_frames() {
        let whole = frame(100, 0);
        let headers = Headers::read(&whole).unwrap();
        let pieces = pieces(whole, Some(&headers)).unwrap();
        assert_eq!(pieces.len(), 1);
        assert_eq!(be16(&pieces[0], 24), Some(140));
    }

    #[test]
    fn a_frame_that_fits_stays_as_it_is_and_one_that_is_no_tcp_is_refused() {
        let small = frame(1400, 1440);
        let headers = Headers::read(&small).unwrap();
        assert_eq!(pieces(small.clone(), Some(&headers)).unwrap(), [small]);
        assert_eq!(pieces(vec![0; 9_000], None), None);
    }
}
