//! What is in force, as the portal asks for it: whose address, which entry, why. Nothing is read from
//! files here but the decision behind an entry, by one seek, and nothing but grants is written.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use filter_common::abi::{Class, POLICY_ALLOW_ONLY, Policy};
use filter_common::grant::grant_key;
use filter_common::name::{name_key, org_id_key};
use filter_common::reason::Reason;
use filter_common::rule::{CATEGORY_NONE, Match, Step, judge_entry};
use filter_common::verdict::Verdict;
use ipnet::IpNet;
use jiff::Timestamp;

use crate::categories::Category;
use crate::config::{Config, Tier};
use crate::desired::address_key;
use crate::entries::{Book, Decision, Hit, deciding};
use crate::explain::{Question, explain};
use crate::kernel::Grants;
use crate::kernel::grants::{halves, monotonic_ns};
use crate::load::Everything;
use crate::policy::policy;
use crate::schedule;

const SECOND_NS: u64 = 1_000_000_000;

/// What is in force.
#[derive(Debug)]
pub(crate) struct View {
    everything: Arc<Everything>,
    grants: Grants,
    /// Organisations (their place in the configuration) by their number in the maps.
    numbers: HashMap<u32, usize>,
    /// Organisations by prefix: several where realms share it.
    prefixes: HashMap<IpNet, Vec<usize>>,
    /// Lengths of the prefixes, IPv4 and IPv6 apart.
    lengths: Vec<(bool, u8)>,
    /// Places of the subjects, in the order of their entries.
    by_entry: Vec<u32>,
}

/// Why something is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Unified registry.
    Unified,
    /// Education registry.
    Education,
    /// A local list.
    Local,
    /// A way to hide what is asked for.
    Hiding,
    /// Above the age mark.
    Age,
    /// The profile allows listed destinations only.
    AllowOnly,
    /// A warned category, or not yet reviewed.
    Warned,
    /// Nothing stops it.
    Nothing,
    /// Not known here.
    Unknown,
}

/// What was found of a subject.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) why: Why,
    /// The entry's category.
    pub(super) category: Option<Category>,
    /// The registry of the entry.
    pub(super) tier: Option<Tier>,
    /// The entry, to be told to the provider: list and line.
    pub(super) reference: Option<String>,
    /// By whose decision it is listed.
    pub(super) decision: Option<Decision>,
    /// Its number; 0: none.
    pub(super) entry: u32,
    /// The organisation, where a grant is possible.
    pub(super) may_go_on: Option<usize>,
}

impl Finding {
    pub(super) fn bare(why: Why) -> Finding {
        Finding {
            why,
            category: None,
            tier: None,
            reference: None,
            decision: None,
            entry: 0,
            may_go_on: None,
        }
    }
}

/// What a reason of the data plane says to a person.
pub(super) fn why_of(reason: Option<Reason>) -> Why {
    use Reason as R;
    match reason {
        Some(R::BlockUnifiedAddress | R::BlockUnifiedName) => Why::Unified,
        Some(R::BlockNsorAddress | R::BlockNsorName) => Why::Education,
        Some(R::BlockLocalAddress | R::BlockLocalName) => Why::Local,
        Some(
            R::BlockEncryptedDns | R::BlockEncryptedDnsName | R::BlockCanaryName | R::BlockEchName,
        ) => Why::Hiding,
        Some(R::BlockAgeAddress | R::BlockAgeName) => Why::Age,
        Some(R::BlockAllowOnly) => Why::AllowOnly,
        Some(R::WarnAddress | R::WarnName) => Why::Warned,
        Some(reason) if reason.verdict() == Verdict::Pass => Why::Nothing,
        _ => Why::Unknown,
    }
}

fn why_of_match(found: Match) -> Why {
    match Step::from_number(found.step) {
        Some(Step::Mandatory) if found.nsor_category == CATEGORY_NONE => Why::Unified,
        Some(Step::Mandatory | Step::Nsor) => Why::Education,
        Some(Step::LocalDeny) if found.category == CATEGORY_NONE => Why::Local,
        Some(Step::LocalDeny) => Why::Hiding,
        Some(Step::Age) => Why::Age,
        Some(Step::Warn) => Why::Warned,
        _ => Why::Nothing,
    }
}

impl View {
    /// What `everything` and the kernel's maps hold: organisations' numbers and the grants.
    pub(crate) fn new(
        everything: Arc<Everything>,
        numbers: &[(usize, u32)],
        grants: Grants,
    ) -> View {
        let mut prefixes: HashMap<IpNet, Vec<usize>> = HashMap::new();
        for (at, organisation) in everything.config.organisations.iter().enumerate() {
            for prefix in &organisation.prefixes {
                prefixes.entry(*prefix).or_default().push(at);
            }
        }
        let mut lengths: Vec<(bool, u8)> = prefixes
            .keys()
            .map(|net| (net.addr().is_ipv4(), net.prefix_len()))
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        let subjects = &everything.compiled.desired.subjects;
        let mut by_entry: Vec<u32> = (0..).take(subjects.len()).collect();
        by_entry.sort_by_key(|at| entry_at(&everything, *at));
        View {
            numbers: numbers.iter().map(|(at, number)| (*number, *at)).collect(),
            everything,
            grants,
            prefixes,
            lengths,
            by_entry,
        }
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> &Config {
        &self.everything.config
    }

    fn book(&self) -> Book<'_> {
        Book {
            with_text: false,
            ..self.everything.book()
        }
    }

    /// The organisations that an address belongs to: several where realms share it.
    fn holders(&self, client: IpAddr) -> Vec<usize> {
        let client = client.to_canonical();
        let nets = self.lengths.iter().filter_map(|(four, length)| {
            let net = IpNet::new(client, *length).ok()?;
            (client.is_ipv4() == *four).then(|| net.trunc())
        });
        nets.filter_map(|net| self.prefixes.get(&net))
            .flatten()
            .copied()
            .collect()
    }

    /// The organisation that an address belongs to. Where realms share the address, `number` (of the
    /// maps) tells which; without it nobody can.
    pub(super) fn organisation(&self, client: IpAddr, number: Option<u32>) -> Option<usize> {
        let holders = self.holders(client);
        let told = number.and_then(|number| self.numbers.get(&number).copied());
        match (told, holders.as_slice()) {
            (Some(told), _) if holders.contains(&told) => Some(told),
            (_, [one]) => Some(*one),
            _ => None,
        }
    }

    /// The organisation with this keyed hash, if the address belongs to it.
    pub(super) fn organisation_with_key(&self, client: IpAddr, key: u64) -> Option<usize> {
        let holders = self.holders(client).into_iter();
        let mut same = holders.filter(|at| self.organisation_key(*at) == Some(key));
        same.next()
    }

    /// Number of an organisation in the maps.
    pub(super) fn number(&self, organisation: usize) -> Option<u32> {
        let mut numbers = self.numbers.iter();
        let found = numbers.find(|(_, at)| **at == organisation);
        found.map(|(number, _)| *number)
    }

    fn policy(&self, organisation: Option<usize>) -> Policy {
        let config = self.config();
        let profile = organisation
            .and_then(|at| config.organisations.get(at))
            .and_then(|organisation| {
                let standing = schedule::of(config, organisation, Timestamp::now());
                let profile = standing.profile.unwrap_or(organisation.profile);
                config.profiles.get(profile)
            });
        profile.map_or_else(Policy::default, |profile| {
            policy(config, &self.everything.numbers, profile)
        })
    }

    /// The class of an entry, and where it stands.
    fn entry(&self, entry: u32) -> Option<(Class, Vec<Hit>)> {
        let desired = &self.everything.compiled.desired;
        let class = |number: u16| desired.classes.get(usize::from(number)).copied();
        let order = &self.by_entry;
        let at = order.binary_search_by_key(&entry, |at| entry_at(&self.everything, *at));
        if let Some(at) = at.ok().and_then(|at| order.get(at)) {
            let subject = desired.subjects.get(usize::try_from(*at).ok()?)?;
            return Some((
                class(subject.class)?,
                self.book().of_key(subject.key, false),
            ));
        }
        let net = self.book().net_of(entry)?;
        let number = match net {
            IpNet::V4(net) => desired.nets4.iter().find(|row| row.net == net)?.class,
            IpNet::V6(net) => desired.nets6.iter().find(|row| row.net == net)?.class,
        };
        Some((class(number)?, self.book().of_net(net)))
    }

    /// What the data plane's numbers mean: an entry and a reason, for a client of an organisation.
    pub(super) fn by_entry(
        &self,
        entry: u32,
        organisation: Option<usize>,
        reason: Option<Reason>,
    ) -> Finding {
        let told = why_of(reason);
        let Some((class, hits)) = self.entry(entry) else {
            return Finding::bare(told);
        };
        let policy = self.policy(organisation);
        let halves = [&class.exact, &class.suffix].map(|tiers| judge_entry(tiers, &policy));
        let mut by_step = halves;
        by_step.sort_by_key(|half| half.step);
        // A name below the entry meets one half, the name itself both: the reason tells which it was.
        let meant = by_step.iter().find(|half| why_of_match(**half) == told);
        let found = *meant.unwrap_or(&by_step[0]);
        let why = match why_of_match(found) {
            Why::Nothing if organisation.is_none() && told != Why::Unknown => told,
            Why::Nothing if told == Why::AllowOnly => told,
            why => why,
        };
        self.finding(why, found, entry, &hits, &policy, organisation, halves)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "everything that is known of an entry, put together in one place"
    )]
    fn finding(
        &self,
        why: Why,
        found: Match,
        entry: u32,
        hits: &[Hit],
        policy: &Policy,
        organisation: Option<usize>,
        halves: [Match; 2],
    ) -> Finding {
        let reason = (why == Why::Education).then_some(Reason::BlockNsorName);
        let hit = deciding(hits, policy, reason).and_then(|at| hits.get(at));
        let by_hit = hit.map(|hit| judge_entry(&hit.tiers, policy));
        let category = match why {
            Why::Education => by_hit.unwrap_or(found).nsor_category,
            _ => by_hit.unwrap_or(found).category,
        };
        let has = |step: Step| halves.iter().any(|half| half.step == step as u32);
        let warned = has(Step::Warn) && !has(Step::Mandatory);
        let may = why == Why::Warned && warned && policy.flags & POLICY_ALLOW_ONLY == 0;
        let categories = self.config().categories.all();
        Finding {
            why,
            category: categories
                .iter()
                .find(|known| known.number == category)
                .cloned(),
            tier: hit.and_then(|hit| tier_of(&hit.origin.tier)),
            reference: hit.map(|hit| format!("{}:{}", hit.origin.list, hit.origin.line)),
            decision: hit.and_then(|hit| self.book().decision(&hit.origin)),
            entry,
            may_go_on: organisation.filter(|_| may),
        }
    }

    /// What a name or address meets in an organisation, as the data path decides it.
    ///
    /// # Errors
    /// It is no name and no address.
    pub(super) fn by_name(&self, subject: &str, organisation: usize) -> Result<Finding, String> {
        let config = self.config();
        let Some(known) = config.organisations.get(organisation) else {
            return Ok(Finding::bare(Why::Unknown));
        };
        let question = Question {
            subject: subject.to_owned(),
            org: known.id.clone(),
            address: None,
            at: None,
        };
        let told = explain(&self.book(), self.everything.seed, &question)?;
        let label = told.reason.as_deref();
        let reason = Reason::ALL.iter().find(|one| Some(one.label()) == label);
        let why = reason.map_or(Why::Nothing, |reason| why_of(Some(*reason)));
        let Some(entry) = told.entries.iter().find(|entry| entry.wins) else {
            return Ok(Finding::bare(why));
        };
        let entry = self.number_of(&entry.subject).unwrap_or(0);
        if why == Why::Nothing || entry == 0 {
            return Ok(Finding::bare(why));
        }
        Ok(self.by_entry(entry, Some(organisation), reason.copied()))
    }

    /// Number of the entry of a suffix, address or prefix.
    pub(super) fn number_of(&self, subject: &str) -> Option<u32> {
        let desired = &self.everything.compiled.desired;
        let seed = self.everything.seed;
        let key = match subject.parse::<IpNet>() {
            Ok(IpNet::V4(net)) => {
                return desired
                    .nets4
                    .iter()
                    .find(|row| row.net == net)
                    .map(|row| row.entry);
            }
            Ok(IpNet::V6(net)) => {
                return desired
                    .nets6
                    .iter()
                    .find(|row| row.net == net)
                    .map(|row| row.entry);
            }
            Err(_) => match subject.parse::<IpAddr>() {
                Ok(address) => address_key(seed, address),
                Err(_) => name_key(seed, subject.as_bytes())?,
            },
        };
        let at = desired
            .subjects
            .binary_search_by_key(&key, |subject| subject.key)
            .ok()?;
        desired.subjects.get(at).map(|subject| subject.entry)
    }

    /// Keyed hash of an organisation's id, as tokens and grants hold it.
    pub(super) fn organisation_key(&self, organisation: usize) -> Option<u64> {
        let known = self.config().organisations.get(organisation)?;
        Some(org_id_key(self.everything.seed, known.id.as_bytes()))
    }

    fn key(&self, organisation: u64, client: IpAddr, entry: u32) -> u64 {
        grant_key(self.everything.seed, organisation, halves(client), entry)
    }

    /// Lets a client go on to an entry for some seconds.
    pub(super) fn grant(&self, organisation: u64, client: IpAddr, entry: u32, seconds: u64) {
        let key = self.key(organisation, client, entry);
        self.grants.add(key, monotonic_ns() + seconds * SECOND_NS);
    }

    /// Seconds for which a client may still go on to an entry.
    pub(super) fn granted_seconds(&self, organisation: u64, client: IpAddr, entry: u32) -> u64 {
        let until = self.grants.until(self.key(organisation, client, entry));
        until.saturating_sub(monotonic_ns()).div_ceil(SECOND_NS)
    }
}

fn entry_at(everything: &Everything, at: u32) -> u32 {
    let subjects = &everything.compiled.desired.subjects;
    let subject = usize::try_from(at).ok().and_then(|at| subjects.get(at));
    subject.map_or(0, |subject| subject.entry)
}

fn tier_of(label: &str) -> Option<Tier> {
    [
        Tier::Unified,
        Tier::Nsor,
        Tier::Local,
        Tier::Suspicious,
        Tier::EncryptedDns,
        Tier::Ech,
    ]
    .into_iter()
    .find(|tier| tier.label() == label)
}
