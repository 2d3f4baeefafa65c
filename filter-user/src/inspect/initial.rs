//! Initial packets (RFC 9000 section 17.2.2, RFC 9369 section 3.2), and their protection by keys that
//! follow from the connection id (RFC 9001 section 5.2).

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Keys, Version};
use rustls::{Side, SupportedCipherSuite};

use filter_common::limits::QUIC_CID_MAX;
use filter_common::quic::{LONG, VERSION_1, VERSION_2};

/// Packets of one datagram that are read: a client has no reason for more.
const PACKETS_MAX: usize = 8;
/// Bytes of the sample that header protection is made from (RFC 9001 section 5.4.2), and where it is
/// behind the packet number's first byte.
const SAMPLE_LEN: usize = 16;
const SAMPLE_AT: usize = 4;

/// An Initial packet within a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) version: u32,
    /// Destination connection id.
    pub(super) to: &'a [u8],
    /// Offset in the datagram.
    at: usize,
    /// Offset of the packet number.
    number_at: usize,
    /// Offset of its end.
    end: usize,
}

/// A place in bytes, moved by every field that is read.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A variable-length integer (RFC 9000 section 16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let more = self.take((1 << (first >> 6)) - 1)?;
        let start = u64::from(first & 0x3f);
        Some(
            more.iter()
                .fold(start, |value, byte| value << 8 | u64::from(*byte)),
        )
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }
}

/// The Initial packets of a datagram, one behind another (RFC 9000 section 12.2). What is behind a
/// packet of another kind or connection id is left out: a server ignores it too, or reads it as its own
/// flow's.
pub(super) fn packets(datagram: &[u8]) -> Vec<Packet<'_>> {
    let mut packets: Vec<Packet<'_>> = Vec::new();
    let mut at = 0;
    while packets.len() < PACKETS_MAX
        && let Some((initial, packet)) = packet(datagram, at)
        && packets.first().is_none_or(|first| first.to == packet.to)
    {
        at = packet.end;
        if initial {
            packets.push(packet);
        }
    }
    packets
}

/// The long header packet at a place, and whether it is an Initial.
fn packet(datagram: &[u8], at: usize) -> Option<(bool, Packet<'_>)> {
    let mut cursor = Cursor::new(datagram, at);
    let flags = cursor.u8()?;
    let version = u32::from_be_bytes(*cursor.take(4)?.first_chunk()?);
    let bits = flags >> 4 & 3;
    let initial = match version {
        VERSION_1 => bits == 0,
        VERSION_2 => bits == 1,
        _ => return None,
    };
    let retry = bits == if version == VERSION_1 { 3 } else { 0 };
    if u32::from(flags) & LONG == 0 || retry {
        return None;
    }
    let to = connection_id(&mut cursor)?;
    connection_id(&mut cursor)?;
    if initial {
        let token = cursor.length()?;
        cursor.take(token)?;
    }
    let len = cursor.length()?;
    let number_at = cursor.at();
    cursor.take(len)?;
    Some((
        initial,
        Packet {
            version,
            to,
            at,
            number_at,
            end: cursor.at(),
        },
    ))
}

fn connection_id<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = cursor.u8()?;
    if u32::from(len) > QUIC_CID_MAX {
        return None;
    }
    cursor.take(usize::from(len))
}

/// The keys of a client's Initial packets.
pub(super) struct Client(DirectionalKeys);

impl Client {
    /// Those that follow from the connection id of the client's first packet.
    pub(super) fn new(version: u32, to: &[u8]) -> Option<Client> {
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
            return None;
        };
        let version = if version == VERSION_2 {
            Version::V2
        } else {
            Version::V1
        };
        let keys = Keys::initial(version, suite, suite.quic?, to, Side::Server);
        Some(Client(keys.remote))
    }

    /// The frames of a packet; `None`: it is not of this client, or was changed.
    pub(super) fn open(&self, datagram: &[u8], packet: &Packet<'_>) -> Option<Vec<u8>> {
        let mut bytes = datagram.get(packet.at..packet.end)?.to_vec();
        let number_at = packet.number_at.checked_sub(packet.at)?;
        let sample_at = number_at + SAMPLE_AT;
        let sample = bytes.get(sample_at..sample_at + SAMPLE_LEN)?.to_vec();
        let (first, rest) = bytes.split_first_mut()?;
        let number = rest.get_mut(number_at - 1..number_at - 1 + SAMPLE_AT)?;
        self.0
            .header
            .decrypt_in_place(&sample, first, number)
            .ok()?;
        let number_len = usize::from(*first & 3) + 1;
        // The first packets' numbers are small: what is left out of them is zero (RFC 9000 section A.3).
        let number = number
            .get(..number_len)?
            .iter()
            .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let (header, payload) = bytes.split_at_mut_checked(number_at + number_len)?;
        let opened = self
            .0
            .packet
            .decrypt_in_place(number, header, payload)
            .ok()?;
        Some(opened.to_vec())
    }
}
