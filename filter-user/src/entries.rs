//! From an entry, as the kernel tells it, back to the list, file and line that an operator can look
//! at.

use std::net::IpAddr;
use std::path::PathBuf;

use filter_common::abi::{Policy, Tiers};
use filter_common::rule::judge_entry;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::compile::{Compiled, nets_around, tiers_of};
use crate::config::{Config, Tier};
use crate::numbers::Numbers;
use crate::registry::{RECORD_SUFFIX, Source, lines};

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Registry, with the directory for UT1.
    pub list: String,
    /// Tier of the registry.
    pub tier: String,
    /// The file.
    pub file: PathBuf,
    /// Its line.
    pub line: u32,
    /// The line's text now, if the file has not changed.
    pub text: Option<String>,
    /// Whether the entry covers everything below the name too.
    pub suffix: bool,
    /// Its categories.
    pub categories: Vec<String>,
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
}

/// An origin with what it means to a policy.
#[derive(Clone, Debug)]
pub struct Hit {
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
                if suffix || !suffix_only {
                    hits.push(self.hit(source, record.line, suffix));
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
            if let Ok(at) = source
                .file
                .nets
                .binary_search_by(|record| record.net.cmp(&net))
                && let Some(record) = source.file.nets.get(at)
            {
                hits.push(self.hit(source, record.line, false));
            }
        }
        hits
    }

    /// The entry with this number: of all files where its subject stands, the one that decides under
    /// `policy` first. `address` is the destination, by which a prefix finds those around it.
    #[must_use]
    pub fn winner(&self, entry: u32, policy: &Policy, address: Option<IpAddr>) -> Option<Origin> {
        let desired = &self.compiled.desired;
        let subject = desired
            .subjects
            .iter()
            .find(|subject| subject.entry == entry);
        let hits = match (subject, address) {
            (Some(subject), _) => self.of_key(subject.key, false),
            (None, Some(address)) => {
                let around = nets_around(desired, address).into_iter().rev();
                around.flat_map(|(net, _, _)| self.of_net(net)).collect()
            }
            (None, None) => self
                .net_of(entry)
                .map(|net| self.of_net(net))
                .unwrap_or_default(),
        };
        hits.into_iter()
            .min_by_key(|hit| judge_entry(&hit.tiers, policy).step)
            .map(|hit| hit.origin)
    }

    fn net_of(&self, entry: u32) -> Option<IpNet> {
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

    fn hit(&self, source: &Source, line: u32, suffix: bool) -> Hit {
        let path = &source.file.reading.path;
        let untouched = crate::registry::stamp(path).is_ok_and(|now| now == source.file.stamp);
        let text = if untouched {
            lines::line_of(path, line).ok().flatten()
        } else {
            None
        };
        let categories = match source.spec.tier {
            Tier::Local => Vec::new(),
            _ => self.config.categories.labels(source.spec.categories),
        };
        let origin = Origin {
            list: source.spec.name.clone(),
            tier: source.spec.tier.label().to_owned(),
            file: path.clone(),
            line,
            text,
            suffix,
            categories,
        };
        Hit {
            origin,
            tiers: tiers_of(source, self.config, self.numbers),
        }
    }
}
