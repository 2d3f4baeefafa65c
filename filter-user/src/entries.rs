//! From an entry, as the kernel tells it, back to the list, file and line that an operator can look
//! at.

use std::net::IpAddr;
use std::path::PathBuf;

use filter_common::abi::{LOCAL_ENDPOINT, Policy, Tiers};
use filter_common::reason::Reason;
use filter_common::rule::{CATEGORY_NONE, judge_entry};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bypass::Bypasses;
use crate::compile::{Compiled, nets_around, of_address, tiers_of};
use crate::config::{Config, Tier};
use crate::numbers::Numbers;
use crate::registry::{self, RECORD_ADDRESS, RECORD_SUFFIX, RECORD_URLS, Source, Wanted, shown};

/// Who decided that an entry is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Id of the record.
    pub record: String,
    /// Day of the decision, as the registry has it.
    pub date: String,
    /// Its number.
    pub number: String,
    /// Who decided.
    pub body: String,
}

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Registry, with the directory for UT1.
    pub list: String,
    /// Tier of the registry.
    pub tier: String,
    /// The file.
    pub file: PathBuf,
    /// Its line; in a register in XML the id of its record.
    pub line: u32,
    /// Whether that is the id of a record.
    #[serde(default)]
    pub by_record: bool,
    /// The line's text now, if the file has not changed.
    pub text: Option<String>,
    /// Whether the entry covers everything below the name too.
    pub suffix: bool,
    /// Its categories.
    pub categories: Vec<String>,
    /// The decision behind it, where its registry has one and the file has not changed.
    #[serde(default)]
    pub decision: Option<Decision>,
}

/// Everything that is needed to find an entry.
#[derive(Clone, Copy, Debug)]
pub struct Book<'a> {
    /// Configuration in force.
    pub config: &'a Config,
    /// Files in force.
    pub sources: &'a [Source],
    /// Numbers in force.
    pub numbers: &'a Numbers,
    /// State in force.
    pub compiled: &'a Compiled,
    /// Bypasses.
    pub bypasses: &'a Bypasses,
    /// Whether the text of lines is read from the files again.
    pub with_text: bool,
}

/// Of the entries of one subject, the one that decides with `reason`: where the education registry is
/// the reason one of its own, else that of the lowest step; the longest prefix of several.
#[must_use]
pub fn deciding(hits: &[Hit], policy: &Policy, reason: Option<Reason>) -> Option<usize> {
    let by_nsor = matches!(
        reason,
        Some(Reason::BlockNsorAddress | Reason::BlockNsorName)
    );
    let by_endpoint = reason == Some(Reason::BlockEncryptedDns);
    let rank = |hit: &Hit| {
        let found = judge_entry(&hit.tiers, policy);
        let foreign = by_nsor && found.nsor_category == CATEGORY_NONE
            || by_endpoint && hit.tiers.local & LOCAL_ENDPOINT == 0;
        let length = hit.net.map_or(u8::MAX, |net| net.prefix_len());
        (foreign, found.step, u8::MAX - length)
    };
    hits.iter()
        .enumerate()
        .min_by_key(|(_, hit)| rank(hit))
        .map(|(at, _)| at)
}

/// An origin with what it means to a policy.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The prefix, where it is one.
    pub net: Option<IpNet>,
    /// Where it stands.
    pub origin: Origin,
    /// Its own registries.
    pub tiers: Tiers,
}

impl Book<'_> {
    /// Entries with this key, from all files. With `suffix_only` those that cover names below.
    #[must_use]
    pub fn of_key(&self, key: u64, suffix_only: bool) -> Vec<Hit> {
        let mut hits = Vec::new();
        for source in self.sources {
            for record in source.with_key(key) {
                let suffix = record.flags & RECORD_SUFFIX != 0;
                let entry = record.flags & RECORD_URLS == 0;
                if entry && (suffix || !suffix_only) {
                    let address = record.flags & RECORD_ADDRESS != 0;
                    let wanted = Wanted::Key(key);
                    hits.push(self.hit(source, record.line, wanted, suffix, address));
                }
            }
        }
        hits
    }

    /// Entries of a prefix, from all files.
    #[must_use]
    pub fn of_net(&self, net: IpNet) -> Vec<Hit> {
        let mut hits = Vec::new();
        for source in self.sources {
            let found = source.with_net(net);
            hits.extend(found.map(|record| Hit {
                net: Some(net),
                ..self.hit(source, record.line, Wanted::Net(net), false, true)
            }));
        }
        hits
    }

    /// The entry with this number: of all files where its subject stands, the one that decides under
    /// `policy` with this `reason`. `address` is the destination, by which a prefix finds those around
    /// it.
    #[must_use]
    pub fn winner(
        &self,
        entry: u32,
        policy: &Policy,
        reason: Option<Reason>,
        address: Option<IpAddr>,
    ) -> Option<Origin> {
        let desired = &self.compiled.desired;
        let subject = desired
            .subjects
            .iter()
            .find(|subject| subject.entry == entry);
        let hits: Vec<Hit> = match (subject, address) {
            (Some(subject), _) => self.of_key(subject.key, false),
            (None, Some(address)) => {
                let around = nets_around(desired, address.into()).into_iter();
                around.flat_map(|(net, _, _)| self.of_net(net)).collect()
            }
            (None, None) => self
                .net_of(entry)
                .map(|net| self.of_net(net))
                .unwrap_or_default(),
        };
        let at = deciding(&hits, policy, reason)?;
        hits.into_iter().nth(at).map(|hit| hit.origin)
    }

    /// The prefix with this entry number.
    #[must_use]
    pub fn net_of(&self, entry: u32) -> Option<IpNet> {
        let desired = &self.compiled.desired;
        let v4 = desired
            .nets4
            .iter()
            .find(|row| row.entry == entry)
            .map(|row| IpNet::V4(row.net));
        v4.or_else(|| {
            desired
                .nets6
                .iter()
                .find(|row| row.entry == entry)
                .map(|row| IpNet::V6(row.net))
        })
    }

    /// The decision behind an entry, where one seek in its file finds it.
    #[must_use]
    pub fn decision(&self, origin: &Origin) -> Option<Decision> {
        let mut sources = self.sources.iter();
        let source = sources.find(|source| source.file.reading.path == origin.file)?;
        registry::decision(source, origin.line)
    }

    fn hit(&self, source: &Source, line: u32, wanted: Wanted, suffix: bool, address: bool) -> Hit {
        let (text, decision) = if self.with_text {
            shown(source, line, wanted)
        } else {
            (None, None)
        };
        let categories = match source.spec.tier {
            Tier::Local | Tier::EncryptedDns | Tier::Ech => Vec::new(),
            _ => self.config.categories.labels(source.spec.categories),
        };
        let tiers = tiers_of(source, self.config, self.numbers);
        let origin = Origin {
            list: source.spec.name.clone(),
            tier: source.spec.tier.label().to_owned(),
            file: source.file.reading.path.clone(),
            line,
            by_record: source.file.reading.syntax.xml().is_some(),
            text,
            suffix,
            categories,
            decision,
        };
        Hit {
            net: None,
            origin,
            tiers: if address { of_address(tiers) } else { tiers },
        }
    }
}
