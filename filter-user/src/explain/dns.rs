//! What DNS says of a name in an organisation: the data path's own decisions, in words.

use filter_common::abi::{POLICY_DNS_NXDOMAIN, Policy};
use filter_common::dns::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, exists, form};
use filter_common::reason::{FIRST_ANSWERED, FIRST_NOT_PASS, Reason};
use filter_common::rule::{Best, Moment, decide, judge_entry};
use serde::{Deserialize, Serialize};

use super::Probe;
use crate::desired::PortalAddresses;

/// What is said to queries of some types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Says {
    /// The types.
    pub types: String,
    /// The answer.
    pub answer: String,
    /// The counted reason.
    pub reason: String,
}

/// MX stands for every type that nothing is said of.
const TYPES: [(&str, u32); 4] = [
    ("A", TYPE_A),
    ("AAAA", TYPE_AAAA),
    ("HTTPS, SVCB", TYPE_HTTPS),
    ("other", 15),
];

/// What is said of the name that was looked up, without a grant. Which resolver is asked says nothing of the
/// name.
pub(super) fn says(probes: &[Probe], policy: &Policy, portal: PortalAddresses) -> Vec<Says> {
    let mut best = Best::NONE;
    for probe in probes.iter().filter(|probe| probe.len != 0) {
        for tiers in std::iter::once(&probe.suffix).chain(&probe.exact) {
            best.consider(judge_entry(tiers, policy), 1, probe.len);
        }
    }
    let decided = decide(&best, policy, false, Moment::Name).reason;
    let reason = decided.unwrap_or(Reason::PassDnsName).number();
    let mut says: Vec<Says> = Vec::new();
    for (types, kind) in TYPES {
        let reason = form(reason, kind, policy.flags);
        let answer = answer(reason, kind, policy, portal);
        let label = Reason::from_number(reason).map_or("", Reason::label);
        match says.last_mut() {
            Some(last) if last.answer == answer && last.reason == label => {
                last.types = format!("{}, {types}", last.types);
            }
            _ => says.push(Says {
                types: types.to_owned(),
                answer,
                reason: label.to_owned(),
            }),
        }
    }
    says
}

fn answer(reason: u32, kind: u32, policy: &Policy, portal: PortalAddresses) -> String {
    if reason < FIRST_ANSWERED {
        return "goes to the resolver".to_owned();
    }
    let stopped = reason >= FIRST_NOT_PASS;
    if !exists(reason) || stopped && policy.flags & POLICY_DNS_NXDOMAIN != 0 {
        return "no such name".to_owned();
    }
    let address = match kind {
        TYPE_A if stopped => portal.v4.map(|v4| v4.to_string()),
        TYPE_AAAA if stopped => portal.v6.map(|v6| v6.to_string()),
        _ => None,
    };
    address.map_or_else(
        || "no record".to_owned(),
        |address| format!("{address} (the portal)"),
    )
}
