//! Options of unbound: `local-zone: "name." TYPE`, and `local-data` that leads nowhere.

use std::net::IpAddr;

use super::{Effect, Reach, Rule, Rules, Scope, check_name, leads_nowhere, without_comment};
use crate::normalise::Refusal;

/// The rules of a line.
///
/// # Errors
/// Why none of it is applied.
pub fn rules(text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    let text = without_comment(text);
    if text.is_empty() {
        return Ok(());
    }
    let (key, value) = text.split_once(':').ok_or(Refusal::Syntax)?;
    let value = value.trim_ascii();
    match key.trim_ascii() {
        "server" if value.is_empty() => Ok(()),
        "local-zone" => zone(value, each),
        "local-data" => data(value, each),
        "local-zone-tag" | "local-zone-override" => Err(Refusal::Client),
        "include" | "include-toplevel" => Err(Refusal::Include),
        _ => Err(Refusal::NotBlocking),
    }
}

/// `"name." TYPE`
fn zone(value: &str, each: Rules<'_>) -> Result<(), Refusal> {
    let mut words = value.split_ascii_whitespace().map(unquoted);
    let (Some(name), Some(kind), None) = (words.next(), words.next(), words.next()) else {
        return Err(Refusal::Syntax);
    };
    // Types without "always" answer from the data of the zone, where there is some.
    let yields = matches!(kind, "refuse" | "deny" | "static" | "inform_deny");
    let scope = match kind {
        "always_nxdomain" | "always_null" | "always_nodata" | "always_refuse" | "always_deny" => {
            Scope::Bare
        }
        _ if yields => Scope::Bare,
        // Every name below is answered with the data of the zone's own name: a block where that is one.
        "redirect" => Scope::Below,
        "block_a" => return Err(Refusal::RecordTypes),
        "transparent" | "typetransparent" | "always_transparent" | "inform" | "nodefault" => {
            checked(name)?;
            each(Rule::open(name));
            return Ok(());
        }
        "block_transparent" | "inform_redirect" | "noview" | "truncate" => {
            return Err(Refusal::NotBlocking);
        }
        _ => return Err(Refusal::Syntax),
    };
    checked(name)?;
    each(Rule {
        yields,
        ..Rule::entry(name, scope)
    });
    Ok(())
}

/// `"name. [TTL] [IN] A 0.0.0.0"`
fn data(value: &str, each: Rules<'_>) -> Result<(), Refusal> {
    let mut words = unquoted(value).split_ascii_whitespace();
    let name = words.next().ok_or(Refusal::Syntax)?;
    let is_prelude = |word: &&str| {
        word.bytes().all(|byte| byte.is_ascii_digit()) || word.eq_ignore_ascii_case("IN")
    };
    let mut words = words.skip_while(is_prelude);
    let (Some(kind), Some(target)) = (words.next(), words.next()) else {
        return Err(Refusal::Syntax);
    };
    let is_address = kind.eq_ignore_ascii_case("A") || kind.eq_ignore_ascii_case("AAAA");
    let nowhere = target.parse::<IpAddr>().is_ok_and(leads_nowhere);
    checked(name)?;
    if !is_address || !nowhere {
        let effect = Effect::Exception(Reach::Above);
        each(Rule {
            effect,
            ..Rule::entry(name, Scope::Exact)
        });
        return Err(Refusal::Rewrite);
    }
    each(Rule::entry(name, Scope::Exact));
    Ok(())
}

fn checked(name: &str) -> Result<(), Refusal> {
    if name == "." {
        return Err(Refusal::Blanket);
    }
    check_name(name)
}

fn unquoted(word: &str) -> &str {
    let inner = |quote| word.strip_prefix(quote)?.strip_suffix(quote);
    inner('"')
        .or_else(|| inner('\''))
        .unwrap_or(word)
        .trim_ascii()
}
