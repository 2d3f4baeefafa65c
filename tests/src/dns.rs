//! DNS queries to send, and what an answer must be, read by a library that the program does not know.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use crate::frame_reader::{read, turned_datagrams};
use crate::frames::Path;

/// Types that the tables ask for.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Mail exchange.
    pub const MX: u16 = 15;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service binding.
    pub const SVCB: u16 = 64;
    /// Service binding of HTTPS.
    pub const HTTPS: u16 = 65;
}

/// A query to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name, with dots between labels.
    pub name: String,
    /// Type.
    pub kind: u16,
    /// Class.
    pub class: u16,
    /// Flags and operation.
    pub flags: u16,
    /// EDNS options, if it has an OPT record.
    pub edns: Option<Vec<(u16, Vec<u8>)>>,
}

impl Query {
    /// A stub resolver's query.
    #[must_use]
    pub fn of(name: &str, kind: u16) -> Query {
        Query {
            name: name.to_owned(),
            kind,
            class: 1,
            flags: 0x0100,
            edns: None,
        }
    }

    /// The same with an OPT record with these options.
    #[must_use]
    pub fn with_edns(self, options: &[(u16, &[u8])]) -> Query {
        let options = options.iter().map(|(code, data)| (*code, data.to_vec()));
        Query {
            edns: Some(options.collect()),
            ..self
        }
    }

    /// The question alone.
    #[must_use]
    pub fn question(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.class.to_be_bytes());
        bytes
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let additional = u16::from(self.edns.is_some());
        let mut bytes = Vec::new();
        for word in [0xbeef, self.flags, 1, 0, 0, additional] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(self.question());
        if let Some(options) = &self.edns {
            let data: Vec<u8> = options
                .iter()
                .flat_map(|(code, data)| {
                    let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
                    [&code.to_be_bytes()[..], &len.to_be_bytes(), data].concat()
                })
                .collect();
            bytes.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0]);
            bytes.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The portal's IPv4 address.
    V4(Ipv4Addr),
    /// The portal's IPv6 address.
    V6(Ipv6Addr),
    /// Nothing of this type.
    NoData,
    /// There is no such name.
    NxDomain,
}

/// Checks an answer: to `request`, as a stock resolver takes it, in the same encapsulation.
///
/// # Errors
/// What is wrong with it.
pub fn check_answer(
    request: &[u8],
    reply: &[u8],
    labels: &[u32],
    told: &Told,
    error: u16,
) -> Result<(), String> {
    let (query, message) = check_datagram(request, reply, labels)?;
    check_message(&query, &message, told, error)
}

/// Checks everything of an answer but what it says: headers, lengths, checksum, and that it is a
/// message. Gives the query and the answer.
///
/// # Errors
/// What is wrong with it.
pub fn check_datagram(
    request: &[u8],
    reply: &[u8],
    labels: &[u32],
) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (theirs, ours) = turned_datagrams(request, reply, labels)?;
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    let query = theirs.get(8..).unwrap_or_default();
    let message = ours.get(8..).unwrap_or_default();
    same("identifier differs", message.get(..2) == query.get(..2))?;
    // 28 bytes of an address' record, 23 of an extended error and its record.
    same("amplifies", message.len() <= query.len() + 28 + 23)?;
    Message::from_vec(message).map_err(|error| format!("is no message: {error}"))?;
    Ok((query.to_vec(), message.to_vec()))
}

fn check_message(query: &[u8], message: &[u8], told: &Told, error: u16) -> Result<(), String> {
    let same = |what: &str, holds: bool| if holds { Ok(()) } else { Err(what.to_owned()) };
    let question_len = query
        .get(12..)
        .and_then(|rest| Some(rest.iter().position(|byte| *byte == 0)? + 5))
        .ok_or("the query has no question")?;
    same(
        "the question was changed",
        message.get(12..12 + question_len) == query.get(12..12 + question_len),
    )?;
    let parsed = Message::from_vec(message).map_err(|error| format!("is no message: {error}"))?;
    let code = u16::from(message.get(3).copied().unwrap_or(0) & 15);
    same("code", code == if *told == Told::NxDomain { 3 } else { 0 })?;
    same(
        "is no answer",
        message.get(2).is_some_and(|byte| byte & 0x80 != 0),
    )?;
    let records: Vec<&RData> = parsed.answers.iter().map(|record| &record.data).collect();
    let right = match (told, records.as_slice()) {
        (Told::V4(address), [RData::A(found)]) => found.0 == *address,
        (Told::V6(address), [RData::AAAA(found)]) => found.0 == *address,
        (Told::NoData | Told::NxDomain, []) => true,
        _ => false,
    };
    same(&format!("answers {records:?}, not {told:?}"), right)?;
    let asked = Message::from_vec(query).map_err(|error| format!("query: {error}"))?;
    let (theirs, ours) = (&asked.edns, &parsed.edns);
    same("EDNS", theirs.is_some() == ours.is_some())?;
    if let (Some(theirs), Some(ours)) = (theirs, ours) {
        let option = |edns: &hickory_proto::op::Edns, code: u16| -> Option<Vec<u8>> {
            let option = edns.option(code.into())?;
            Vec::try_from(option).ok()
        };
        same("cookie", option(theirs, 10) == option(ours, 10))?;
        let told = option(ours, 15);
        same(
            &format!("extended error {told:?}, not {error}"),
            told == Some(error.to_be_bytes().to_vec()),
        )?;
        same(
            "DNSSEC bit",
            theirs.flags().dnssec_ok == ours.flags().dnssec_ok,
        )?;
    }
    Ok(())
}

/// The path to a resolver.
#[must_use]
pub fn resolver(path: Path) -> Path {
    Path { dport: 53, ..path }
}

/// The name at a place of a frame: as it stands in a ClientHello, with dots for the labels' lengths in
/// a DNS query.
#[must_use]
pub fn name_in_frame(frame: &[u8], at: usize, len: usize) -> Vec<u8> {
    let mut name = frame.get(at..at + len).unwrap_or_default().to_vec();
    if read(frame).is_ok_and(|seen| seen.protocol == 17) {
        let mut next = frame.get(at - 1).map_or(0, |len| usize::from(*len));
        while let Some(place) = name.get_mut(next) {
            next += 1 + usize::from(*place);
            *place = b'.';
        }
    }
    name
}
