//! Why is this blocked? The stages in their order, every entry that matches, and the one that wins,
//! by the same functions as the data path.

pub mod dns;
mod when;

use std::net::IpAddr;

use filter_common::abi::{
    Class, LOCAL_ENDPOINT, POLICY_ALLOW_ONLY, POLICY_ENCRYPTED_DNS, Policy, Tiers,
};
use filter_common::limits::GRANT_SECONDS_MAX;
use filter_common::lookup::url_len;
use filter_common::name::name_key;
use filter_common::reason::Reason;
use filter_common::rule::{Best, CATEGORY_NONE, Decision, Moment, Step, decide, judge_entry};
use filter_common::url;
use filter_common::verdict::Verdict;
use serde::{Deserialize, Serialize};

use crate::compile::nets_around;
use crate::config::{Config, Organisation, Quic};
use crate::desired::address_key;
use crate::entries::{Book, Hit, Origin, deciding};
use crate::normalise::{self, Accept, Guards, Subject};
use crate::policy::policy;
use crate::schedule;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// A name or an address.
    pub subject: String,
    /// Id of the organisation.
    pub org: String,
    /// Destination address beside a name, where it is known.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// When: RFC 3339, or date and time on the organisation's wall; none: now.
    #[serde(default)]
    pub at: Option<String>,
}

/// One stage of the precedence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its step in the precedence.
    pub step: u32,
    /// What it asks.
    pub name: String,
    /// What it found.
    pub outcome: String,
    /// Whether it decided.
    pub decides: bool,
}

/// An entry that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matching {
    /// The suffix, address or prefix that matches.
    pub subject: String,
    /// Where it stands.
    #[serde(flatten)]
    pub origin: Origin,
    /// Its step under the organisation's policy.
    pub step: u32,
    /// Whether it is the one that decides.
    pub wins: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Canonical subject.
    pub subject: String,
    /// Organisation.
    pub org: String,
    /// The profile in force.
    pub profile: String,
    /// By what it is in force: the organisation's own, a range of its schedule, or a holiday.
    #[serde(default)]
    pub by: String,
    /// The moment, on the organisation's wall.
    #[serde(default)]
    pub at: String,
    /// `pass`, `block` or `warn`.
    pub verdict: String,
    /// Reason; none if nothing decides and the packet's own nature does.
    pub reason: Option<String>,
    /// Category of the decision.
    pub category: Option<String>,
    /// `pass`, `drop` or `reset`, for a TCP flow.
    pub action: String,
    /// The stages, in the order of precedence.
    pub stages: Vec<Stage>,
    /// All matching entries, from short to long subjects.
    pub entries: Vec<Matching>,
    /// What DNS says of the name, by the types that are asked for; empty for an address.
    #[serde(default)]
    pub dns: Vec<dns::Says>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

impl Explanation {
    /// Whether access is refused.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.verdict == Verdict::Block.label()
    }
}

/// One subject that matched: what the data path meets at one probe.
struct Probe {
    subject: String,
    /// What the subject itself is listed for; `None` if it is only a part of the name.
    exact: Option<Tiers>,
    /// What it and everything below it is listed for.
    suffix: Tiers,
    /// As the data path counts: 0 for an address, else the length with the leading dot.
    len: u32,
    hits: Vec<Hit>,
}

/// Explains.
///
/// # Errors
/// What is wrong with the question.
pub fn explain(book: &Book<'_>, seed: u64, question: &Question) -> Result<Explanation, String> {
    let organisation = organisation(book.config, &question.org)?;
    let moment_asked = when::moment(question.at.as_deref(), organisation)?;
    let standing = schedule::of(book.config, organisation, moment_asked);
    let profile = (book.config.profiles).get(standing.profile.unwrap_or(organisation.profile));
    let profile = profile.ok_or_else(|| "the organisation has no profile".to_owned())?;
    let bypass = book.bypasses.of(organisation, moment_asked);
    let policy = policy(book.config, book.numbers, profile);
    let subject = subject(&question.subject)?;
    let (canonical, probes, moment, mut notes) = probes(book, seed, &subject, question.address);
    let (best, mut winner) = consider(&probes, &policy);
    let mut decision = decide(&best, &policy, bypass.is_some(), moment);
    notes.extend(
        bypass
            .as_ref()
            .map(|(id, bypass)| when::bypass_note(id, bypass, organisation)),
    );
    if let Some(at) = stopped_endpoint(&probes, &policy).filter(|_| bypass.is_none()) {
        winner = Some(at);
        decision.reason = Some(Reason::BlockEncryptedDns);
        decision.category = CATEGORY_NONE;
        notes.push("plain DNS to this address, on port 53, is judged by the name that is asked for, and ping goes on".to_owned());
    } else if decision.reason.is_none() && moment as u8 == Moment::Address as u8 {
        decision = decide(&best, &policy, bypass.is_some(), Moment::Nameless);
        notes.push("no entry of this address decides: the flow's server name does, and `explain NAME --address ADDRESS` shows both".to_owned());
    }
    if probes.iter().any(|probe| probe.len == 0) {
        notes.push(
            "an address entry decides on the first packet: allowing a name does not lift it"
                .to_owned(),
        );
    }
    notes.push(quic_note(profile.quic).to_owned());
    if decision.reason == Some(Reason::BlockCanaryName) {
        notes.push("built in, for encrypted_dns = \"block\": devices ask for this name to learn whether they may hide what they ask for".to_owned());
    }
    let verdict = decision
        .reason
        .map_or(Verdict::Pass, |reason| reason.verdict());
    let stops = verdict == Verdict::Block || verdict == Verdict::Warn;
    if stops && book.config.portal.is_some() {
        notes.extend(page_notes(&subject, verdict));
    }
    Ok(Explanation {
        subject: canonical,
        org: organisation.id.clone(),
        profile: profile.id.clone(),
        by: when::by(book.config, organisation, standing),
        at: when::local(moment_asked, organisation),
        verdict: verdict.label().to_owned(),
        reason: decision.reason.map(|reason| reason.label().to_owned()),
        category: book
            .config
            .categories
            .label(decision.category)
            .map(str::to_owned),
        action: action(stops, &policy).to_owned(),
        stages: stages(book, &decision, &best, &policy, stops),
        entries: matching(&probes, &policy, decision.reason, winner),
        dns: if matches!(subject, Subject::Name { .. }) {
            dns::says(book, &probes, &policy)
        } else {
            Vec::new()
        },
        notes,
    })
}

/// The organisation or segment with this id.
fn organisation<'a>(config: &'a Config, id: &str) -> Result<&'a Organisation, String> {
    let Some(organisation) = config.organisation(id) else {
        let ids = config.organisations.iter().map(|org| org.id.as_str());
        let hint = crate::problem::nearest(id, ids);
        let hint = hint
            .map(|id| format!("; did you mean {id}?"))
            .unwrap_or_default();
        return Err(format!("organisation {} is not enrolled{hint}", id));
    };
    Ok(organisation)
}

/// What a person gets to see where there is a portal.
fn page_notes(subject: &Subject<'_>, verdict: Verdict) -> Vec<String> {
    let mut notes = Vec::new();
    if matches!(subject, Subject::Name { .. } | Subject::Url { .. }) {
        notes.push(
            "a request in plain HTTP is answered by a redirect to the portal's page".to_owned(),
        );
    }
    if verdict == Verdict::Warn {
        notes.push(format!(
            "who reads the warning there and goes on gets past for {} minutes (pass_grant); which addresses did so is told nowhere",
            GRANT_SECONDS_MAX / 60
        ));
    }
    notes
}

/// What the profile makes of QUIC.
fn quic_note(quic: Quic) -> &'static str {
    match quic {
        Quic::Inspect => {
            "over QUIC (HTTP/3) the name is read and decided likewise; who is stopped is told to use TCP (quic = \"inspect\")"
        }
        Quic::Fallback => {
            "over QUIC (HTTP/3) the client is told to use TCP, where this is decided (quic = \"fallback\")"
        }
        Quic::Allow => {
            "over QUIC (HTTP/3) names pass unread: only the address is judged (quic = \"allow\")"
        }
    }
}

fn action(stops: bool, policy: &Policy) -> &'static str {
    use filter_common::verdict::Action;
    if stops {
        Action::from_number(policy.action).label()
    } else {
        Action::Pass.label()
    }
}

fn subject(text: &str) -> Result<Subject<'_>, String> {
    match normalise::line(text.as_bytes(), Accept::Mixed, Guards::NONE) {
        Ok(Some(Subject::Net(net))) => Err(format!("{net} is a prefix: ask for one address")),
        Ok(Some(subject)) => Ok(subject),
        Ok(None) => Err("ask for a name or an address".to_owned()),
        Err(refusal) => Err(format!("{text}: {}", refusal.what())),
    }
}

type Probes = (String, Vec<Probe>, Moment, Vec<String>);

/// What the data path looks up, in its order: the address, then the name from its shortest suffix.
fn probes(book: &Book<'_>, seed: u64, subject: &Subject<'_>, address: Option<IpAddr>) -> Probes {
    let mut notes = Vec::new();
    let mut probes = address
        .map(|address| address_probes(book, seed, address))
        .unwrap_or_default();
    match subject {
        Subject::Name { name, suffix } => {
            if *suffix {
                notes.push(format!(
                    "asked for {name} itself: a name below it may meet other entries"
                ));
            }
            if address.is_none() {
                notes.push("the destination's address is not known here: an entry of the address would decide first".to_owned());
            }
            probes.extend(name_probes(book, seed, name));
            (name.clone().into_owned(), probes, Moment::Name, notes)
        }
        Subject::Address(host) => {
            probes.extend(address_probes(book, seed, *host));
            (host.to_string(), probes, Moment::Address, notes)
        }
        Subject::Net(net) => (net.to_string(), probes, Moment::Address, notes),
        Subject::Url { host, path, .. } => {
            notes.push(
                "a path is seen in plain HTTP only: in HTTPS and QUIC the host decides".to_owned(),
            );
            probes.extend(name_probes(book, seed, host));
            probes.extend(url_probes(book, seed, host, path));
            (format!("http://{host}{path}"), probes, Moment::Name, notes)
        }
    }
}

fn class_of_key(book: &Book<'_>, key: u64) -> Option<Class> {
    let desired = &book.compiled.desired;
    let at = desired
        .subjects
        .binary_search_by_key(&key, |subject| subject.key)
        .ok()?;
    let class = desired.subjects.get(at)?.class;
    desired.classes.get(usize::from(class)).copied()
}

fn address_probes(book: &Book<'_>, seed: u64, address: IpAddr) -> Vec<Probe> {
    let desired = &book.compiled.desired;
    let around = nets_around(desired, address);
    let mut probes = Vec::new();
    // The kernel meets the longest prefix, whose class holds those of the prefixes around it.
    if let Some((longest, class, _)) = around.last() {
        let tiers = desired
            .classes
            .get(usize::from(*class))
            .map(|class| class.exact)
            .unwrap_or_default();
        let hits = around
            .iter()
            .flat_map(|(net, _, _)| book.of_net(*net))
            .collect();
        probes.push(Probe {
            subject: longest.to_string(),
            exact: Some(tiers),
            suffix: Tiers::default(),
            len: 0,
            hits,
        });
    }
    let key = address_key(seed, address);
    if let Some(class) = class_of_key(book, key) {
        let hits = book.of_key(key, false);
        probes.push(Probe {
            subject: address.to_string(),
            exact: Some(class.exact),
            suffix: class.suffix,
            len: 0,
            hits,
        });
    }
    probes
}

fn name_probes(book: &Book<'_>, seed: u64, name: &str) -> Vec<Probe> {
    let starts = name
        .char_indices()
        .rev()
        .filter(|(_, letter)| *letter == '.')
        .map(|(at, _)| at + 1);
    let suffixes = starts
        .filter_map(|at| name.get(at..))
        .chain(std::iter::once(name));
    suffixes
        .filter_map(|suffix| {
            let whole = suffix.len() == name.len();
            let key = name_key(seed, suffix.as_bytes())?;
            let class = class_of_key(book, key)?;
            let hits = book.of_key(key, !whole);
            Some(Probe {
                subject: suffix.to_owned(),
                exact: whole.then_some(class.exact),
                suffix: class.suffix,
                len: u32::try_from(suffix.len() + 1).ok()?,
                hits,
            })
        })
        .collect()
}

/// The beginnings of a path, then the path with its query.
fn url_probes(book: &Book<'_>, seed: u64, host: &str, path: &str) -> Vec<Probe> {
    let Some(host_key) = name_key(seed, host.as_bytes()) else {
        return Vec::new();
    };
    let (parts, paths) = url::hashes(seed, path.as_bytes());
    let places = (0..parts).chain([url::PATH_AT, url::FULL_AT]);
    let probe = |place: usize| {
        let key = url::url_key(host_key, *paths.get(place)?);
        let class = class_of_key(book, key)?;
        let whole = place == url::FULL_AT;
        Some(Probe {
            subject: format!("http://{host}{path}"),
            exact: whole.then_some(class.exact),
            suffix: class.suffix,
            len: url_len(place),
            hits: book.of_key(key, !whole),
        })
    };
    places.filter_map(probe).collect()
}

/// Runs the probes through the data path's rule; the second value is the probe that decides.
fn consider(probes: &[Probe], policy: &Policy) -> (Best, Option<usize>) {
    let mut best = Best::NONE;
    for (number, probe) in (1u32..).zip(probes) {
        for tiers in std::iter::once(&probe.suffix).chain(&probe.exact) {
            best.consider(judge_entry(tiers, policy), number, probe.len);
        }
    }
    let decisive = decide(&best, policy, false, Moment::Nameless).entry;
    let winner = usize::try_from(decisive)
        .ok()
        .and_then(|entry| entry.checked_sub(1));
    (best, winner)
}

/// The probe by which a connection to the address is stopped as encrypted DNS: what the data path asks at a
/// SYN or a datagram, where the address has decided nothing by itself (see `filter_common::encrypted`).
fn stopped_endpoint(probes: &[Probe], policy: &Policy) -> Option<usize> {
    let addresses = || {
        probes
            .iter()
            .enumerate()
            .filter(|(_, probe)| probe.len == 0)
    };
    let listed = |probe: &Probe| {
        probe
            .exact
            .is_some_and(|tiers| tiers.local & LOCAL_ENDPOINT != 0)
    };
    let at = addresses().rfind(|(_, probe)| listed(probe))?.0;
    let mut best = Best::NONE;
    for (_, probe) in addresses() {
        for tiers in std::iter::once(&probe.suffix).chain(&probe.exact) {
            best.consider(judge_entry(tiers, policy), 1, 0);
        }
    }
    let decided = decide(&best, policy, false, Moment::Address)
        .reason
        .is_some();
    let allowed = best.step == Step::LocalAllow as u32;
    let blocked = policy.flags & POLICY_ENCRYPTED_DNS != 0;
    (blocked && !allowed && !decided).then_some(at)
}

fn matching(
    probes: &[Probe],
    policy: &Policy,
    reason: Option<Reason>,
    winner: Option<usize>,
) -> Vec<Matching> {
    let mut list = Vec::new();
    for (at, probe) in probes.iter().enumerate() {
        let deciding = if Some(at) == winner {
            deciding(&probe.hits, policy, reason)
        } else {
            None
        };
        list.extend(probe.hits.iter().enumerate().map(|(hit_at, hit)| {
            let subject = hit
                .net
                .map_or_else(|| probe.subject.clone(), |net| net.to_string());
            Matching {
                subject,
                origin: hit.origin.clone(),
                step: judge_entry(&hit.tiers, policy).step,
                wins: Some(hit_at) == deciding,
            }
        }));
    }
    list
}

fn stages(
    book: &Book<'_>,
    decision: &Decision,
    best: &Best,
    policy: &Policy,
    stops: bool,
) -> Vec<Stage> {
    let decided = match decision.reason {
        Some(Reason::BlockAllowOnly) => Step::AllowOnly as u32,
        Some(Reason::BlockEncryptedDns) => Step::LocalDeny as u32,
        Some(Reason::PassBypass) => Step::Bypass as u32,
        Some(_) => best.step,
        None => Step::Pass as u32,
    };
    let category = book
        .config
        .categories
        .label(decision.category)
        .unwrap_or("no category");
    let verb = if stops { "stopped" } else { "passes" };
    let names = [
        (Step::NotEnrolled, "enrolled?", "yes"),
        (
            Step::Infrastructure,
            "the provider's own portal or resolver?",
            "no",
        ),
        (
            Step::Mandatory,
            "unified registry, or a mandatory category?",
            "no",
        ),
        (Step::Bypass, "timed bypass in force?", "no"),
        (Step::LocalAllow, "on an allowed local list?", "no"),
        (
            Step::LocalDeny,
            "on a denied list, or a way to hide names?",
            "no",
        ),
        (Step::Nsor, "in a blocked category?", "no"),
        (Step::Age, "above the age mark?", "no"),
        (
            Step::AllowOnly,
            "allow-only profile?",
            if policy.flags & POLICY_ALLOW_ONLY == 0 {
                "no"
            } else {
                "yes"
            },
        ),
        (Step::Warn, "suspicious, or in a warned category?", "no"),
        (Step::Pass, "nothing forbids it", "passes"),
    ];
    let mut stages = Vec::new();
    for (step, name, otherwise) in names {
        let decides = step as u32 == decided;
        let outcome = if decides && step != Step::Pass {
            format!("yes: {verb} ({category})")
        } else {
            otherwise.to_owned()
        };
        stages.push(Stage {
            step: step as u32,
            name: name.to_owned(),
            outcome,
            decides,
        });
        if decides {
            break;
        }
    }
    stages
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
