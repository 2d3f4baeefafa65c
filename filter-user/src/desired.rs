//! The state that the maps are to be in: what compilation gives and what `kernel` applies. Pure data,
//! content-addressed: classes and policies stand here by value, and their rows are `kernel`'s affair.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use filter_common::abi::{Addresses, Class, PAGE_BUF, Page, Policy};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A host name, suffix or address with its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Key by `filter_common::name` (name, IPv4 host, IPv6 host).
    pub key: u64,
    /// Whether it is an address: the two have a Bloom filter each.
    pub address: bool,
    /// Index into [`Desired::classes`].
    pub class: u16,
    /// Number of the entry that is told on a block.
    pub entry: u32,
}

/// A prefix of destination addresses. Its class holds those of the prefixes around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetSubject<N> {
    /// The prefix, host bits zero.
    pub net: N,
    /// Index into [`Desired::classes`].
    pub class: u16,
    /// Number of the entry that is told on a block.
    pub entry: u32,
}

/// An enrolled organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// The operator's id, unique.
    pub id: String,
    /// Realm number its prefixes belong to.
    pub realm: u16,
    /// Its prefixes, host bits zero, no overlap with any other organisation of the realm.
    pub prefixes: Vec<IpNet>,
    /// What it restricts now.
    pub policy: Policy,
    /// Monotonic clock in nanoseconds up to which everything but mandatory entries passes; 0: none.
    pub bypass_until_ns: u64,
}

/// What an organisation is under from now on; its addresses stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The operator's id.
    pub id: &'a str,
    /// What it restricts.
    pub policy: Policy,
    /// As [`Organisation::bypass_until_ns`].
    pub bypass_until_ns: u64,
}

/// Answer to a blocked flow behind MPLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MplsReply {
    /// None: drop.
    #[default]
    None,
    /// Without labels.
    Unlabelled,
    /// With this 20-bit label.
    Label(u32),
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceRow {
    /// Name, for messages.
    pub name: String,
    /// Number in this network namespace.
    pub ifindex: u32,
    /// Whether sources behind it are matched against organisations.
    pub organisations: bool,
    /// Realm of its untagged frames (and of all its frames if `vlan_realms` is empty).
    pub realm: u16,
    /// Realm by outermost VLAN id; VLANs that are not listed belong to no realm then.
    pub vlan_realms: Vec<(u16, u16)>,
    /// Answer behind MPLS.
    pub mpls_reply: MplsReply,
}

/// Where an answer leads: addresses of the portal, or of a search engine's safe form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalAddresses {
    /// IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl PortalAddresses {
    /// The row of `ANSWERS`.
    #[must_use]
    pub fn row(self) -> Addresses {
        let v6 = self.v6.map_or(0, u128::from).to_be_bytes();
        let v4 = self.v4.map_or(0, u32::from);
        let mut row = Addresses::default();
        let (words, _) = v6.as_chunks::<4>();
        for (place, word) in row.words.iter_mut().zip(words) {
            *place = u32::from_be_bytes(*word);
        }
        if let Some(last) = row.words.last_mut() {
            *last = v4;
        }
        row
    }
}

impl fmt::Display for PortalAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.v4, self.v6) {
            (None, None) => f.write_str("no address"),
            (Some(v4), None) => v4.fmt(f),
            (None, Some(v6)) => v6.fmt(f),
            (Some(v4), Some(v6)) => write!(f, "{v4} and {v6}"),
        }
    }
}

/// Where requests that are blocked or warned of are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageText {
    /// Host of the page's URL; `None`: there is no page.
    pub host: Option<String>,
}

impl PageText {
    /// The row of `PAGE`: all zero where there is no page, or its host is longer than a name.
    #[must_use]
    pub fn row(&self) -> Page {
        let mut page = Page {
            text: [0; PAGE_BUF],
            len: 0,
            kind_at: 0,
            entry_at: 0,
            org_at: 0,
            reason_at: 0,
            pad: 0,
        };
        let Some(host) = &self.host else { return page };
        let mut text = format!("HTTP/1.1 302 Found\r\nLocation: http://{host}/");
        let mut put = |part: &str, digits: usize| {
            text.push_str(part);
            let at = text.len();
            text.extend(std::iter::repeat_n('0', digits));
            u32::try_from(at).unwrap_or(0)
        };
        page.kind_at = put("", 0);
        page.entry_at = put("b?e=", 10);
        page.org_at = put("&o=", 5);
        page.reason_at = put("&r=", 3);
        text.push_str(
            "\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        if let Some(place) = page.text.get_mut(..text.len()) {
            place.copy_from_slice(text.as_bytes());
            page.len = u32::try_from(text.len()).unwrap_or(0);
        }
        page
    }
}

/// Everything that the maps are to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Number of realms; realm numbers are below it.
    pub realms: u16,
    /// Attached interfaces.
    pub interfaces: Vec<InterfaceRow>,
    /// Distinct classes that subjects refer to; index 0 is the empty class and refers to nothing.
    pub classes: Vec<Class>,
    /// Names and single addresses, sorted by key, keys distinct.
    pub subjects: Arc<Vec<Subject>>,
    /// The /20s that hold the IPv4 addresses among the subjects.
    pub blocks4: Blocks4,
    /// IPv4 prefixes shorter than /32, sorted.
    pub nets4: Vec<NetSubject<Ipv4Net>>,
    /// IPv6 prefixes shorter than /128, sorted.
    pub nets6: Vec<NetSubject<Ipv6Net>>,
    /// Enrolled organisations, sorted by id.
    pub organisations: Vec<Organisation>,
    /// Profiles that organisations may come under by the clock: there is to be room for the policy of each.
    pub profiles: usize,
    /// Where forbidden names lead.
    pub portal: PortalAddresses,
    /// Where requests for them are sent.
    pub page: PageText,
    /// Where names of search engines lead, by row of `ANSWERS`; rows that are not here lead nowhere.
    pub safe_search: BTreeMap<u32, PortalAddresses>,
    /// New flows that one organisation may open in a second.
    pub syn_limit: u32,
    /// The operator's switch: everything passes.
    pub pass_all: bool,
}

/// A set of IPv4 /20s: a bit each. It may hold more than it must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks4 {
    words: Vec<u64>,
}

impl Blocks4 {
    /// Words of a set: a bit for each /20.
    pub const WORDS: u32 = 1 << 14;

    /// Adds the /20 of an address.
    pub fn add(&mut self, address: u32) {
        self.raise(address >> 18, 1 << (address >> 12 & 63));
    }

    /// Adds the /20s that a prefix meets.
    pub fn add_net(&mut self, net: Ipv4Net) {
        for (word, bits) in range_words(net, 12) {
            self.raise(word, bits);
        }
    }

    fn raise(&mut self, word: u32, bits: u64) {
        self.words.resize(Self::WORDS as usize, 0);
        if let Some(word) = self.words.get_mut(word as usize) {
            *word |= bits;
        }
    }

    /// The words; none at all while the set is empty.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

/// Words and bits of a bitmap with one bit for each `1 << shift` addresses, where a prefix meets them.
pub(crate) fn range_words(net: Ipv4Net, shift: u32) -> impl Iterator<Item = (u32, u64)> {
    let first = u32::from(net.network()) >> shift;
    let last = u32::from(net.broadcast()) >> shift;
    (first >> 6..=last >> 6).map(move |word| {
        let from = first.max(word << 6) & 63;
        let to = last.min(word << 6 | 63) & 63;
        (word, u64::MAX >> (63 - to) & u64::MAX << from)
    })
}

/// Sizes of the flow tables, fixed while a set of maps lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSizes {
    /// Flow slots; a power of two, at least 4,096.
    pub flows: u32,
    /// Slots for unfinished ClientHellos; a power of two, at least 1,024.
    pub hellos: u32,
}

impl Default for FlowSizes {
    fn default() -> Self {
        FlowSizes {
            flows: 1 << 16,
            hellos: 1 << 14,
        }
    }
}

/// Key of a destination address as a subject.
#[must_use]
pub fn address_key(seed: u64, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => filter_common::name::ipv4_key(seed, u32::from(v4)),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments().map(u64::from);
            let high = a << 48 | b << 32 | c << 16 | d;
            let low = e << 48 | f << 32 | g << 16 | h;
            filter_common::name::ipv6_key(seed, high, low)
        }
    }
}
