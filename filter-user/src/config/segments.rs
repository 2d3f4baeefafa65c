//! Segments: parts of an organisation's network with profiles of their own. Each takes its prefixes
//! out of the organisation's; what no segment takes stays the organisation's own.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Organisation;
use super::reader::Source;
use crate::problem::nearest;

/// Takes what segments hold out of their organisations, and notes segments that are no part of one.
/// `organisations` are sorted by id.
pub(super) fn part(source: &mut Source, mut organisations: Vec<Organisation>) -> Vec<Organisation> {
    let mut taken: BTreeMap<usize, Vec<IpNet>> = BTreeMap::new();
    for segment in &organisations {
        let Some(parent) = segment.parent() else {
            continue;
        };
        let found = organisations.binary_search_by(|org| org.id.as_str().cmp(parent));
        let whole = found.ok().and_then(|at| Some((at, organisations.get(at)?)));
        let Some((at, whole)) = whole else {
            let what = format!(
                "{} id: there is no organisation \"{parent}\"",
                segment.place.section
            );
            let ids = organisations.iter().filter(|org| org.parent().is_none());
            let hint = nearest(parent, ids.map(|org| org.id.as_str()));
            let remedy = super::parse::did_you_mean(hint, "organisations");
            source.problem_in(&segment.place.file, segment.place.line, what, remedy);
            continue;
        };
        if segment.realm == whole.realm {
            check_inside(source, segment, whole);
            taken.entry(at).or_default().extend(&segment.prefixes);
        }
    }
    for (at, taken) in taken {
        if let Some(organisation) = organisations.get_mut(at) {
            let whole = std::mem::take(&mut organisation.prefixes);
            organisation.prefixes = without(&whole, &taken);
        }
    }
    organisations
}

fn check_inside(source: &mut Source, segment: &Organisation, whole: &Organisation) {
    let own = IpNet::aggregate(&whole.prefixes);
    for net in &segment.prefixes {
        if own.iter().any(|own| own.contains(net)) {
            continue;
        }
        let what = format!(
            "{} prefixes: {net} of \"{}\" is no part of the prefixes of \"{}\"",
            segment.place.section, segment.id, whole.id
        );
        let remedy =
            "add it to the organisation's prefixes, or give the segment a realm of its own";
        source.problem_in(&segment.place.file, segment.place.line, what, remedy);
    }
}

/// The addresses of `nets` that no prefix of `taken` holds, as prefixes.
#[must_use]
pub(super) fn without(nets: &[IpNet], taken: &[IpNet]) -> Vec<IpNet> {
    let mut rest = Vec::new();
    for net in nets {
        remain(*net, taken, &mut rest);
    }
    rest
}

/// Halves a prefix until each half is taken whole or not at all.
fn remain(net: IpNet, taken: &[IpNet], rest: &mut Vec<IpNet>) {
    if taken.iter().any(|taken| taken.contains(&net)) {
        return;
    }
    let inside: Vec<IpNet> = (taken.iter().copied())
        .filter(|taken| net.contains(taken))
        .collect();
    if inside.is_empty() {
        rest.push(net);
        return;
    }
    // A prefix that holds another one can be halved.
    for half in net.subnets(net.prefix_len() + 1).into_iter().flatten() {
        remain(half, &inside, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_segments_take_is_taken_out_exactly() {
        let rest = without(
            &nets(&["192.0.2.0/28", "2001:db8::/62"]),
            &nets(&["192.0.2.4/30", "192.0.2.9/32", "2001:db8:0:1::/64"]),
        );
        let wanted = nets(&[
            "192.0.2.0/30",
            "192.0.2.8/32",
            "192.0.2.10/31",
            "192.0.2.12/30",
            "2001:db8::/64",
            "2001:db8:0:2::/63",
        ]);
        assert_eq!(rest, wanted);
        assert!(without(&nets(&["10.0.0.0/8"]), &nets(&["0.0.0.0/0"])).is_empty());
    }

    #[test]
    fn subtraction_agrees_with_a_walk_over_all_addresses() {
        let holes = nets(&[
            "10.0.0.3/32",
            "10.0.0.16/29",
            "10.0.0.128/26",
            "10.0.0.40/30",
        ]);
        let whole = nets(&["10.0.0.0/25", "10.0.0.128/25"]);
        let rest = without(&whole, &holes);
        for last in 0..=255u8 {
            let address = std::net::IpAddr::from([10, 0, 0, last]);
            let taken = holes.iter().any(|net| net.contains(&address));
            let holders = rest.iter().filter(|net| net.contains(&address)).count();
            assert_eq!(holders, usize::from(!taken), "{address}");
        }
    }
}
