//! What DNS says of a name in an organisation: the data path's own decisions, in words.

use filter_common::abi::{ENGINES_MAX, LOCAL_ENGINE_SHIFT, POLICY_DNS_NXDOMAIN, Policy};
use filter_common::dns::{TYPE_A, TYPE_AAAA, TYPE_HTTPS, answer_row, exists, form};
use filter_common::reason::{FIRST_ANSWERED, FIRST_NOT_PASS, Reason};
use filter_common::rule::{Moment, decide};
use serde::{Deserialize, Serialize};

use super::Probe;
use crate::desired::PortalAddresses;
use crate::entries::Book;
use crate::walk::{Link, best};

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
pub(super) fn says(book: &Book<'_>, probes: &[Probe], policy: &Policy) -> Vec<Says> {
    let desired = &book.compiled.desired;
    let links = probes.iter().map(|probe| probe.link);
    let named: Vec<Link> = links.filter(|link| link.len != 0).collect();
    let engine = engine(&named);
    let safe = (desired.safe_search.get(&answer_row(engine, policy.flags))).copied();
    let told = book.config.engines.iter();
    let told = told.filter(|known| book.numbers.engine(&known.id) == Some(engine));
    let told = told
        .map(|known| format!("safe search of {}", known.name))
        .next();
    let best = best(&named, policy);
    let decided = decide(&best, policy, false, Moment::Name).reason;
    let reason = decided.unwrap_or(Reason::PassDnsName).number();
    let mut says: Vec<Says> = Vec::new();
    for (types, kind) in TYPES {
        let reason = form(reason, kind, policy.flags, engine);
        let answer = if reason == Reason::PassSafeSearch.number() {
            address(
                safe.unwrap_or_default(),
                kind,
                told.as_deref().unwrap_or_default(),
            )
        } else {
            answer(reason, kind, policy, desired.portal)
        };
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
    let none = PortalAddresses::default();
    address(if stopped { portal } else { none }, kind, "the portal")
}

/// One of these addresses, with whose it is.
fn address(addresses: PortalAddresses, kind: u32, whose: &str) -> String {
    let address = match kind {
        TYPE_A => addresses.v4.map(|v4| v4.to_string()),
        TYPE_AAAA => addresses.v6.map(|v6| v6.to_string()),
        _ => None,
    };
    address.map_or_else(
        || "no record".to_owned(),
        |address| format!("{address} ({whose})"),
    )
}

/// Number of the search engine that the name is of, or 0.
fn engine(named: &[Link]) -> u32 {
    let local = named
        .iter()
        .filter_map(|link| link.exact)
        .map(|tiers| tiers.local);
    let number = local.map(|local| local >> LOCAL_ENGINE_SHIFT & u64::from(ENGINES_MAX));
    u32::try_from(number.max().unwrap_or(0)).unwrap_or(0)
}
