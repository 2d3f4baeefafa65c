//! A profile compiled into the masks that the kernel reads. Pure.

use std::net::IpAddr;

use filter_common::abi::{
    POLICY_ALLOW_ONLY, POLICY_DNS_NXDOMAIN, POLICY_QUIC_ALLOW, POLICY_QUIC_INSPECT, Policy,
};
use filter_common::verdict::Action;

use crate::categories::Categories;
use crate::config::{Config, PORTAL, Profile, Quic};
use crate::desired::PortalAddresses;
use crate::numbers::Numbers;

/// The policy of a profile.
#[must_use]
pub fn policy(config: &Config, numbers: &Numbers, profile: &Profile) -> Policy {
    let categories: &Categories = &config.categories;
    let locals = |lists: &[usize]| {
        let ids = lists.iter().filter_map(|at| config.registries.get(*at));
        ids.filter_map(|registry| numbers.local(&registry.id))
            .fold(0, |mask, number| mask | 1 << number)
    };
    // Without a portal a name that leads to it leads nowhere.
    let nxdomain = profile.nxdomain || portal(config) == PortalAddresses::default();
    Policy {
        mandatory: categories.mask(|category| category.mandatory),
        local_allow: locals(&profile.allow),
        local_deny: locals(&profile.deny),
        block: profile.block,
        age: categories.mask(|category| category.age > profile.age),
        warn: profile.warn,
        suspicious: if profile.suspicious { u64::MAX } else { 0 },
        flags: (u32::from(profile.allow_only) * POLICY_ALLOW_ONLY)
            | (u32::from(nxdomain) * POLICY_DNS_NXDOMAIN)
            | quic(profile.quic),
        action: if profile.reset {
            Action::Reset as u32
        } else {
            Action::Drop as u32
        },
    }
}

/// `Policy::flags` of what becomes of QUIC.
#[must_use]
pub fn quic(quic: Quic) -> u32 {
    match quic {
        Quic::Inspect => POLICY_QUIC_INSPECT,
        Quic::Fallback => 0,
        Quic::Allow => POLICY_QUIC_ALLOW,
    }
}

/// Where forbidden names lead: the first address of each family that is named as the portal's.
#[must_use]
pub fn portal(config: &Config) -> PortalAddresses {
    let own = config.infrastructure.iter();
    let addresses = own.filter(|own| own.role == PORTAL).map(|own| own.address);
    let mut portal = PortalAddresses::default();
    for address in addresses {
        match address {
            IpAddr::V4(v4) => portal.v4 = portal.v4.or(Some(v4)),
            IpAddr::V6(v6) => portal.v6 = portal.v6.or(Some(v6)),
        }
    }
    portal
}
