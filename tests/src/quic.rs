//! QUIC packets to send, and what an answer to them must be: an independent reading of RFC 9000 and
//! RFC 9369.

use crate::frame_reader::{check_turned, check_udp, read};

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
    let (asked, answer) = (read(request)?, read(reply)?);
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    check_turned(&asked, &answer, labels)?;
    same("is no UDP", answer.protocol == 17)?;
    same("has padding", answer.padding == 0)?;
    let (theirs, ours) = (&asked.content, &answer.content);
    let ports = ours.get(..2) == theirs.get(2..4) && ours.get(2..4) == theirs.get(..2);
    same("ports are not swapped", ports)?;
    check_udp(&answer.source, &answer.destination, ours)?;
    let (theirs, ours) = (ids(theirs)?, ids(ours)?);
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
