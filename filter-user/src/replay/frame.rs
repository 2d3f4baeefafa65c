//! A captured frame as the Ethernet frame that the program reads: other link types get a synthetic
//! Ethernet header, and what the capture cut off is filled with zeros.

use super::capture::Frame;

/// Longest frame that is filled up: the largest segment that offload hands over, with headers.
const FILLED_MAX: u32 = 66_000;

// LINKTYPE_* of draft-ietf-opsawg-pcaplinktype.
const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const PPP: u16 = 9;
const PPP_ETHER: u16 = 51;
const RAW: u16 = 101;
const C_HDLC: u16 = 104;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const MPLS: u16 = 219;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;

/// The frame as Ethernet, in its length on the wire; `None` for a link type that carries no IP, or a
/// frame without its link header.
#[must_use]
pub(crate) fn to_ethernet(frame: &Frame) -> Option<Vec<u8>> {
    let mut bytes = frame.bytes.clone();
    let missing = frame.original.min(FILLED_MAX) as usize;
    if bytes.len() < missing {
        bytes.resize(missing, 0);
    }
    let (kind, skip) = match frame.link {
        ETHERNET => return Some(bytes),
        RAW => (ip_type(&bytes)?, 0),
        IPV4 => (TYPE_IPV4, 0),
        IPV6 => (TYPE_IPV6, 0),
        LINUX_SLL => (be16(&bytes, 14)?, 16),
        LINUX_SLL2 => (be16(&bytes, 0)?, 20),
        NULL | LOOP => (family_type(&bytes)?, 4),
        PPP_ETHER => (0x8864, 0),
        MPLS => (0x8847, 0),
        C_HDLC => (be16(&bytes, 2)?, 4),
        PPP => ppp(&bytes)?,
        _ => return None,
    };
    // Addresses of the documentation's kind: locally administered, and never on a wire.
    let mut ethernet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    ethernet.extend(kind.to_be_bytes());
    ethernet.extend(bytes.get(skip..)?);
    Some(ethernet)
}

/// EtherType and header length of PPP in HDLC-like framing, with or without address and control.
fn ppp(bytes: &[u8]) -> Option<(u16, usize)> {
    let start = if be16(bytes, 0)? == 0xff03 { 2 } else { 0 };
    match be16(bytes, start)? {
        0x0021 => Some((TYPE_IPV4, start + 2)),
        0x0057 => Some((TYPE_IPV6, start + 2)),
        _ => None,
    }
}

fn ip_type(bytes: &[u8]) -> Option<u16> {
    match bytes.first()? >> 4 {
        4 => Some(TYPE_IPV4),
        6 => Some(TYPE_IPV6),
        _ => None,
    }
}

/// EtherType by the address family of a BSD loopback header, in either byte order: 2 is IPv4 and the
/// systems have 10, 24, 28 and 30 for IPv6.
fn family_type(bytes: &[u8]) -> Option<u16> {
    let family: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    match u32::from_be_bytes(family).min(u32::from_le_bytes(family)) {
        2 => Some(TYPE_IPV4),
        10 | 24 | 28 | 30 => Some(TYPE_IPV6),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(link: u16, bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
        let original = u32::try_from(bytes.len()).unwrap();
        let frame = Frame {
            number: 1,
            link,
            bytes: bytes.to_vec(),
            original,
            milliseconds: 0,
        };
        let ethernet = to_ethernet(&frame)?;
        Some((be16(&ethernet, 12)?, ethernet[14..].to_vec()))
    }

    #[test]
    fn each_link_type_gets_its_ethertype() {
        let v4 = || (TYPE_IPV4, vec![0x45, 1]);
        let v6 = || (TYPE_IPV6, vec![0x60, 1]);
        let with = |head: &[u8], ip: u8| [head, &[ip, 1]].concat();
        let sll = |kind: [u8; 2]| [&[0; 14][..], &kind].concat();
        let sll2 = |kind: [u8; 2]| [&kind[..], &[0; 18]].concat();
        for (link, head, expected) in [
            (RAW, vec![], v4()),
            (IPV4, vec![], v4()),
            (LINUX_SLL, sll([8, 0]), v4()),
            (LINUX_SLL2, sll2([8, 0]), v4()),
            (NULL, vec![2, 0, 0, 0], v4()),
            (NULL, vec![0, 0, 0, 2], v4()),
            (LOOP, vec![0, 0, 0, 2], v4()),
            (PPP, vec![0xff, 3, 0, 0x21], v4()),
            (C_HDLC, vec![15, 0, 8, 0], v4()),
        ] {
            assert_eq!(
                converted(link, &with(&head, 0x45)),
                Some(expected),
                "link type {link}"
            );
        }
        for (link, head) in [
            (RAW, vec![]),
            (IPV6, vec![]),
            (LINUX_SLL, sll([0x86, 0xdd])),
            (NULL, vec![30, 0, 0, 0]),
            (LOOP, vec![0, 0, 0, 24]),
            (PPP, vec![0, 0x57]),
        ] {
            assert_eq!(
                converted(link, &with(&head, 0x60)),
                Some(v6()),
                "link type {link}"
            );
        }
        assert_eq!(converted(105, &[0; 40]), None, "wireless frames");
        assert_eq!(
            converted(LINUX_SLL, &[0; 9]),
            None,
            "no room for the header"
        );
    }

    #[test]
    fn what_was_cut_off_is_filled_with_zeros() {
        let frame = Frame {
            number: 1,
            link: ETHERNET,
            bytes: vec![1; 20],
            original: 60,
            milliseconds: 0,
        };
        let bytes = to_ethernet(&frame).unwrap();
        assert_eq!((bytes.len(), bytes[19], bytes[20]), (60, 1, 0));
    }
}
