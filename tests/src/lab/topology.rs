//! The lab's map: two customers and the internet, joined by the provider's edge.
//!
//! ```text
//! school    up0 ──── school0    ┐
//!                               ├ edge ── internet0 ──── up0  internet
//! neighbour up0 ──── neighbour0 ┘
//! ```
//!
//! The filter is attached to the edge's ends of the two customers' links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use super::device;
use super::namespace::Namespace;

/// The school's client.
pub const SCHOOL4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The school's client.
pub const SCHOOL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 2);
/// Prefixes to enrol for the school.
pub const SCHOOL_PREFIXES: [&str; 2] = ["192.0.2.0/28", "2001:db8:100::/48"];
/// The neighbour's client, of no organisation.
pub const NEIGHBOUR4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 18);
/// The neighbour's client, of no organisation.
pub const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x200, 0, 0, 0, 0, 2);
/// The servers' address.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The servers' address.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10);
/// The same servers, reached from both customers by a route whose MTU of 120 bytes makes the
/// client's kernel send segments of 68 bytes: a real client's ClientHello in many segments.
pub const NARROW4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
/// The same servers, at an address for a registry to list.
pub const LISTED4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// The same servers, at an address inside [`LISTED_PREFIX`].
pub const LISTED_NET4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 130);
/// The same servers, at an address for a registry to list.
pub const LISTED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, 1);
/// A prefix for a registry to list.
pub const LISTED_PREFIX: &str = "203.0.113.128/27";

/// The edge's end of the school's link.
pub const EDGE_SCHOOL: &str = "school0";
/// The edge's end of the neighbour's link.
pub const EDGE_NEIGHBOUR: &str = "neighbour0";
/// The edge's end of the internet's link.
pub const EDGE_INTERNET: &str = "internet0";
/// The other end of each link.
pub const UPLINK: &str = "up0";

/// The four namespaces, with links, addresses and routes; removed on drop.
#[derive(Debug)]
pub struct Topology {
    /// Namespace of the enrolled school.
    pub school: Namespace,
    /// Namespace of a customer who is not enrolled.
    pub neighbour: Namespace,
    /// The provider's router.
    pub edge: Namespace,
    /// Where the servers are.
    pub internet: Namespace,
    // The empty programs by which the customers' ends take what the edge sends by XDP_TX.
    _pass: [OwnedFd; 2],
}

impl Topology {
    /// Makes the namespaces and everything in them.
    ///
    /// # Errors
    /// `ip` is missing or refuses, or this process has not the right to.
    pub fn new() -> anyhow::Result<Topology> {
        let school = customer("school")?;
        let neighbour = customer("neighbour")?;
        let edge = router()?;
        let internet = customer("internet")?;
        join(
            &school,
            &edge,
            EDGE_SCHOOL,
            ["192.0.2.1/28", "2001:db8:100::1/64"],
        )?;
        join(
            &neighbour,
            &edge,
            EDGE_NEIGHBOUR,
            ["192.0.2.17/28", "2001:db8:200::1/64"],
        )?;
        join(
            &internet,
            &edge,
            EDGE_INTERNET,
            ["198.51.100.1/24", "2001:db8:ffff::1/64"],
        )?;
        address(&school, &[format!("{SCHOOL4}/28"), format!("{SCHOOL6}/64")])?;
        address(
            &neighbour,
            &[format!("{NEIGHBOUR4}/28"), format!("{NEIGHBOUR6}/64")],
        )?;
        address(
            &internet,
            &[
                format!("{SERVER4}/24"),
                format!("{NARROW4}/24"),
                format!("{LISTED4}/32"),
                format!("{LISTED_NET4}/32"),
                format!("{SERVER6}/64"),
                format!("{LISTED6}/128"),
            ],
        )?;
        default_routes(&school, "192.0.2.1", "2001:db8:100::1")?;
        default_routes(&neighbour, "192.0.2.17", "2001:db8:200::1")?;
        default_routes(&internet, "198.51.100.1", "2001:db8:ffff::1")?;
        school.ip(&format!("route add {NARROW4} via 192.0.2.1 mtu lock 120"))?;
        neighbour.ip(&format!("route add {NARROW4} via 192.0.2.17 mtu lock 120"))?;
        edge.ip(&format!("route add 203.0.113.0/24 via {SERVER4}"))?;
        edge.ip(&format!("route add 2001:db8:dead::/48 via {SERVER6}"))?;
        let pass = [
            device::attach_pass(&school, UPLINK)?,
            device::attach_pass(&neighbour, UPLINK)?,
        ];
        Ok(Topology {
            school,
            neighbour,
            edge,
            internet,
            _pass: pass,
        })
    }

    /// The servers' address of the family.
    #[must_use]
    pub fn server(ipv6: bool) -> IpAddr {
        if ipv6 { SERVER6.into() } else { SERVER4.into() }
    }
}

/// A namespace whose IPv6 addresses can be used at once.
fn customer(role: &str) -> anyhow::Result<Namespace> {
    let namespace = Namespace::new(role)?;
    // Addresses here cannot collide, and waiting for the proof takes seconds.
    namespace.sysctl("ipv6/conf/all/accept_dad", "0")?;
    namespace.sysctl("ipv6/conf/default/accept_dad", "0")?;
    Ok(namespace)
}

fn router() -> anyhow::Result<Namespace> {
    let edge = customer("edge")?;
    edge.sysctl("ipv4/ip_forward", "1")?;
    edge.sysctl("ipv6/conf/all/forwarding", "1")?;
    Ok(edge)
}

/// Lays a link between `namespace` and the edge, and gives the edge's end its addresses.
fn join(
    namespace: &Namespace,
    edge: &Namespace,
    edge_end: &str,
    addresses: [&str; 2],
) -> anyhow::Result<()> {
    let (inner, outer) = (namespace.name(), edge.name());
    namespace.ip(&format!(
        "link add {UPLINK} netns {inner} type veth peer name {edge_end} netns {outer}"
    ))?;
    device::transmit_checksums_in_software(namespace, UPLINK)?;
    for end in addresses {
        edge.ip(&format!("addr add {end} dev {edge_end}"))?;
    }
    edge.ip(&format!("link set {edge_end} up"))?;
    namespace.ip(&format!("link set {UPLINK} up"))
}

fn address(namespace: &Namespace, addresses: &[String]) -> anyhow::Result<()> {
    addresses
        .iter()
        .try_for_each(|a| namespace.ip(&format!("addr add {a} dev {UPLINK}")))
}

fn default_routes(namespace: &Namespace, ipv4: &str, ipv6: &str) -> anyhow::Result<()> {
    namespace.ip(&format!("route add default via {ipv4}"))?;
    namespace.ip(&format!("-6 route add default via {ipv6}"))
}
