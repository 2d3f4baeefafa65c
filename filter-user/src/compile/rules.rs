//! What every organisation is under at a moment: the part of the state that changes by the clock.

use filter_common::abi::Policy;
use jiff::Timestamp;

use crate::bypass::Moment;
use crate::config::Config;
use crate::numbers::Numbers;
use crate::policy::policy;
use crate::schedule::standings;

/// What an organisation or a segment is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it restricts.
    pub policy: Policy,
    /// Kernel's clock up to which its bypass is in force; 0: there is none.
    pub bypass_until_ns: u64,
}

/// What all of them are under.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// In the order of [`Config::organisations`].
    pub rules: Vec<Rule>,
    /// When the next change may come; `None`: no schedule is in use.
    pub next: Option<Timestamp>,
}

impl Rules {
    /// What is in force at `moment`.
    #[must_use]
    pub fn at(config: &Config, numbers: &Numbers, moment: &Moment) -> Rules {
        let profiles = config.profiles.iter();
        let policies: Vec<Policy> = profiles
            .map(|profile| policy(config, numbers, profile))
            .collect();
        let standings = standings(config, moment.at);
        let all = config.organisations.iter().zip(&standings.profiles);
        let rules = all.map(|(organisation, profile)| Rule {
            policy: policies.get(*profile).copied().unwrap_or_default(),
            bypass_until_ns: moment.bypass_until_ns(organisation),
        });
        Rules {
            rules: rules.collect(),
            next: standings.next,
        }
    }
}
