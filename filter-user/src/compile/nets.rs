//! Prefixes: joined over all files, those that hold what must not be filtered taken out, and each
//! given the registries of the prefixes around it, because a look-up returns the longest one only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use filter_common::abi::{Class, Tiers};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::classes::Classes;
use super::{Compiled, Entries, Input, NetTiers, join, of_address};
use crate::desired::NetSubject;

/// A prefix that is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The file.
    pub file: PathBuf,
    /// Its line.
    pub line: u32,
    /// The prefix.
    pub net: IpNet,
    /// What it holds.
    pub holds: String,
}

/// Addresses that no prefix may hold: first address, furthest last address so far, and whose that is.
struct Protected {
    ranges: Vec<(IpAddr, IpAddr, String)>,
}

impl Protected {
    fn new(input: &Input<'_>) -> Self {
        let organisations = input.config.organisations.iter().flat_map(|organisation| {
            let what = format!("addresses of organisation \"{}\"", organisation.id);
            organisation
                .prefixes
                .iter()
                .map(move |net| (net.network(), net.broadcast(), what.clone()))
        });
        let infrastructure = input.config.infrastructure.iter().map(|own| {
            (
                own.address,
                own.address,
                format!("the provider's own {}", own.address),
            )
        });
        let mut ranges: Vec<_> = organisations.chain(infrastructure).collect();
        ranges.sort();
        let mut furthest: Option<(IpAddr, String)> = None;
        for (_, last, what) in &mut ranges {
            match &furthest {
                Some((end, whose)) if end >= last => (*last, *what) = (*end, whose.clone()),
                _ => furthest = Some((*last, what.clone())),
            }
        }
        Protected { ranges }
    }

    /// Whose addresses a prefix holds or lies in. Of the ranges that start before the prefix ends, one
    /// meets it exactly if the furthest reaches its start. IPv4 sorts before IPv6.
    fn held_by(&self, net: &IpNet) -> Option<&str> {
        let behind = self
            .ranges
            .partition_point(|(first, _, _)| *first <= net.broadcast());
        let (_, furthest, what) = self.ranges.get(behind.checked_sub(1)?)?;
        (*furthest >= net.network()).then_some(what)
    }
}

/// All prefixes with their registries, and those that are not applied.
pub(super) fn fold(input: &Input<'_>, tiers: &[Tiers]) -> (Vec<(IpNet, Tiers)>, Vec<Rejected>) {
    let protected = Protected::new(input);
    let mut joined: NetTiers = HashMap::new();
    let mut rejected = Vec::new();
    for (source, own) in input.sources.iter().zip(tiers) {
        for record in source.nets() {
            if let Some(holds) = protected.held_by(&record.net) {
                let file = source.file.reading.path.clone();
                let holds = holds.to_owned();
                rejected.push(Rejected {
                    file,
                    line: record.line,
                    net: record.net,
                    holds,
                });
                continue;
            }
            let tiers = joined.entry(record.net).or_default();
            *tiers = join(*tiers, of_address(*own));
        }
    }
    let mut nets: Vec<(IpNet, Tiers)> = joined.into_iter().collect();
    nets.sort_by_key(|(net, _)| (net.network(), net.prefix_len()));
    inherit(&mut nets);
    (nets, rejected)
}

/// In the order of first address and length, the prefixes around one are those of the stack.
fn inherit(nets: &mut [(IpNet, Tiers)]) {
    let mut around: Vec<(IpNet, Tiers)> = Vec::new();
    for (net, tiers) in nets {
        while around
            .last()
            .is_some_and(|(outer, _)| !outer.contains(&*net))
        {
            around.pop();
        }
        if let Some((_, outer)) = around.last() {
            *tiers = join(*tiers, *outer);
        }
        around.push((*net, *tiers));
    }
}

type Rows = (Vec<NetSubject<Ipv4Net>>, Vec<NetSubject<Ipv6Net>>);

/// The rows of prefixes that the maps are to hold.
pub(super) fn rows(
    nets: &[(IpNet, Tiers)],
    classes: &mut Classes,
    entries: &mut Entries,
    before: Option<&Compiled>,
) -> Rows {
    let known: HashMap<IpNet, u32> = before.map(numbers).unwrap_or_default();
    let mut rows: Rows = (Vec::new(), Vec::new());
    for (net, tiers) in nets {
        let class = classes.number(Class {
            exact: *tiers,
            suffix: Tiers::default(),
        });
        let entry = known.get(net).copied().unwrap_or_else(|| entries.fresh());
        match net {
            IpNet::V4(net) => rows.0.push(NetSubject {
                net: *net,
                class,
                entry,
            }),
            IpNet::V6(net) => rows.1.push(NetSubject {
                net: *net,
                class,
                entry,
            }),
        }
    }
    rows
}

fn numbers(before: &Compiled) -> HashMap<IpNet, u32> {
    let v4 = before
        .desired
        .nets4
        .iter()
        .map(|row| (IpNet::V4(row.net), row.entry));
    let v6 = before
        .desired
        .nets6
        .iter()
        .map(|row| (IpNet::V6(row.net), row.entry));
    v4.chain(v6).collect()
}
