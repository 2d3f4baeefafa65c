//! Search engines whose safe form is at an address of its own: the names that lead there, and the addresses.
//! Data, read from a file (`rules/safesearch.toml`), and what the resolver says of the engines' own names for it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;

use filter_common::abi::ENGINES_MAX;
use toml::de::DeTable;

use crate::config::Config;
use crate::config::reader::{At, Section, Source};
use crate::desired::PortalAddresses;
use crate::normalise::{self, Accept, Guards, Subject};
use crate::problem::Problem;

/// The list that comes with the program.
pub const BUILT_IN: &str = include_str!("../../rules/safesearch.toml");

const IPV4: &str = "IPv4";
const IPV6: &str = "IPv6";
/// What stands for one label or more behind a name.
const PATTERN: &str = ".*";

/// How much is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeSearch {
    /// Nothing: names are resolved as they are.
    Off,
    /// The moderate form of the engines that have one, the strict form of the others.
    Moderate,
    /// The strict form.
    Strict,
}

/// A form of an engine: a name to ask for, addresses, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The name that the engine publishes for it.
    pub target: Option<String>,
    /// The addresses in the file.
    pub listed: PortalAddresses,
    /// What the resolver said last of `target`.
    pub found: Option<PortalAddresses>,
}

impl Form {
    /// Where names of the engine lead: nowhere, while `target` was never found and nothing is listed.
    #[must_use]
    pub fn addresses(&self) -> PortalAddresses {
        self.found.unwrap_or(self.listed)
    }
}

/// Addresses by target.
pub type Found = BTreeMap<String, PortalAddresses>;

/// A search engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Its id, unique.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its host names, canonical, each of one engine only.
    pub names: Vec<String>,
    /// Its strict form.
    pub strict: Form,
    /// Its moderate form, if it has one.
    pub moderate: Option<Form>,
}

impl Engine {
    /// The form that a moderate policy leads to.
    #[must_use]
    pub fn moderate(&self) -> &Form {
        self.moderate.as_ref().unwrap_or(&self.strict)
    }

    fn forms(&self) -> impl Iterator<Item = &Form> {
        std::iter::once(&self.strict).chain(&self.moderate)
    }

    fn forms_mut(&mut self) -> impl Iterator<Item = &mut Form> {
        std::iter::once(&mut self.strict).chain(&mut self.moderate)
    }
}

/// The targets of all engines with where they lead, if a profile leads to safe forms; else none.
#[must_use]
pub fn targets(config: &Config) -> Found {
    if !wanted(config) {
        return Found::new();
    }
    let forms = config.engines.iter().flat_map(Engine::forms);
    let targets = forms.filter_map(|form| Some((form.target.clone()?, form.addresses())));
    targets.collect()
}

/// Whether a profile leads to safe forms.
#[must_use]
pub fn wanted(config: &Config) -> bool {
    let mut profiles = config.profiles.iter();
    profiles.any(|profile| profile.safe_search != SafeSearch::Off)
}

/// Leads the engines to where their targets were found.
pub fn follow(engines: &mut [Engine], found: &Found) {
    for form in engines.iter_mut().flat_map(Engine::forms_mut) {
        let target = form.target.as_ref();
        form.found = target.and_then(|target| found.get(target)).copied();
    }
}

/// What to make of the resolver's answers of one family: of several addresses the one in force, so that nothing changes
/// without need, else the lowest.
///
/// # Errors
/// An answer is no server's address on the Internet, or one of the provider's `own`: a resolver's own block, most likely.
pub fn choose<A: Copy + Ord + Into<IpAddr>>(
    answers: &[A],
    in_force: Option<A>,
    own: &[IpAddr],
) -> Result<Option<A>, String> {
    let mut addresses = answers.iter().map(|answer| (*answer).into());
    if let Some(nobody) =
        addresses.find(|address: &IpAddr| !is_server(*address) || own.contains(address))
    {
        return Err(format!(
            "the resolver says {nobody}, which is no search engine's"
        ));
    }
    let kept = in_force.filter(|address| answers.contains(address));
    Ok(kept.or_else(|| answers.iter().min().copied()))
}

/// Whether an address can be a server's on the Internet.
fn is_server(address: IpAddr) -> bool {
    let here = match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    !(here || address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

/// Reads a list of engines.
///
/// # Errors
/// Every problem found, in the order of lines.
pub fn from_text(file: &Path, text: &str) -> Result<Vec<Engine>, Vec<Problem>> {
    let mut source = Source::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        source.problem(at, error.message(), "correct the TOML");
    }
    if !errors.is_empty() {
        return Err(source.into_problems());
    }
    let mut root = Section::new("the file", 0, table.get_ref());
    let mut reader = Reader {
        source: &mut source,
        ids: HashMap::new(),
        names: HashMap::new(),
    };
    let sections = root.tables(reader.source, "engines");
    let most = usize::try_from(ENGINES_MAX).unwrap_or(usize::MAX);
    if let Some(over) = sections.get(most) {
        let what = format!("{} engines", sections.len());
        let remedy = format!("leave some out: at most {most} are possible");
        reader.source.problem(over.at(), what, remedy);
    }
    let engines: Vec<Engine> = sections
        .into_iter()
        .filter_map(|section| reader.engine(section))
        .collect();
    root.finish(&mut source);
    let problems = source.into_problems();
    if problems.is_empty() {
        Ok(engines)
    } else {
        Err(problems)
    }
}

/// The list that comes with the program.
#[must_use]
pub fn built_in() -> Vec<Engine> {
    // A test reads the same text: it has no problem.
    from_text(Path::new("rules/safesearch.toml"), BUILT_IN).unwrap_or_default()
}

struct Reader<'a> {
    source: &'a mut Source,
    /// Line of each id.
    ids: HashMap<String, u32>,
    /// Line of each name.
    names: HashMap<String, u32>,
}

impl Reader<'_> {
    fn engine(&mut self, mut section: Section<'_, '_>) -> Option<Engine> {
        let at = section.at();
        let id = section.required(self.source, "id");
        let name = section.required(self.source, "name");
        let patterns = section.strings(self.source, "names");
        let domains = section.strings(self.source, "domains");
        let strict = section.table(self.source, "strict");
        let moderate = section.table(self.source, "moderate");
        if patterns.is_empty() {
            let remedy = "add names = [\"www.example.com\"]";
            self.source.problem(at, "[[engines]] has no names", remedy);
        }
        if strict.is_none() && !section.has("strict") {
            let remedy = "add strict = { target = \"...\", ipv4 = \"...\" }";
            self.source.problem(at, "[[engines]] has no strict", remedy);
        }
        section.finish(self.source);
        if let Some(id) = &id {
            let line = self.source.line(id.at);
            if let Some(first) = self.ids.insert(id.value.clone(), line) {
                let what = format!("[[engines]] id \"{}\" is there twice", id.value);
                let remedy = format!("give it another id: the first one is on line {first}");
                self.source.problem(id.at, what, remedy);
            }
        }
        let names = self.names(&patterns, &domains);
        let strict = strict.and_then(|form| self.form(form));
        let moderate = moderate.map(|form| self.form(form));
        Some(Engine {
            id: id?.value,
            name: name?.value,
            names,
            strict: strict?,
            moderate: match moderate {
                Some(form) => Some(form?),
                None => None,
            },
        })
    }

    /// The names that patterns and domains stand for.
    fn names(&mut self, patterns: &[At<String>], domains: &[At<String>]) -> Vec<String> {
        let mut names = Vec::new();
        let mut used = false;
        for pattern in patterns {
            let Some(stem) = pattern.value.strip_suffix(PATTERN) else {
                names.extend(self.name(&pattern.value, pattern.at));
                continue;
            };
            used = true;
            if domains.is_empty() {
                let what = format!(
                    "[[engines]] names: \"{}\" stands for nothing",
                    pattern.value
                );
                (self.source).problem(pattern.at, what, "add domains = [\"com\", ...]");
            }
            for domain in domains {
                names.extend(self.name(&format!("{stem}.{}", domain.value), domain.at));
            }
        }
        if let Some(first) = domains.first().filter(|_| !used) {
            let remedy = "write a name that ends in .*, or leave the key out";
            (self.source).problem(first.at, "[[engines]] domains: no name needs them", remedy);
        }
        names
    }

    /// A host name in its canonical form, if it is one and of no other engine.
    fn name(&mut self, text: &str, at: usize) -> Option<String> {
        let Some(name) = host(text) else {
            let what = format!("[[engines]] \"{text}\" is no host name");
            (self.source).problem(at, what, "write a whole name, such as www.example.com");
            return None;
        };
        let line = self.source.line(at);
        if let Some(first) = self.names.insert(name.clone(), line) {
            let what = format!("[[engines]] name \"{name}\" is there twice");
            let remedy = format!("leave one out: the first one is on line {first}");
            self.source.problem(at, what, remedy);
            return None;
        }
        Some(name)
    }

    /// `{ target = "...", ipv4 = "...", ipv6 = "..." }`, of which one at least is there.
    fn form(&mut self, mut section: Section<'_, '_>) -> Option<Form> {
        let at = section.at();
        let target = section.string(self.source, "target");
        let ipv4 = section.string(self.source, "ipv4");
        let ipv6 = section.string(self.source, "ipv6");
        section.finish(self.source);
        if target.is_none() && ipv4.is_none() && ipv6.is_none() {
            let what = "[[engines]] form without a target and without an address";
            self.source.problem(at, what, "add target, ipv4 or ipv6");
        }
        let v4 = ipv4.and_then(|text| self.address(&text, IPV4));
        let v6 = ipv6.and_then(|text| self.address(&text, IPV6));
        Some(Form {
            target: match target {
                Some(target) => Some(self.target(&target)?),
                None => None,
            },
            listed: PortalAddresses {
                v4: v4.and_then(|address| match address {
                    IpAddr::V4(v4) => Some(v4),
                    IpAddr::V6(_) => None,
                }),
                v6: v6.and_then(|address| match address {
                    IpAddr::V6(v6) => Some(v6),
                    IpAddr::V4(_) => None,
                }),
            },
            found: None,
        })
    }

    fn target(&mut self, target: &At<String>) -> Option<String> {
        let name = host(&target.value);
        if name.is_none() {
            let what = format!("[[engines]] target: \"{}\" is no host name", target.value);
            (self.source).problem(target.at, what, "write the name that the engine publishes");
        }
        name
    }

    /// An address that can be a server's.
    fn address(&mut self, text: &At<String>, family: &str) -> Option<IpAddr> {
        let parsed = text.value.parse::<IpAddr>().ok();
        let found =
            parsed.filter(|address| address.is_ipv6() == (family == IPV6) && is_server(*address));
        if found.is_none() {
            let what = format!(
                "[[engines]] \"{}\" is no server's {family} address",
                text.value
            );
            self.source.problem(text.at, what, "write one address");
        }
        found
    }
}

/// The canonical form of a host name.
fn host(text: &str) -> Option<String> {
    match normalise::line(text.as_bytes(), Accept::Names, Guards::NONE) {
        Ok(Some(Subject::Name {
            name,
            suffix: false,
        })) => Some(name.into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[engines]]\nid = \"a\"\nname = \"A\"\nnames = [\"www.a.*\", \"a.example\"]\n\
        domains = [\"com\", \"co.uk\"]\nstrict = { target = \"safe.a.com\", ipv4 = \"192.0.2.1\" }\n\
        [[engines]]\nid = \"b\"\nname = \"B\"\nnames = [\"B.Example.\"]\n\
        strict = { target = \"s.b.example\", ipv6 = \"2001:db8::1\" }\n\
        moderate = { target = \"m.b.example\", ipv4 = \"192.0.2.2\", ipv6 = \"2001:db8::2\" }\n";

    fn problems(text: &str) -> Vec<String> {
        let problems = from_text(Path::new("s.toml"), text).err();
        let problems = problems.unwrap_or_default().into_iter();
        problems.map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn built_in_engines_are_sound() {
        let engines = from_text(Path::new("s"), BUILT_IN).unwrap();
        let ids: Vec<&str> = engines.iter().map(|engine| engine.id.as_str()).collect();
        let known = [
            "google",
            "youtube",
            "bing",
            "duckduckgo",
            "yandex",
            "ecosia",
            "pixabay",
        ];
        assert_eq!(ids, known);
        let google = &engines[0];
        assert!(google.names.len() > 185, "{}", google.names.len());
        assert!(google.names.contains(&"www.google.co.uk".to_owned()));
        assert_eq!(google.moderate(), &google.strict);
        let youtube = &engines[1];
        assert_ne!(youtube.moderate(), &youtube.strict);
        // Those of large hosters change: their targets alone are known.
        let unlisted = engines
            .iter()
            .filter(|engine| engine.strict.listed == PortalAddresses::default());
        assert_eq!(
            unlisted
                .map(|engine| engine.id.as_str())
                .collect::<Vec<_>>(),
            ["ecosia", "pixabay"]
        );
        let mut forms = engines.iter().flat_map(Engine::forms);
        assert!(forms.all(|form| form.target.is_some()));
    }

    #[test]
    fn patterns_stand_for_a_name_in_each_domain() {
        let engines = from_text(Path::new("s.toml"), GOOD).unwrap();
        assert_eq!(engines[0].names, ["www.a.com", "www.a.co.uk", "a.example"]);
        assert_eq!(engines[1].names, ["b.example"]);
        let target = engines[1].moderate().target.as_deref();
        assert_eq!(target, Some("m.b.example"));
    }

    #[test]
    fn what_is_found_stands_above_what_is_listed() {
        let mut engines = from_text(Path::new("s.toml"), GOOD).unwrap();
        let listed = engines[0].strict.addresses();
        assert_eq!(listed.v4, Some([192, 0, 2, 1].into()));
        let there = PortalAddresses {
            v4: Some([192, 0, 2, 9].into()),
            v6: None,
        };
        let found = Found::from([("safe.a.com".to_owned(), there)]);
        follow(&mut engines, &found);
        assert_eq!(engines[0].strict.addresses(), there);
        assert_eq!(engines[1].strict.addresses(), engines[1].strict.listed);
        follow(&mut engines, &Found::new());
        assert_eq!(engines[0].strict.addresses(), listed);
    }

    #[test]
    fn targets_are_asked_for_only_where_a_profile_needs_them() {
        let of = |word: &str| {
            let text = format!("[[profiles]]\nid = \"p\"\nsafe_search = \"{word}\"\n");
            let config = Config::from_text(Path::new("s.toml"), &text).unwrap();
            targets(&config).len()
        };
        assert_eq!(of("off"), 0);
        assert_eq!(of("moderate"), of("strict"));
        assert_eq!(of("strict"), 8, "seven engines, one with two forms");
    }

    #[test]
    fn an_address_in_force_is_kept_and_a_sinkhole_refused() {
        use std::net::Ipv4Addr;
        let [one, two, three] = [1, 2, 3].map(|last| Ipv4Addr::new(198, 51, 100, last));
        assert_eq!(choose(&[two, one], None, &[]), Ok(Some(one)));
        assert_eq!(choose(&[two, one], Some(two), &[]), Ok(Some(two)));
        assert_eq!(choose(&[two, one], Some(three), &[]), Ok(Some(one)));
        assert_eq!(choose(&[], Some(one), &[]), Ok(None));
        assert!(choose(&[two], Some(two), &[two.into()]).is_err());
        for sink in ["0.0.0.0", "127.0.0.1", "10.0.0.1", "169.254.1.1"] {
            let sink: Ipv4Addr = sink.parse().unwrap();
            let refused = choose(&[one, sink], None, &[]).unwrap_err();
            assert!(refused.contains(&sink.to_string()), "{refused}");
        }
        for sink in ["::", "::1", "fe80::1", "fd00::1"] {
            let sink: std::net::Ipv6Addr = sink.parse().unwrap();
            assert!(choose(&[sink], None, &[]).is_err());
        }
    }

    /// What is replaced in the good file, by what, and the beginning of the problem.
    const MISTAKES: &[(&str, &str, &str)] = &[
        (
            "id = \"b\"",
            "id = \"a\"",
            "s.toml:8: [[engines]] id \"a\" is there twice",
        ),
        (
            "B.Example.",
            "www.a.com",
            "s.toml:10: [[engines]] name \"www.a.com\" is there twice",
        ),
        (
            "B.Example.",
            "*.b.example",
            "s.toml:10: [[engines]] \"*.b.example\" is no host name",
        ),
        (
            "B.Example.",
            "b.*",
            "s.toml:10: [[engines]] names: \"b.*\" stands for nothing",
        ),
        (
            "\"www.a.*\", ",
            "",
            "s.toml:5: [[engines]] domains: no name needs them",
        ),
        (
            "\"co.uk\"",
            "\"co uk\"",
            "s.toml:5: [[engines]] \"www.a.co uk\" is no host name",
        ),
        (
            "192.0.2.1",
            "192.0.2",
            "s.toml:6: [[engines]] \"192.0.2\" is no server's IPv4 address",
        ),
        (
            "192.0.2.1",
            "0.0.0.0",
            "s.toml:6: [[engines]] \"0.0.0.0\" is no server's IPv4 address",
        ),
        (
            "2001:db8::1",
            "192.0.2.1",
            "s.toml:11: [[engines]] \"192.0.2.1\" is no server's IPv6 address",
        ),
        (
            "target = \"safe.a.com\", ipv4 = \"192.0.2.1\"",
            "",
            "s.toml:6: [[engines]] form without a target and without an address",
        ),
        (
            "\"safe.a.com\"",
            "\"safe a\"",
            "s.toml:6: [[engines]] target: \"safe a\" is no host name",
        ),
        (
            "192.0.2.1",
            "10.0.0.1",
            "s.toml:6: [[engines]] \"10.0.0.1\" is no server's IPv4 address",
        ),
        (
            "ipv4 = \"192.0.2.1\"",
            "ip4 = \"192.0.2.1\"",
            "s.toml:6: [strict] unknown key ip4",
        ),
        (
            "names = [\"B.Example.\"]",
            "names = []",
            "s.toml:7: [[engines]] has no names",
        ),
        (
            "strict = { target = \"safe",
            "strct = { target = \"safe",
            "s.toml:1: [[engines]] has no strict",
        ),
        ("name = \"B\"\n", "", "s.toml:7: [[engines]] has no name"),
        (
            "[[engines]]\nid = \"b\"",
            "[[engine]]\nid = \"b\"",
            "s.toml:7: the file unknown key engine: did you mean engines?",
        ),
        ("name = \"B\"", "name = = 1", "s.toml:9: "),
    ];

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (from, to, wanted) in MISTAKES {
            assert!(GOOD.contains(*from), "{from}");
            let found = problems(&GOOD.replacen(*from, to, 1));
            assert!(
                found.iter().any(|problem| problem.starts_with(wanted)),
                "{to}: {found:#?}"
            );
        }
        let many: String = (0..32)
            .map(|at| {
                format!(
                    "[[engines]]\nid = \"e{at}\"\nname = \"E\"\nnames = [\"e{at}.example\"]\n\
                     strict = {{ target = \"s.example\", ipv4 = \"192.0.2.1\" }}\n"
                )
            })
            .collect();
        let found = problems(&many);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("s.toml:156: 32 engines"), "{found:?}");
    }
}
