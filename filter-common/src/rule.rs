//! Precedence: which of the entries that match decides. One function, used by the kernel program,
//! by `explain` and by the tests.
//!
//! Among the entries that match, the one with the lowest step decides; among several of one step,
//! the longest subject.

use crate::abi::{
    LOCAL_CANARY, LOCAL_ECH, LOCAL_ENCRYPTED_DNS, LOCAL_INFRASTRUCTURE, POLICY_ALLOW_ONLY, Policy,
    Tiers,
};
use crate::reason::Reason;

/// Category of a decision that no category explains: a local list, or allow-only.
pub const CATEGORY_NONE: u32 = 255;
/// In a [`Match`] only: no category explains it, and it is denied as a name of encrypted DNS.
const DENIED_ENCRYPTED_DNS: u32 = 256;
/// In a [`Match`] only: no category explains it, and it is denied as a canary name.
const DENIED_CANARY: u32 = 257;
/// In a [`Match`] only: no category explains it, and it is denied as a public name of Encrypted ClientHello.
const DENIED_ECH: u32 = 258;

/// The steps of the precedence. Lower decides first; steps 1 and 4 belong to the organisation, not
/// to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Not enrolled: untouched.
    NotEnrolled = 1,
    /// The portal and the configured resolvers: pass.
    Infrastructure = 2,
    /// Unified registry, or a mandatory category of the education registry: block.
    Mandatory = 3,
    /// Timed bypass of the organisation: pass.
    Bypass = 4,
    /// Local allow or permitted service: pass.
    LocalAllow = 5,
    /// Local deny or denied service: block.
    LocalDeny = 6,
    /// Education registry, blocked category: block.
    Nsor = 7,
    /// Age mark above the segment's: block.
    Age = 8,
    /// Allow-only profile and not allowed: block.
    AllowOnly = 9,
    /// Suspicious, or a warned category: warn.
    Warn = 10,
    /// Nothing forbids it: pass.
    Pass = 11,
}

impl Step {
    /// The step with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Step> {
        Some(match number {
            1 => Step::NotEnrolled,
            2 => Step::Infrastructure,
            3 => Step::Mandatory,
            4 => Step::Bypass,
            5 => Step::LocalAllow,
            6 => Step::LocalDeny,
            7 => Step::Nsor,
            8 => Step::Age,
            9 => Step::AllowOnly,
            10 => Step::Warn,
            11 => Step::Pass,
            _ => return None,
        })
    }
}

/// What one matching entry says: its step and category, packed so that the kernel keeps it in one
/// word: `step << 8 | category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Step number (see [`Step`]).
    pub step: u32,
    /// Category number, or [`CATEGORY_NONE`].
    pub category: u32,
    /// The category by which the education registry blocks the subject too; [`CATEGORY_NONE`] if it
    /// does not. Statistics name that registry first.
    pub nsor_category: u32,
}

#[inline(always)]
fn lowest(mask: u64) -> u32 {
    mask.trailing_zeros()
}

/// As what a subject with these denied bits is denied: a list of the operator's goes before.
#[inline(always)]
fn denied_as(denied: u64) -> u32 {
    if denied & !(LOCAL_ENCRYPTED_DNS | LOCAL_CANARY | LOCAL_ECH) != 0 {
        CATEGORY_NONE
    } else if denied & LOCAL_CANARY != 0 {
        DENIED_CANARY
    } else if denied & LOCAL_ECH != 0 {
        DENIED_ECH
    } else {
        DENIED_ENCRYPTED_DNS
    }
}

/// What `policy` makes of one entry with these `tiers`.
#[inline(always)]
#[must_use]
pub fn judge_entry(tiers: &Tiers, policy: &Policy) -> Match {
    let mandatory = tiers.nsor & policy.mandatory;
    let nsor = mandatory | tiers.nsor & policy.block;
    let nsor_category = if nsor == 0 {
        CATEGORY_NONE
    } else {
        lowest(nsor)
    };
    let (step, category) = if tiers.local & LOCAL_INFRASTRUCTURE != 0 {
        (Step::Infrastructure, CATEGORY_NONE)
    } else if tiers.unified != 0 {
        (Step::Mandatory, lowest(tiers.unified))
    } else if mandatory != 0 {
        (Step::Mandatory, lowest(mandatory))
    } else if tiers.local & policy.local_allow != 0 {
        (Step::LocalAllow, CATEGORY_NONE)
    } else if tiers.local & policy.local_deny != 0 {
        (Step::LocalDeny, denied_as(tiers.local & policy.local_deny))
    } else if nsor != 0 {
        (Step::Nsor, nsor_category)
    } else if tiers.nsor & policy.age != 0 {
        (Step::Age, lowest(tiers.nsor & policy.age))
    } else if tiers.nsor & policy.warn != 0 {
        (Step::Warn, lowest(tiers.nsor & policy.warn))
    } else if tiers.suspicious & policy.suspicious != 0 {
        (Step::Warn, lowest(tiers.suspicious & policy.suspicious))
    } else {
        (Step::Pass, CATEGORY_NONE)
    };
    Match {
        step: step as u32,
        category,
        nsor_category,
    }
}

/// The deciding entry so far, in words that the kernel keeps in its scratch memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    /// Step number of the deciding entry; [`Step::Pass`] if none matched.
    pub step: u32,
    /// Category of the longest entry by which the education registry blocks, or [`CATEGORY_NONE`].
    pub nsor_category: u32,
    /// Category of the deciding entry, or [`CATEGORY_NONE`].
    pub category: u32,
    /// Its number.
    pub entry: u32,
    /// 1 if the deciding entry is an address or prefix, 0 if it is a name.
    pub address: u32,
    /// Number of that entry.
    pub nsor_entry: u32,
    /// 1 if that entry is an address or prefix.
    pub nsor_address: u32,
    /// Length of the deciding subject: characters of a name with its leading dot, 0 for an address.
    pub len: u32,
    /// Length of the education registry's subject.
    pub nsor_len: u32,
    /// Zero.
    pub pad: u32,
}

impl Best {
    /// Nothing has matched.
    pub const NONE: Best = Best {
        step: Step::Pass as u32,
        category: CATEGORY_NONE,
        entry: 0,
        address: 0,
        nsor_category: CATEGORY_NONE,
        nsor_entry: 0,
        nsor_address: 0,
        len: 0,
        nsor_len: 0,
        pad: 0,
    };

    /// Back to [`Best::NONE`], with the fewest stores: the rest is not read then.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.step = Step::Pass as u32;
        self.nsor_category = CATEGORY_NONE;
    }

    /// Takes a matching entry into account. `len` is 0 for an address or prefix, else the length of
    /// the name's suffix with its leading dot.
    #[inline(always)]
    pub fn consider(&mut self, found: Match, entry: u32, len: u32) {
        let address = (len == 0) as u32;
        let longer = found.step == self.step && len >= self.len;
        if (found.step < self.step || longer) && found.step != Step::Pass as u32 {
            self.step = found.step;
            self.category = found.category;
            self.entry = entry;
            self.address = address;
            self.len = len;
        }
        let nsor_longer = self.nsor_category == CATEGORY_NONE || len >= self.nsor_len;
        if found.nsor_category != CATEGORY_NONE && nsor_longer {
            self.nsor_category = found.nsor_category;
            self.nsor_entry = entry;
            self.nsor_address = address;
            self.nsor_len = len;
        }
    }
}

/// What is known when a decision is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Moment {
    /// The destination address is known, a name may follow: only what an address decides.
    Address,
    /// The name is known.
    Name,
    /// There is no name and will be none.
    Nameless,
}

/// A decision: the reason, its category and the entry that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reason; `None`: nothing decides at this moment, go on.
    pub reason: Option<Reason>,
    /// Category number, or [`CATEGORY_NONE`].
    pub category: u32,
    /// Entry number; 0 if no entry decided.
    pub entry: u32,
}

/// The reason of what is denied as a way to hide names.
#[inline(always)]
fn hidden(denied: u32) -> Option<Reason> {
    Some(match denied {
        DENIED_ENCRYPTED_DNS => Reason::BlockEncryptedDnsName,
        DENIED_CANARY => Reason::BlockCanaryName,
        DENIED_ECH => Reason::BlockEchName,
        _ => return None,
    })
}

/// Decides from the matches so far. `bypass` tells whether the organisation's bypass is in force.
#[inline(always)]
#[must_use]
pub fn decide(best: &Best, policy: &Policy, bypass: bool, moment: Moment) -> Decision {
    let on_address = best.address != 0;
    let pick = |address: Reason, name: Reason| Some(if on_address { address } else { name });
    let of = |reason| Decision {
        reason,
        category: best.category,
        entry: best.entry,
    };
    let step = best.step;
    if step == Step::Infrastructure as u32 {
        return of(Some(Reason::PassInfrastructure));
    }
    let blocked_by_nsor = best.nsor_category != CATEGORY_NONE;
    if step == Step::Mandatory as u32 && blocked_by_nsor {
        let reason = if best.nsor_address != 0 {
            Reason::BlockNsorAddress
        } else {
            Reason::BlockNsorName
        };
        return Decision {
            reason: Some(reason),
            category: best.nsor_category,
            entry: best.nsor_entry,
        };
    }
    if step == Step::Mandatory as u32 {
        return of(pick(Reason::BlockUnifiedAddress, Reason::BlockUnifiedName));
    }
    let none = |reason| Decision {
        reason,
        category: CATEGORY_NONE,
        entry: 0,
    };
    if bypass {
        return none(if moment as u8 == Moment::Address as u8 {
            None
        } else {
            Some(Reason::PassBypass)
        });
    }
    if step == Step::LocalAllow as u32 {
        return of(if moment as u8 == Moment::Address as u8 {
            None
        } else {
            Some(Reason::PassLocalAllow)
        });
    }
    if step == Step::LocalDeny as u32 {
        let local = pick(Reason::BlockLocalAddress, Reason::BlockLocalName);
        return Decision {
            category: CATEGORY_NONE,
            ..of(hidden(best.category).or(local))
        };
    }
    if step == Step::Nsor as u32 {
        return of(pick(Reason::BlockNsorAddress, Reason::BlockNsorName));
    }
    if step == Step::Age as u32 {
        return of(pick(Reason::BlockAgeAddress, Reason::BlockAgeName));
    }
    if policy.flags & POLICY_ALLOW_ONLY != 0 && moment as u8 != Moment::Address as u8 {
        return none(Some(Reason::BlockAllowOnly));
    }
    if step == Step::Warn as u32 && (on_address || moment as u8 != Moment::Address as u8) {
        return of(pick(Reason::WarnAddress, Reason::WarnName));
    }
    none(None)
}
