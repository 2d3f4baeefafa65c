//! Why is this blocked? The stages in their order, every entry that matches, and the one that wins,
//! by the same functions as the data path.

pub mod dns;
mod when;

use std::net::IpAddr;

use filter_common::abi::{POLICY_ALLOW_ONLY, Policy};
use filter_common::limits::GRANT_SECONDS_MAX;
use filter_common::reason::Reason;
use filter_common::rule::{Best, CATEGORY_NONE, Decision, Moment, Step, decide, judge_entry};
use filter_common::verdict::Verdict;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::compile::nets_around;
use crate::config::{Config, Organisation, Quic};
use crate::entries::{Book, Hit, Origin, deciding};
use crate::normalise::{self, Accept, Guards, Subject};
use crate::policy::policy;
use crate::schedule;
use crate::walk::{self, Link, Met, Place};

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
    link: Link,
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
    let links: Vec<Link> = probes.iter().map(|probe| probe.link).collect();
    let (best, mut winner) = consider(&links, &policy);
    let mut decision = decide(&best, &policy, bypass.is_some(), moment);
    notes.extend(
        bypass
            .as_ref()
            .map(|(id, bypass)| when::bypass_note(id, bypass, organisation)),
    );
    if let Some(at) = walk::stopped_endpoint(&links, &policy).filter(|_| bypass.is_none()) {
        winner = Some(at);
        decision.reason = Some(Reason::BlockEncryptedDns);
        decision.category = CATEGORY_NONE;
        notes.push("plain DNS to this address, on port 53, is judged by the name that is asked for, and ping goes on".to_owned());
    } else if decision.reason.is_none() && moment as u8 == Moment::Address as u8 {
        decision = decide(&best, &policy, bypass.is_some(), Moment::Nameless);
        notes.push("no entry of this address decides: the flow's server name does, and `explain NAME --address ADDRESS` shows both".to_owned());
    }
    if probes.iter().any(|probe| probe.link.len == 0) {
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
            let met = walk::walk(&book.compiled.desired, seed, subject);
            probes.extend(found(book, met, None));
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
            let met = walk::walk(&book.compiled.desired, seed, subject);
            probes.extend(found(book, met, None));
            (format!("http://{host}{path}"), probes, Moment::Name, notes)
        }
    }
}

/// The entries on the way with those of the lists behind them.
fn found(book: &Book<'_>, met: Vec<Met>, address: Option<IpAddr>) -> Vec<Probe> {
    let desired = &book.compiled.desired;
    let probe = |met: Met| {
        let hits = match (met.place, address) {
            (Place::Key(key), _) => book.of_key(key, !met.whole),
            (Place::Net(_), Some(address)) => {
                let around = nets_around(desired, IpNet::from(address)).into_iter();
                around.flat_map(|(net, _, _)| book.of_net(net)).collect()
            }
            (Place::Net(net), None) => book.of_net(net),
        };
        Probe {
            link: met.link(&desired.classes),
            subject: met.subject,
            hits,
        }
    };
    met.into_iter().map(probe).collect()
}

fn address_probes(book: &Book<'_>, seed: u64, address: IpAddr) -> Vec<Probe> {
    let met = walk::addresses(&book.compiled.desired, seed, address);
    found(book, met, Some(address))
}

/// Runs the probes through the data path's rule; the second value is the probe that decides.
fn consider(links: &[Link], policy: &Policy) -> (Best, Option<usize>) {
    let best = walk::best(links, policy);
    let decisive = decide(&best, policy, false, Moment::Nameless).entry;
    let winner = usize::try_from(decisive)
        .ok()
        .and_then(|entry| entry.checked_sub(1));
    (best, winner)
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
