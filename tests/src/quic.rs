//! QUIC packets to send, and what an answer to them must be: an independent reading of RFC 9000 and
//! RFC 9369.

use std::ops::Range;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use rustls::{Side, SupportedCipherSuite};

use crate::frame_reader::turned_datagrams;
use crate::hello::Hello;

/// QUIC version 1.
pub const V1: u32 = 1;
/// QUIC version 2.
pub const V2: u32 = 0x6b33_43cf;

/// Types of long header packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Initial.
    Initial,
    /// 0-RTT.
    ZeroRtt,
    /// Handshake.
    Handshake,
    /// Retry.
    Retry,
}

/// A long header packet to build. What it carries is noise: the program cannot tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Long {
    /// Version.
    pub version: u32,
    /// Type.
    pub kind: Type,
    /// Destination connection id.
    pub to: Vec<u8>,
    /// Source connection id.
    pub from: Vec<u8>,
    /// Bytes of the datagram.
    pub len: usize,
}

impl Default for Long {
    fn default() -> Long {
        Long {
            version: V1,
            kind: Type::Initial,
            to: vec![0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8],
            from: vec![0x51, 0x52, 0x53],
            len: 1200,
        }
    }
}

impl Long {
    /// The type's bits: RFC 9000 section 17.2, RFC 9369 section 3.2.
    fn bits(&self) -> u8 {
        match (self.version, self.kind) {
            (V2, Type::Retry) => 0,
            (V2, Type::Initial) => 1,
            (V2, Type::ZeroRtt) => 2,
            (V2, Type::Handshake) => 3,
            (_, Type::Initial) => 0,
            (_, Type::ZeroRtt) => 1,
            (_, Type::Handshake) => 2,
            (_, Type::Retry) => 3,
        }
    }

    /// The datagram.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0xc0 | self.bits() << 4 | 3];
        bytes.extend(self.version.to_be_bytes());
        for id in [&self.to, &self.from] {
            bytes.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
            bytes.extend(id);
        }
        if self.kind == Type::Initial {
            bytes.push(0);
        }
        let rest = self.len.saturating_sub(bytes.len() + 2);
        let told = u16::try_from(rest).unwrap_or(0) & 0x3fff | 0x4000;
        bytes.extend(told.to_be_bytes());
        let noise = (0u32..).map(|at| at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0]);
        bytes.extend(noise.take(rest));
        bytes.truncate(self.len);
        bytes
    }
}

/// Checks a Version Negotiation packet: an answer to `request` that a stock client takes (RFC 9000
/// sections 6 and 17.2.1), in the same encapsulation with `labels`.
///
/// # Errors
/// What is wrong with it.
pub fn check_negotiation(request: &[u8], reply: &[u8], labels: &[u32]) -> Result<(), String> {
    let (theirs, ours) = turned_datagrams(request, reply, labels)?;
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    let (theirs, ours) = (ids(&theirs)?, ids(&ours)?);
    same("is no long header", ours.flags & 0xc0 == 0xc0)?;
    same("is no version negotiation", ours.version == 0)?;
    same(
        "connection ids are not swapped",
        (&ours.to, &ours.from) == (&theirs.from, &theirs.to),
    )?;
    let versions: Vec<u32> = ours
        .rest
        .chunks(4)
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u32::from(*byte))
        })
        .collect();
    same(&format!("lists {versions:x?}"), ours.rest.len() == 4)?;
    for version in versions {
        same("lists the client's version", version != theirs.version)?;
        same(
            "lists a version that is not reserved",
            version & 0x0f0f_0f0f == 0x0a0a_0a0a,
        )?;
    }
    same(
        "is not shorter than what it answers",
        reply.len() < request.len(),
    )
}

/// The invariant part of a long header (RFC 8999 section 5.1).
struct Ids {
    flags: u8,
    version: u32,
    to: Vec<u8>,
    from: Vec<u8>,
    rest: Vec<u8>,
}

fn ids(datagram: &[u8]) -> Result<Ids, String> {
    let short = || "a QUIC header that does not end".to_owned();
    let (head, rest) = datagram
        .get(8..)
        .and_then(|bytes| bytes.split_first_chunk::<5>())
        .ok_or_else(short)?;
    let take = |bytes: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let (len, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*len))?;
        Some((id.to_vec(), rest.to_vec()))
    };
    let (to, rest) = take(rest).ok_or_else(short)?;
    let (from, rest) = take(&rest).ok_or_else(short)?;
    let [flags, version @ ..] = *head;
    Ok(Ids {
        flags,
        version: u32::from_be_bytes(version),
        to,
        from,
        rest,
    })
}

/// Whether a server of version 1 or 2 would take the datagram for a client's first one: an Initial, in a
/// datagram of 1,200 bytes, with connection ids that the version knows.
#[must_use]
pub fn is_initial(datagram: &[u8]) -> bool {
    let Ok(read) = ids(&[&[0; 8], datagram].concat()) else {
        return false;
    };
    let kind = match read.version {
        V1 => 0,
        V2 => 1,
        _ => return false,
    };
    let form = read.flags & 0x80 != 0 && read.flags >> 4 & 3 == kind;
    form && datagram.len() >= 1200 && read.to.len() <= 20 && read.from.len() <= 20
}

/// A client that sends its hello over QUIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Version.
    pub version: u32,
    /// Destination connection id, from which the keys follow.
    pub to: Vec<u8>,
    /// Source connection id.
    pub from: Vec<u8>,
    /// Bytes of a datagram.
    pub len: usize,
}

impl Default for Sender {
    fn default() -> Sender {
        Sender {
            version: V1,
            to: vec![0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8],
            from: vec![0x51, 0x52, 0x53],
            len: 1200,
        }
    }
}

/// A variable-length integer in two bytes, or four (RFC 9000 section 16).
fn varint(value: usize) -> Vec<u8> {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    match u16::try_from(value) {
        Ok(short) if short < 0x4000 => (short | 0x4000).to_be_bytes().to_vec(),
        _ => (value | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

/// A CRYPTO frame with a part of a stream.
#[must_use]
pub fn crypto(stream: &[u8], part: Range<usize>) -> Vec<u8> {
    let data = stream.get(part.clone()).unwrap_or_default();
    [
        vec![6],
        varint(part.start),
        varint(data.len()),
        data.to_vec(),
    ]
    .concat()
}

impl Sender {
    /// An Initial packet with these frames, padded to the length of a datagram (RFC 9001 sections 5.3 and
    /// 5.4), protected by another implementation's keys in the direction that the filter never takes.
    ///
    /// # Panics
    /// If the frames do not fit.
    #[must_use]
    pub fn initial(&self, number: u8, frames: &[u8]) -> Vec<u8> {
        let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else {
            unreachable!("a suite of TLS 1.3");
        };
        let version = if self.version == V2 {
            Version::V2
        } else {
            Version::V1
        };
        let algorithm = suite.quic.expect("a suite of QUIC");
        let keys = Keys::initial(version, suite, algorithm, &self.to, Side::Client).local;
        let mut header = vec![if self.version == V2 { 0xd0 } else { 0xc0 }];
        header.extend(self.version.to_be_bytes());
        for id in [&self.to, &self.from] {
            header.push(u8::try_from(id.len()).expect("a short id"));
            header.extend(id);
        }
        header.push(0);
        let room = self.len - header.len() - 2 - 1 - 16;
        let mut payload = frames.to_vec();
        assert!(
            payload.len() <= room,
            "{} bytes of frames in {room}",
            payload.len()
        );
        payload.resize(room, 0);
        header.extend(varint(1 + room + 16));
        header.push(number);
        let tag = keys
            .packet
            .encrypt_in_place(u64::from(number), &header, &mut payload)
            .expect("encryption");
        payload.extend(tag.as_ref());
        let (first, rest) = header.split_first_mut().expect("a header");
        let (number, _) = rest.split_last_mut().expect("a number");
        // The sample starts four bytes behind the number's first (RFC 9001 section 5.4.2).
        keys.header
            .encrypt_in_place(
                payload.get(3..19).expect("a sample"),
                first,
                std::slice::from_mut(number),
            )
            .expect("header protection");
        [header, payload].concat()
    }

    /// A hello in as many datagrams as `cuts` say, each with its frames in the order given.
    #[must_use]
    pub fn hello(&self, stream: &[u8], datagrams: &[Vec<Range<usize>>]) -> Vec<Vec<u8>> {
        (0u8..)
            .zip(datagrams)
            .map(|(number, parts)| {
                let frames: Vec<Vec<u8>> = parts
                    .iter()
                    .map(|part| crypto(stream, part.clone()))
                    .collect();
                self.initial(number, &frames.concat())
            })
            .collect()
    }
}

/// A ClientHello as QUIC carries it: without records.
#[must_use]
pub fn client_hello(name: &str) -> Vec<u8> {
    Hello::named(name).handshake()
}
