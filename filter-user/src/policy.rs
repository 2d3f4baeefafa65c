//! A profile compiled into the masks that the kernel reads. Pure.

use std::net::IpAddr;

use filter_common::abi::{
    LOCAL_CANARY, LOCAL_ECH, LOCAL_ENCRYPTED_DNS, POLICY_ALLOW_ONLY, POLICY_DNS_NXDOMAIN,
    POLICY_ECH_WITHHELD, POLICY_ENCRYPTED_DNS, POLICY_QUIC_ALLOW, POLICY_QUIC_INSPECT,
    POLICY_SAFE_MODERATE, POLICY_SAFE_SEARCH, Policy,
};
use filter_common::verdict::Action;

use crate::categories::Categories;
use crate::config::{Config, PORTAL, Profile, Quic};
use crate::desired::{PageText, PortalAddresses};
use crate::numbers::Numbers;
use crate::safe_search::SafeSearch;

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
    let encrypted_dns = if profile.encrypted_dns {
        LOCAL_ENCRYPTED_DNS | LOCAL_CANARY
    } else {
        0
    };
    let ech = if profile.withhold_ech { LOCAL_ECH } else { 0 };
    Policy {
        mandatory: categories.mask(|category| category.mandatory),
        local_allow: locals(&profile.allow),
        local_deny: locals(&profile.deny) | encrypted_dns | ech,
        block: profile.block,
        age: categories.mask(|category| category.age > profile.age),
        warn: profile.warn,
        suspicious: if profile.suspicious { u64::MAX } else { 0 },
        flags: (u32::from(profile.allow_only) * POLICY_ALLOW_ONLY)
            | (u32::from(nxdomain) * POLICY_DNS_NXDOMAIN)
            | quic(profile.quic)
            | (u32::from(profile.encrypted_dns) * POLICY_ENCRYPTED_DNS)
            | (u32::from(profile.withhold_ech) * POLICY_ECH_WITHHELD)
            | match profile.safe_search {
                SafeSearch::Off => 0,
                SafeSearch::Moderate => POLICY_SAFE_SEARCH | POLICY_SAFE_MODERATE,
                SafeSearch::Strict => POLICY_SAFE_SEARCH,
            },
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

/// The answer to a request that is blocked or warned of: a redirect to the portal, by its name where it
/// has one.
#[must_use]
pub fn page(config: &Config) -> PageText {
    let named = config.portal.as_ref().and_then(|own| own.host.clone());
    let addresses = portal(config);
    let four = addresses.v4.map(|v4| v4.to_string());
    let six = addresses.v6.map(|v6| format!("[{v6}]"));
    let anywhere = addresses != PortalAddresses::default();
    PageText {
        host: named.filter(|_| anywhere).or(four).or(six),
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
