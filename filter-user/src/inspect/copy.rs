//! A record of the ring of copies, as the program wrote it (`filter_common::abi::QuicCopy`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::abi::QUIC_COPY_HEAD;
use filter_common::rule::Best;

/// An Initial packet and what the program knows of it. Borrowed: it lives until its name is read.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// Key of the flow.
    pub key: u64,
    /// When it was handed over, by the monotonic clock in nanoseconds.
    pub at_ns: u64,
    /// Organisation number.
    pub org: u32,
    /// Number of the interface it came from.
    pub ifindex: u32,
    /// How answers leave behind MPLS.
    pub mpls_reply: u32,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Offset of the network header.
    pub l3: usize,
    /// Offset of the PPPoE header; 0: none.
    pub pppoe_at: usize,
    /// Offset of the MPLS label stack; 0: none.
    pub mpls_at: usize,
    /// Offset of the UDP header.
    pub l4: usize,
    /// Row of `POLICIES`.
    pub policy: u32,
    /// Whether the organisation's bypass is in force.
    pub bypass: bool,
    /// The deciding entry of the destination's address.
    pub best: Best,
    /// The frame.
    pub frame: &'a [u8],
    /// The UDP datagram's payload.
    pub datagram: &'a [u8],
}

/// Reads fields in their order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*field))
    }

    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*field))
    }

    fn words(&mut self) -> Option<[u32; 4]> {
        Some([self.u32()?, self.u32()?, self.u32()?, self.u32()?])
    }

    fn place(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    fn best(&mut self) -> Option<Best> {
        Some(Best {
            step: self.u32()?,
            nsor_category: self.u32()?,
            category: self.u32()?,
            entry: self.u32()?,
            address: self.u32()?,
            nsor_entry: self.u32()?,
            nsor_address: self.u32()?,
            len: self.u32()?,
            nsor_len: self.u32()?,
            pad: self.u32()?,
        })
    }
}

fn address(version: u32, words: [u32; 4]) -> IpAddr {
    let [.., low] = words;
    if version == 4 {
        return IpAddr::V4(Ipv4Addr::from(low));
    }
    let bits = words
        .iter()
        .fold(0u128, |bits, word| bits << 32 | u128::from(*word));
    IpAddr::V6(Ipv6Addr::from(bits))
}

impl<'a> Copy<'a> {
    /// Reads a record; `None`: it is none.
    #[must_use]
    pub fn read(record: &'a [u8]) -> Option<Copy<'a>> {
        let (head, frame) = record.split_at_checked(QUIC_COPY_HEAD)?;
        let mut fields = Fields(head);
        let (key, at_ns) = (fields.u64()?, fields.u64()?);
        let (org, ifindex, mpls_reply) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let version = fields.u32()?;
        let destination = address(version, fields.words()?);
        let source = address(version, fields.words()?);
        let (l3, pppoe_at, mpls_at) = (fields.place()?, fields.place()?, fields.place()?);
        let (payload, payload_len, frame_len) = (fields.place()?, fields.place()?, fields.place()?);
        let (policy, bypass) = (fields.u32()?, fields.u32()? != 0);
        let best = fields.best()?;
        let frame = frame.get(..frame_len)?;
        Some(Copy {
            key,
            at_ns,
            org,
            ifindex,
            mpls_reply,
            source,
            destination,
            l3,
            pppoe_at,
            mpls_at,
            l4: payload.checked_sub(8)?,
            policy,
            bypass,
            best,
            frame,
            datagram: frame.get(payload..payload.checked_add(payload_len)?)?,
        })
    }
}
