//! DNS rules of AdGuard (the DNS part of Adblock syntax): `||name^` and its kin, exceptions, modifiers, and
//! lines of `/etc/hosts` among them.

use super::{Effect, Reach, Rule, Rules, Scope, check_name, hosts, without_comment};
use crate::normalise::Refusal;

/// Marks of rules for the contents of pages.
const COSMETIC: [&str; 7] = ["##", "#@#", "#?#", "#$#", "#%#", "$$", "$@$"];

/// The rules of a line.
///
/// # Errors
/// Why none of it is applied.
pub fn rules(text: &str, each: Rules<'_>) -> Result<(), Refusal> {
    let header = text.starts_with('[') && text.ends_with(']');
    if text.is_empty() || text.starts_with(['!', '#']) || header {
        return Ok(());
    }
    if COSMETIC.iter().any(|mark| text.contains(mark)) {
        return Err(Refusal::Cosmetic);
    }
    let bare = text.strip_prefix("@@");
    let exception = bare.is_some();
    let rest = bare.unwrap_or(text);
    if rest.starts_with('/') && (rest.ends_with('/') || rest.contains("/$")) {
        return Err(Refusal::Expression);
    }
    let (pattern, modifiers) = match rest.split_once('$') {
        Some((pattern, modifiers)) => (pattern, Modifiers::of(modifiers)?),
        None => (without_comment(rest), Modifiers::default()),
    };
    if pattern.contains([' ', '\t']) {
        let plain = !exception && modifiers == Modifiers::default();
        return if plain {
            hosts::rules(pattern, each)
        } else {
            Err(Refusal::Syntax)
        };
    }
    let effect = match (exception, modifiers.taken_back) {
        (false, false) => Effect::Entry,
        (true, false) => Effect::Exception(Reach::Covered),
        (false, true) => Effect::Exception(Reach::Rule),
        (true, true) => return Err(Refusal::BadFilter),
    };
    let (subject, scope) = scope(pattern)?;
    each(Rule {
        subject,
        scope,
        effect,
        important: modifiers.important,
        yields: false,
    });
    Ok(())
}

/// The modifiers that change nothing of what a rule means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modifiers {
    important: bool,
    /// `badfilter`: the rule takes back the same rule without it.
    taken_back: bool,
}

impl Modifiers {
    fn of(text: &str) -> Result<Modifiers, Refusal> {
        let mut modifiers = Modifiers::default();
        for modifier in text.split(',') {
            let modifier = modifier.trim_ascii();
            let word = modifier.split_once('=').map_or(modifier, |(word, _)| word);
            match word {
                "important" => modifiers.important = true,
                "badfilter" => modifiers.taken_back = true,
                "client" | "ctag" => return Err(Refusal::Client),
                "dnstype" => return Err(Refusal::RecordTypes),
                "denyallow" => return Err(Refusal::DenyAllow),
                "dnsrewrite" => return Err(Refusal::Rewrite),
                _ => return Err(Refusal::Modifier),
            }
        }
        Ok(modifiers)
    }
}

/// The name in a pattern, and what it means.
fn scope(pattern: &str) -> Result<(&str, Scope), Refusal> {
    if pattern
        .bytes()
        .all(|byte| matches!(byte, b'*' | b'|' | b'^'))
    {
        return Err(Refusal::Blanket);
    }
    let ended = pattern.strip_suffix('|').unwrap_or(pattern);
    let ended = ended.strip_suffix('^').unwrap_or(ended);
    let has_end = ended.len() < pattern.len();
    let (name, scope) = if let Some(name) = ended.strip_prefix("||") {
        match name.strip_prefix("*.") {
            Some(name) => (name, Scope::Below),
            None => (name, Scope::Suffix),
        }
    } else if let Some(name) = ended.strip_prefix('|') {
        (name, Scope::Exact)
    } else {
        (ended, Scope::Bare)
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if !is_address {
        check_name(name)?;
    }
    match (scope, has_end) {
        (Scope::Bare, true) | (Scope::Suffix | Scope::Exact | Scope::Below, false) => {
            Err(Refusal::OpenEnd)
        }
        // A word alone is looked for anywhere in a name.
        (Scope::Bare, false) if !name.contains('.') && !is_address => Err(Refusal::Keyword),
        // A dot in front does not make a plain line a suffix here.
        _ if name.starts_with('.') => Err(Refusal::OpenEnd),
        _ => Ok((name, scope)),
    }
}
