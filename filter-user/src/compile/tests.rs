//! Compilation against a naive reference: for many small registries, what the compiled rows say of a
//! name or address is what a walk over the list lines says.

use std::net::Ipv4Addr;
use std::path::Path;

use filter_common::name::name_key;

use super::*;
use crate::registry::load::{KeptBefore, load};
use crate::registry::progress::Progress;
use crate::testing::TempDir;

const SEED: u64 = 9;

struct Built {
    config: Config,
    sources: Vec<Source>,
    numbers: Numbers,
}

impl Built {
    fn new(dir: &TempDir, text: &str) -> Built {
        let config = Config::from_text(&dir.path().join("s.toml"), text).unwrap();
        let loaded = load(&config, SEED, &[], &KeptBefore::new(), Progress::Quiet).unwrap();
        let numbers = Numbers::default().assign(&config);
        Built {
            config,
            sources: loaded.sources,
            numbers,
        }
    }

    fn compile(&self, before: Option<&Compiled>) -> Compiled {
        let input = Input {
            config: &self.config,
            sources: &self.sources,
            numbers: &self.numbers,
            interfaces: &[],
            seed: SEED,
            moment: &Moment::default(),
            before,
        };
        compile(&input).unwrap()
    }
}

fn class_of(compiled: &Compiled, key: u64) -> filter_common::abi::Class {
    let desired = &compiled.desired;
    match desired
        .subjects
        .binary_search_by_key(&key, |subject| subject.key)
    {
        Ok(at) => desired.classes[usize::from(desired.subjects[at].class)],
        Err(_) => filter_common::abi::Class::default(),
    }
}

fn three_registries(dir: &TempDir, unified: &str, nsor: &str, local: &str) -> Built {
    dir.write("unified", unified);
    dir.write("nsor", nsor);
    dir.write("local", local);
    Built::new(
        dir,
        "[[registries]]\nid = \"u\"\ntier = \"unified\"\nformat = \"mixed\"\nsemantics = \"exact\"\npath = \"unified\"\n\
         [[registries]]\nid = \"n\"\ntier = \"nsor\"\nformat = \"mixed\"\nsemantics = \"suffix\"\npath = \"nsor\"\ncategories = [\"games\"]\n\
         [[registries]]\nid = \"l\"\ntier = \"local\"\nformat = \"mixed\"\nsemantics = \"exact\"\npath = \"local\"\n",
    )
}

#[test]
fn classes_hold_every_list_of_a_name() {
    let dir = TempDir::new();
    let built = three_registries(
        &dir,
        "a.example\nb.example\n",
        "a.example\n",
        "*.a.example\n",
    );
    let compiled = built.compile(None);
    let games = built.config.categories.bit("games").unwrap();
    let unlawful = built.config.categories.bit("unlawful").unwrap();
    let class = class_of(&compiled, name_key(SEED, b"a.example").unwrap());
    assert_eq!(
        (class.exact.unified, class.suffix.nsor, class.suffix.local),
        (unlawful, games, 1)
    );
    assert_eq!(
        (class.suffix.unified, class.exact.nsor, class.exact.local),
        (0, 0, 0)
    );
    let keys: Vec<u64> = compiled
        .desired
        .subjects
        .iter()
        .map(|subject| subject.key)
        .collect();
    assert!(keys.is_sorted() && keys.len() == 2);
    assert!(
        compiled
            .desired
            .subjects
            .iter()
            .all(|subject| subject.class > 0 && subject.entry > 0)
    );
}

/// A small generator, so that the cases are the same at every run.
struct Cases(u64);

impl Cases {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn nested_prefixes_hold_the_registries_of_all_around_them() {
    let mut cases = Cases(1);
    for round in 0..40 {
        let dir = TempDir::new();
        let mut lists = [String::new(), String::new(), String::new()];
        let mut lines: Vec<(usize, ipnet::Ipv4Net)> = Vec::new();
        for _ in 0..30 {
            let length = 20 + u8::try_from(cases.below(13)).unwrap();
            let address = 0xcb00_7000 | u32::try_from(cases.below(4096)).unwrap();
            let net = ipnet::Ipv4Net::new(Ipv4Addr::from(address), length)
                .unwrap()
                .trunc();
            let list = usize::try_from(cases.below(3)).unwrap();
            lists[list].push_str(&format!("{net}\n"));
            lines.push((list, net));
        }
        let built = three_registries(&dir, &lists[0], &lists[1], &lists[2]);
        let compiled = built.compile(None);
        for offset in (0..4096).step_by(7) {
            let address = Ipv4Addr::from(0xcb00_7000 | offset);
            let listed = |list| {
                lines
                    .iter()
                    .any(|(of, net)| *of == list && net.contains(&address))
            };
            let found = look_up(&compiled, address);
            let found = [found.unified != 0, found.nsor != 0, found.local != 0];
            assert_eq!(found, [0, 1, 2].map(listed), "round {round}, {address}");
        }
    }
}

/// The host entry and the longest prefix, as the data path looks them up.
fn look_up(compiled: &Compiled, address: Ipv4Addr) -> Tiers {
    let desired = &compiled.desired;
    let host = class_of(compiled, address_key(SEED, address.into())).exact;
    let longest = desired
        .nets4
        .iter()
        .filter(|row| row.net.contains(&address))
        .max_by_key(|row| row.net.prefix_len());
    let net = longest
        .map(|row| desired.classes[usize::from(row.class)].exact)
        .unwrap_or_default();
    join(host, net)
}

#[test]
fn entries_that_stay_keep_their_numbers() {
    let dir = TempDir::new();
    let first =
        three_registries(&dir, "b.example\nc.example\n203.0.113.0/24\n", "", "").compile(None);
    let built = three_registries(
        &dir,
        "a.example\nc.example\nd.example\n203.0.113.0/24\n203.0.112.0/24\n",
        "",
        "",
    );
    let second = built.compile(Some(&first));
    let entry = |compiled: &Compiled, name: &str| {
        let key = name_key(SEED, name.as_bytes()).unwrap();
        compiled
            .desired
            .subjects
            .iter()
            .find(|subject| subject.key == key)
            .map(|subject| subject.entry)
    };
    assert_eq!(entry(&first, "c.example"), entry(&second, "c.example"));
    assert_eq!(first.desired.nets4[0].entry, second.desired.nets4[1].entry);
    let mut numbers: Vec<u32> = second
        .desired
        .subjects
        .iter()
        .map(|subject| subject.entry)
        .collect();
    numbers.extend(second.desired.nets4.iter().map(|row| row.entry));
    numbers.push(entry(&first, "b.example").unwrap());
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(
        numbers.len(),
        6,
        "no number is used twice, not even one that fell free"
    );
}

#[test]
fn prefixes_that_hold_an_organisation_or_infrastructure_are_not_applied() {
    let dir = TempDir::new();
    dir.write(
        "unified",
        "192.0.2.0/24\n198.51.100.0/24\n203.0.113.0/24\n192.0.2.4/31\n2001:db8::/32\n",
    );
    let built = Built::new(
        &dir,
        "[[registries]]\nid = \"u\"\ntier = \"unified\"\nformat = \"addresses\"\npath = \"unified\"\n\
         [[profiles]]\nid = \"p\"\n\
         [[organisations]]\nid = \"s\"\nprofile = \"p\"\nprefixes = [\"192.0.2.0/28\", \"2001:db8:5::/48\"]\n\
         [infrastructure]\nresolvers = [\"198.51.100.53\"]\n",
    );
    let compiled = built.compile(None);
    let kept: Vec<String> = compiled
        .desired
        .nets4
        .iter()
        .map(|row| row.net.to_string())
        .collect();
    assert_eq!(kept, ["203.0.113.0/24"]);
    assert!(compiled.desired.nets6.is_empty());
    let lines: Vec<u32> = compiled
        .rejected
        .iter()
        .map(|rejected| rejected.line)
        .collect();
    assert_eq!(lines, [1, 4, 2, 5]);
}

#[test]
fn infrastructure_is_a_subject_above_all_lists() {
    let dir = TempDir::new();
    dir.write("unified", "198.51.100.53\n");
    let built = Built::new(
        &dir,
        "[[registries]]\nid = \"u\"\ntier = \"unified\"\nformat = \"addresses\"\npath = \"unified\"\n\
         [infrastructure]\nresolvers = [\"198.51.100.53\"]\n",
    );
    let class = class_of(
        &built.compile(None),
        address_key(SEED, Ipv4Addr::new(198, 51, 100, 53).into()),
    );
    assert_eq!(class.exact.local, LOCAL_INFRASTRUCTURE);
}

#[test]
fn policies_are_those_of_the_profile() {
    let dir = TempDir::new();
    dir.write("a", "a.example\n");
    dir.write("b", "b.example\n");
    let local = |id: &str| {
        format!(
            "[[registries]]\nid = \"{id}\"\ntier = \"local\"\nformat = \"domains\"\nsemantics = \"exact\"\npath = \"{id}\"\n"
        )
    };
    let text = format!(
        "{}{}[[profiles]]\nid = \"p\"\nage = 12\nblock = [\"games\"]\nwarn = [\"video\"]\nallow = [\"b\"]\ndeny = [\"a\"]\n\
         allow_only = true\nsuspicious = false\naction = \"drop\"\nencrypted_dns = \"allow\"\nech = \"allow\"\n\
         [[organisations]]\nid = \"s\"\nprofile = \"p\"\nprefixes = [\"192.0.2.0/28\"]\n",
        local("a"),
        local("b")
    );
    let built = Built::new(&dir, &text);
    let policy = built.compile(None).desired.organisations[0].policy;
    let bit = |id| built.config.categories.bit(id).unwrap();
    assert_eq!((policy.block, policy.warn), (bit("games"), bit("video")));
    assert_eq!((policy.local_deny, policy.local_allow), (1 << 0, 1 << 1));
    assert!(policy.age & bit("gambling") != 0 && policy.age & bit("social") == 0);
    assert!(policy.mandatory & bit("suicide") != 0 && policy.mandatory & bit("games") == 0);
    assert_eq!(
        (policy.suspicious, policy.flags),
        (
            0,
            filter_common::abi::POLICY_ALLOW_ONLY
                | filter_common::abi::POLICY_DNS_NXDOMAIN
                | filter_common::abi::POLICY_QUIC_INSPECT
        )
    );
    assert_eq!(policy.action, filter_common::verdict::Action::Drop as u32);
}

#[test]
fn forbidden_names_lead_to_the_first_portal_of_each_family() {
    let dir = TempDir::new();
    let school = |dns: &str| {
        format!(
            "[[profiles]]\nid = \"p\"\n{dns}[[organisations]]\nid = \"s\"\nprofile = \"p\"\nprefixes = [\"192.0.2.0/28\"]\n"
        )
    };
    let portal =
        "[infrastructure]\nportal = [\"198.51.100.80\", \"2001:db8::80\", \"198.51.100.81\"]\n";
    let desired = |text: &str| Built::new(&dir, text).compile(None).desired;
    let nxdomain = filter_common::abi::POLICY_DNS_NXDOMAIN;
    let with = desired(&format!("{}{portal}", school("")));
    assert_eq!(with.portal.v4, "198.51.100.80".parse().ok());
    assert_eq!(with.portal.v6, "2001:db8::80".parse().ok());
    assert_eq!(with.organisations[0].policy.flags & nxdomain, 0);
    let chosen = desired(&format!("{}{portal}", school("dns = \"nxdomain\"\n")));
    assert_ne!(chosen.organisations[0].policy.flags & nxdomain, 0);
    let without = desired(&school("dns = \"portal\"\n"));
    assert_ne!(without.organisations[0].policy.flags & nxdomain, 0);
}

#[test]
fn quic_is_read_unless_the_profile_says_otherwise() {
    let dir = TempDir::new();
    let (allow, inspect) = (
        filter_common::abi::POLICY_QUIC_ALLOW,
        filter_common::abi::POLICY_QUIC_INSPECT,
    );
    let flags = |quic: &str| {
        let text = format!(
            "[[profiles]]\nid = \"p\"\n{quic}[[organisations]]\nid = \"s\"\nprofile = \"p\"\nprefixes = [\"192.0.2.0/28\"]\n"
        );
        let desired = Built::new(&dir, &text).compile(None).desired;
        desired.organisations[0].policy.flags & (allow | inspect)
    };
    assert_eq!(flags(""), inspect);
    assert_eq!(flags("quic = \"inspect\"\n"), inspect);
    assert_eq!(flags("quic = \"fallback\"\n"), 0);
    assert_eq!(flags("quic = \"allow\"\n"), allow);
}

#[test]
fn ways_to_hide_names_are_denied_where_a_profile_blocks_them() {
    use filter_common::abi::{POLICY_ECH_WITHHELD, POLICY_ENCRYPTED_DNS};
    let dir = TempDir::new();
    dir.write("doh", "doh.example\n203.0.113.5\n198.51.100.0/24\n");
    let of_tier = |tier: &str, format: &str, key: &str| {
        let text = format!(
            "[[registries]]\nid = \"d\"\ntier = \"{tier}\"\nformat = \"{format}\"\nsemantics = \"suffix\"\npath = \"doh\"\n\
             [[profiles]]\nid = \"p\"\n{key}[[organisations]]\nid = \"s\"\nprofile = \"p\"\nprefixes = [\"192.0.2.0/28\"]\n"
        );
        Built::new(&dir, &text).compile(None)
    };
    let of = |key: &str| of_tier("encrypted_dns", "mixed", key);
    let named =
        |compiled: &Compiled, name: &[u8]| class_of(compiled, name_key(SEED, name).unwrap());
    let hidden = LOCAL_ENCRYPTED_DNS | LOCAL_CANARY | LOCAL_ECH;
    let blocked = of("");
    let policy = blocked.desired.organisations[0].policy;
    assert_eq!(policy.local_deny, hidden, "by default");
    assert_ne!(policy.flags & POLICY_ENCRYPTED_DNS, 0);
    assert_ne!(policy.flags & POLICY_ECH_WITHHELD, 0);
    assert_eq!(
        named(&blocked, b"doh.example").suffix.local,
        LOCAL_ENCRYPTED_DNS
    );
    let address = address_key(SEED, Ipv4Addr::new(203, 0, 113, 5).into());
    assert_eq!(class_of(&blocked, address).exact.local, LOCAL_ENDPOINT);
    let net = blocked.desired.nets4[0];
    let class = blocked.desired.classes[usize::from(net.class)];
    assert_eq!(class.exact.local, LOCAL_ENDPOINT);
    for (name, suffix) in CANARY_NAMES {
        let class = named(&blocked, name.as_bytes());
        let wanted = [(LOCAL_CANARY, 0), (0, LOCAL_CANARY)][usize::from(suffix)];
        assert_eq!((class.exact.local, class.suffix.local), wanted, "{name}");
    }
    let list = dir.path().join("doh");
    std::fs::write(list, "outer.example\n203.0.113.5\n").unwrap();
    let ech = of_tier("ech", "domains", "");
    assert_eq!(named(&ech, b"outer.example").suffix.local, LOCAL_ECH);
    assert_eq!(class_of(&ech, address).exact.local, 0, "names only");
    let allowed = of("encrypted_dns = \"allow\"\nech = \"allow\"\n");
    let policy = allowed.desired.organisations[0].policy;
    assert_eq!(policy.local_deny, 0);
    let flags = POLICY_ENCRYPTED_DNS | POLICY_ECH_WITHHELD;
    assert_eq!(policy.flags & flags, 0);
    assert_eq!(named(&allowed, b"mask.icloud.com").exact.local, 0);
}

#[test]
fn search_engines_lead_to_their_safe_form_where_a_profile_says_so() {
    use filter_common::abi::{LOCAL_ENGINE_SHIFT, POLICY_SAFE_SEARCH};
    let dir = TempDir::new();
    dir.write(
        "engines.toml",
        "[[engines]]\nid = \"one\"\nname = \"One\"\nnames = [\"www.one.example\"]\n\
         strict = { target = \"safe.one.example\", ipv4 = \"192.0.2.1\" }\n\
         [[engines]]\nid = \"two\"\nname = \"Two\"\nnames = [\"two.example\"]\n\
         strict = { target = \"s.two.example\", ipv6 = \"2001:db8::2\" }\n\
         moderate = { target = \"m.two.example\", ipv4 = \"192.0.2.2\" }\n",
    );
    let of = |word: &str| {
        let text = format!(
            "safe_search_file = \"engines.toml\"\n[[profiles]]\nid = \"p\"\nsafe_search = \"{word}\"\n\
             [[organisations]]\nid = \"s\"\nprofile = \"p\"\nprefixes = [\"192.0.2.0/28\"]\n"
        );
        Built::new(&dir, &text).compile(None)
    };
    let local = |compiled: &Compiled, name: &[u8]| {
        let class = class_of(compiled, name_key(SEED, name).unwrap());
        assert_eq!(class.suffix.local, 0, "the name alone");
        class.exact.local
    };
    let flags = |compiled: &Compiled| compiled.desired.organisations[0].policy.flags;
    let strict = of("strict");
    assert_eq!(local(&strict, b"www.one.example"), 1 << LOCAL_ENGINE_SHIFT);
    assert_eq!(local(&strict, b"two.example"), 2 << LOCAL_ENGINE_SHIFT);
    assert_eq!(flags(&strict) & POLICY_SAFE_SEARCH, POLICY_SAFE_SEARCH);
    assert_eq!(flags(&strict) & POLICY_SAFE_MODERATE, 0);
    let rows = &strict.desired.safe_search;
    let row = |at: u32| (rows[&at].v4, rows[&at].v6);
    let v4 = |text: &str| text.parse().ok();
    assert_eq!(rows.len(), 4);
    assert_eq!(row(2), (v4("192.0.2.1"), None));
    assert_eq!(row(3), row(2), "no moderate form: the strict one");
    assert_eq!(row(4), (None, "2001:db8::2".parse().ok()));
    assert_eq!(row(5), (v4("192.0.2.2"), None));
    assert_ne!(flags(&of("moderate")) & POLICY_SAFE_MODERATE, 0);
    let off = of("off");
    assert_eq!(local(&off, b"www.one.example"), 0);
    assert!(off.desired.safe_search.is_empty() && flags(&off) & POLICY_SAFE_SEARCH == 0);
}

#[test]
fn sample_configuration_compiles() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/schoolgate.sample.toml");
    let everything = crate::load::offline(&file, Progress::Quiet).unwrap();
    assert_eq!(everything.compiled.desired.organisations.len(), 6);
    assert!(everything.compiled.rejected.is_empty());
}
