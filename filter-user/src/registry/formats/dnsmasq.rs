//! Options of dnsmasq: `address=/name/#`, `server=/name/`, `local=/name/`, each with several names if it likes.

use std::net::IpAddr;

use super::{Rule, Rules, Scope, check_name, leads_nowhere, without_comment};
use crate::normalise::Refusal;

/// The rules of a line.
///
/// # Errors
/// Why none of it is applied: an address is an answer, a set is no block.
pub fn rules(text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    let text = without_comment(text);
    if text.is_empty() {
        return Ok(());
    }
    let (key, value) = text.split_once('=').ok_or(Refusal::NotBlocking)?;
    let value = value.trim_ascii();
    match key.trim_ascii() {
        "address" | "server" | "local" => {}
        "conf-file" | "conf-dir" | "servers-file" | "addn-hosts" | "hostsdir" => {
            return Err(Refusal::Include);
        }
        _ => return Err(Refusal::NotBlocking),
    }
    let Some(names) = value.strip_prefix('/') else {
        return Err(Refusal::NotBlocking);
    };
    let (names, target) = names.rsplit_once('/').ok_or(Refusal::Syntax)?;
    let blocks = is_block(key.trim_ascii(), target);
    for name in names.split('/') {
        if matches!(name, "" | "#" | "*") {
            return Err(Refusal::Blanket);
        }
        check_name(name)?;
    }
    for name in names.split('/') {
        each(if blocks == Ok(true) {
            Rule::entry(name, Scope::Bare)
        } else {
            Rule::open(name)
        });
    }
    blocks.map(|_| ())
}

/// Whether what stands behind the names makes the option a block; otherwise it leaves them open.
fn is_block(key: &str, target: &str) -> Result<bool, Refusal> {
    if target.is_empty() {
        return Ok(true);
    }
    if key != "address" {
        return Ok(false);
    }
    match target.parse::<IpAddr>() {
        _ if target == "#" => Ok(true),
        Ok(address) if leads_nowhere(address) => Ok(true),
        Ok(_) => Err(Refusal::Rewrite),
        Err(_) => Err(Refusal::Syntax),
    }
}
