//! Attached interfaces: a table without collisions, by a multiplier that is sought for the
//! interfaces at hand. New rows are written to empty places under a new multiplier, and the
//! multiplier's one store switches all of them over.

use filter_common::abi::{
    INTERFACE_ORGANISATIONS, INTERFACE_VLAN_REALMS, Interface, MPLS_REPLY_LABEL, MPLS_REPLY_NONE,
    MPLS_REPLY_UNLABELLED, REALM_NONE,
};
use filter_common::limits::INTERFACES;

use super::Tables;
use super::apply::Grace;
use super::error::KernelError;
use super::sizes::VLAN_WORDS;
use crate::desired::{Desired, InterfaceRow, MplsReply};

/// Multipliers tried before the interfaces count as too many.
const TRIES: u32 = 1 << 20;

/// A word of four VLANs without a realm.
const NO_REALMS: u64 = REALM_NONE as u64 * 0x0001_0001_0001_0001;

/// What is to be done to the interfaces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InterfacePlan {
    multiplier: u32,
    rows: Vec<(u32, Interface)>,
    stale: Vec<u32>,
    vlans: Vec<(u32, u64)>,
}

impl InterfacePlan {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.differences() == 0
    }

    /// Whether an interface that is there goes, or has other realms from now on.
    pub(crate) fn replaces(&self) -> bool {
        !self.stale.is_empty() || !self.vlans.is_empty()
    }

    /// Rows and words that are not as they shall be.
    pub(crate) fn differences(&self) -> usize {
        self.rows.len() + self.stale.len() + self.vlans.len()
    }
}

/// Row of an interface under a multiplier.
#[must_use]
pub(crate) fn row_of(ifindex: u32, multiplier: u32) -> u32 {
    ifindex.wrapping_mul(multiplier) >> 24
}

/// Compares the table with the interfaces of `desired`.
pub(crate) fn plan(tables: &Tables, desired: &Desired) -> Result<InterfacePlan, KernelError> {
    let actual: Vec<Interface> = (0..tables.interfaces.rows())
        .filter_map(|row| tables.interfaces.get(row))
        .collect();
    let old = tables.control_row().interface_multiplier;
    let mut vlans = VlanBlocks::read(tables, &actual);
    let mut wanted = Vec::new();
    for row in &desired.interfaces {
        let known = actual.iter().find(|known| known.ifindex == row.ifindex);
        wanted.push(row_value(row, vlans.assign(row, known)?));
    }
    let empty = |multiplier: u32, value: &Interface| {
        let place = actual.get(row_of(value.ifindex, multiplier) as usize);
        place.is_some_and(|there| there.ifindex == 0 || there == value)
    };
    let fits = |multiplier: u32| {
        let mut places: Vec<u32> = wanted
            .iter()
            .map(|value| row_of(value.ifindex, multiplier))
            .collect();
        places.sort_unstable();
        places.dedup();
        places.len() == wanted.len() && wanted.iter().all(|value| empty(multiplier, value))
    };
    let multiplier = std::iter::once(old)
        .chain((0..TRIES).map(|n| (n.wrapping_mul(0x9e37_79b9) ^ 0x1357_9bdf) | 1))
        .find(|multiplier| fits(*multiplier))
        .ok_or(KernelError::NeedsNewGeneration("interfaces"))?;
    let rows: Vec<(u32, Interface)> = wanted
        .iter()
        .map(|value| (row_of(value.ifindex, multiplier), *value))
        .collect();
    let stale = (0..)
        .zip(&actual)
        .filter(|(place, there)| there.ifindex != 0 && !rows.contains(&(*place, **there)))
        .map(|(place, _)| place)
        .collect();
    let rows = rows
        .into_iter()
        .filter(|(place, value)| actual.get(*place as usize) != Some(value))
        .collect();
    Ok(InterfacePlan {
        multiplier,
        rows,
        stale,
        vlans: vlans.changes(tables),
    })
}

/// The map's row for an interface whose VLAN table starts at `vlan_base`.
fn row_value(row: &InterfaceRow, vlan_base: Option<u32>) -> Interface {
    let organisations = if row.organisations {
        INTERFACE_ORGANISATIONS
    } else {
        0
    };
    let vlans = if vlan_base.is_some() {
        INTERFACE_VLAN_REALMS
    } else {
        0
    };
    Interface {
        ifindex: row.ifindex,
        flags: organisations | vlans,
        realm: u32::from(row.realm),
        vlan_base: vlan_base.unwrap_or(0),
        mpls_reply: match row.mpls_reply {
            MplsReply::None => MPLS_REPLY_NONE,
            MplsReply::Unlabelled => MPLS_REPLY_UNLABELLED,
            MplsReply::Label(label) => MPLS_REPLY_LABEL | (label & 0xf_ffff) << 8,
        },
        pad: 0,
    }
}

/// The blocks of `VLAN_REALMS`.
struct VlanBlocks {
    free: Vec<u32>,
    images: Vec<(u32, Vec<u64>)>,
}

impl VlanBlocks {
    fn read(tables: &Tables, actual: &[Interface]) -> VlanBlocks {
        let uses = |base: u32| {
            actual
                .iter()
                .any(|row| row.flags & INTERFACE_VLAN_REALMS != 0 && row.vlan_base == base)
        };
        let bases = (0..tables.vlan_realms.rows() / VLAN_WORDS).map(|block| block * VLAN_WORDS);
        VlanBlocks {
            free: bases.filter(|base| !uses(*base)).collect(),
            images: Vec::new(),
        }
    }

    /// The block of an interface: its own, or a free one; `None` if it has no VLAN table.
    fn assign(
        &mut self,
        row: &InterfaceRow,
        known: Option<&Interface>,
    ) -> Result<Option<u32>, KernelError> {
        if row.vlan_realms.is_empty() {
            return Ok(None);
        }
        let base = match known {
            Some(known) if known.flags & INTERFACE_VLAN_REALMS != 0 => known.vlan_base,
            _ => self
                .free
                .pop()
                .ok_or(KernelError::NeedsNewGeneration("VLAN tables"))?,
        };
        let mut image = vec![NO_REALMS; VLAN_WORDS as usize];
        for (vlan, realm) in &row.vlan_realms {
            if let Some(word) = image.get_mut(usize::from(vlan >> 2)) {
                let shift = (vlan & 3) * 16;
                *word = *word & !(0xffff << shift) | u64::from(*realm) << shift;
            }
        }
        self.images.push((base, image));
        Ok(Some(base))
    }

    /// Words that differ.
    fn changes(self, tables: &Tables) -> Vec<(u32, u64)> {
        let words = self
            .images
            .into_iter()
            .flat_map(|(base, image)| (base..).zip(image));
        words
            .filter(|(at, word)| tables.vlan_realms.word(*at) != *word)
            .collect()
    }
}

/// Carries the plan out.
pub(crate) fn apply(tables: &Tables, plan: &InterfacePlan, grace: Grace) {
    if plan.is_empty() {
        return;
    }
    for (at, word) in &plan.vlans {
        tables.vlan_realms.set_word(*at, *word);
    }
    for (place, value) in &plan.rows {
        tables.interfaces.set(*place, *value);
    }
    let control = tables.control_row();
    tables.set_control(filter_common::abi::Control {
        interface_multiplier: plan.multiplier,
        ..control
    });
    if !plan.stale.is_empty() {
        grace.wait();
        for place in &plan.stale {
            tables.interfaces.set(*place, Interface::default());
        }
    }
}

const _: () = assert!(
    INTERFACES == 256,
    "the row is the upper eight bits of a product"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::FlowSizes;
    use crate::kernel::{Seed, Sizes};

    fn row(ifindex: u32, realm: u16, vlan_realms: Vec<(u16, u16)>) -> InterfaceRow {
        InterfaceRow {
            name: format!("if{ifindex}"),
            ifindex,
            organisations: true,
            realm,
            vlan_realms,
            mpls_reply: MplsReply::default(),
        }
    }

    fn desired(interfaces: Vec<InterfaceRow>) -> Desired {
        Desired {
            realms: 9,
            interfaces,
            ..Desired::default()
        }
    }

    fn tables(desired: &Desired) -> Tables {
        Tables::heap(&Sizes::measure(desired, FlowSizes::default()), Seed(1))
    }

    fn look_up(tables: &Tables, ifindex: u32) -> Option<Interface> {
        let at = row_of(ifindex, tables.control_row().interface_multiplier);
        tables
            .interfaces
            .get(at)
            .filter(|row| row.ifindex == ifindex)
    }

    #[test]
    fn many_interfaces_are_found_each_by_its_number() {
        let many = desired((2..30).map(|ifindex| row(ifindex, 3, vec![])).collect());
        let tables = tables(&many);
        apply(&tables, &plan(&tables, &many).unwrap(), Grace::None);
        for ifindex in 2..30 {
            assert_eq!(look_up(&tables, ifindex).unwrap().realm, 3);
        }
        assert!(look_up(&tables, 30).is_none());
        assert!(plan(&tables, &many).unwrap().is_empty());
    }

    #[test]
    fn a_changed_interface_moves_to_an_empty_row() {
        let before = desired(vec![row(2, 0, vec![]), row(3, 1, vec![])]);
        let tables = tables(&before);
        apply(&tables, &plan(&tables, &before).unwrap(), Grace::None);
        let after = desired(vec![row(2, 5, vec![]), row(3, 1, vec![])]);
        let change = plan(&tables, &after).unwrap();
        assert!(
            change
                .rows
                .iter()
                .all(|(place, _)| tables.interfaces.get(*place).unwrap().ifindex == 0)
        );
        apply(&tables, &change, Grace::None);
        assert_eq!(look_up(&tables, 2).unwrap().realm, 5);
        assert_eq!(look_up(&tables, 3).unwrap().realm, 1);
        let rows = (0..256)
            .filter(|at| tables.interfaces.get(*at).unwrap().ifindex != 0)
            .count();
        assert_eq!(rows, 2);
    }

    #[test]
    fn a_vlan_that_is_not_listed_has_no_realm() {
        let one = desired(vec![row(2, 0, vec![(100, 4), (4094, 5)])]);
        let tables = tables(&one);
        apply(&tables, &plan(&tables, &one).unwrap(), Grace::None);
        let base = look_up(&tables, 2).unwrap().vlan_base;
        let realm =
            |vlan: u32| tables.vlan_realms.word(base + vlan / 4) >> (vlan % 4 * 16) & 0xffff;
        assert_eq!(
            (realm(100), realm(4094), realm(101)),
            (4, 5, u64::from(REALM_NONE))
        );
    }
}
