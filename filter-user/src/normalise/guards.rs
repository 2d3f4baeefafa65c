//! What no registry may hold: public suffixes, prefixes too broad to be meant, and addresses that are nobody's
//! on the internet.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Refusal, Subject};

/// Address space that no registry may block: it is nobody's on the internet, or everybody's at home.
const NOT_PUBLIC_V4: &[(u32, u8)] = &[
    (0x0000_0000, 8),  // this network, RFC 791
    (0x0a00_0000, 8),  // private, RFC 1918
    (0x6440_0000, 10), // shared, RFC 6598
    (0x7f00_0000, 8),  // loopback
    (0xa9fe_0000, 16), // link-local, RFC 3927
    (0xac10_0000, 12), // private, RFC 1918
    (0xc000_0000, 24), // protocol assignments, RFC 6890
    (0xc0a8_0000, 16), // private, RFC 1918
    (0xc612_0000, 15), // benchmarks, RFC 2544
    (0xe000_0000, 3),  // multicast, reserved, broadcast
];

/// The same for IPv6.
const NOT_PUBLIC_V6: &[(u128, u8)] = &[
    (0, 96),                      // unspecified, loopback, RFC 4291 section 2.5
    (0xfc00 << 112, 7),           // unique local, RFC 4193
    (0xfe80 << 112, 10),          // link-local
    (0xff00 << 112, 8),           // multicast
    (0xffff_0000_0000, 96),       // mapped IPv4
    (0x0064_ff9b << 96, 96),      // all of IPv4 behind NAT64, RFC 6052
    (0x0064_ff9b_0001 << 80, 48), // the same, of a network's own, RFC 8215
    (0x0100 << 112, 64),          // discarded, RFC 6666
    (0xfec0 << 112, 10),          // site-local, RFC 3879
];

/// Shortest prefixes that a registry may hold.
const NET4_SHORTEST: u8 = 8;
const NET6_SHORTEST: u8 = 24;

/// Whether a registry may hold the addresses of a subject; a name has none.
pub(super) fn guard_net(subject: &Subject<'_>) -> Result<(), Refusal> {
    let net = match subject {
        Subject::Address(host) => IpNet::from(*host),
        Subject::Net(net) => *net,
        Subject::Url { host, .. } => match host.parse::<IpAddr>() {
            Ok(host) => IpNet::from(host),
            Err(_) => return Ok(()),
        },
        Subject::Name { .. } => return Ok(()),
    };
    let (shortest, overlaps) = match net {
        IpNet::V4(v4) => (
            NET4_SHORTEST,
            NOT_PUBLIC_V4.iter().any(|special| meets4(&v4, *special)),
        ),
        IpNet::V6(v6) => (
            NET6_SHORTEST,
            NOT_PUBLIC_V6.iter().any(|special| meets6(&v6, *special)),
        ),
    };
    if net.prefix_len() < shortest {
        Err(Refusal::TooBroad)
    } else if overlaps {
        Err(Refusal::NotPublic)
    } else {
        Ok(())
    }
}

fn meets4(net: &Ipv4Net, (base, length): (u32, u8)) -> bool {
    let shared = length.min(net.prefix_len());
    (u32::from(net.addr()) ^ base).leading_zeros() >= u32::from(shared)
}

fn meets6(net: &Ipv6Net, (base, length): (u128, u8)) -> bool {
    let shared = length.min(net.prefix_len());
    (u128::from(net.addr()) ^ base).leading_zeros() >= u32::from(shared)
}

/// Whether `address` is one that a registry may hold.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    guard_net(&Subject::Address(address)).is_ok()
}

/// Whether all of `name` is a suffix under which anybody may register names. Suffixes that private
/// owners offer (hosting services) do not count: a registry may mean such a service as a whole.
#[must_use]
pub fn is_public_suffix(name: &str) -> bool {
    use psl::Psl as _;
    if !name.contains('.') {
        return true;
    }
    let Some(suffix) = psl::List.suffix(name.as_bytes()) else {
        return false;
    };
    suffix.as_bytes().len() == name.len() && suffix.typ() == Some(psl::Type::Icann)
}
