//! `/etc/hosts` as a block list: an address that leads nowhere, and the names that are to lead there.

use std::net::IpAddr;

use super::{Rule, Rules, Scope, check_name, leads_nowhere, without_comment};
use crate::normalise::Refusal;

/// Names that such files give the machine itself and its network: no entries.
const OWN: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
];

/// The rules of a line: `ADDRESS NAME [NAME ...] [# comment]`.
///
/// # Errors
/// Why none of it is applied: another address than one that leads nowhere is an answer, not a block.
pub fn rules(text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    let text = without_comment(text);
    let mut words = text.split_ascii_whitespace();
    let Some(first) = words.next() else {
        return Ok(());
    };
    let plain = first.split_once('%').map_or(first, |(address, _)| address);
    let address: IpAddr = plain.parse().or(Err(Refusal::Syntax))?;
    let mut names = words.clone().peekable();
    if names.peek().is_none() {
        return Err(Refusal::Syntax);
    }
    let listed = || words.clone().filter(|name| !is_own(name));
    if listed().next().is_none() {
        return Ok(());
    }
    if !leads_nowhere(address) {
        return Err(Refusal::Rewrite);
    }
    listed().try_for_each(check_name)?;
    for name in listed() {
        each(Rule::entry(name, Scope::Bare));
    }
    Ok(())
}

fn is_own(name: &str) -> bool {
    name == "0.0.0.0"
        || name.eq_ignore_ascii_case("ip6-allhosts")
        || OWN.iter().any(|own| own.eq_ignore_ascii_case(name))
}
