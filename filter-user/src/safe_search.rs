//! Search engines whose safe form is at an address of its own: the names that lead there, and the addresses.
//! Data, read from a file (`rules/safesearch.toml`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use filter_common::abi::ENGINES_MAX;
use toml::de::DeTable;

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

/// A form of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The name that the engine publishes for it.
    pub target: String,
    /// Its addresses, at least one.
    pub addresses: PortalAddresses,
}

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

    /// `{ target = "...", ipv4 = "...", ipv6 = "..." }`
    fn form(&mut self, mut section: Section<'_, '_>) -> Option<Form> {
        let at = section.at();
        let target = section.required(self.source, "target");
        let ipv4 = section.string(self.source, "ipv4");
        let ipv6 = section.string(self.source, "ipv6");
        section.finish(self.source);
        if ipv4.is_none() && ipv6.is_none() {
            let what = "[[engines]] form without an address";
            self.source.problem(at, what, "add ipv4, ipv6 or both");
        }
        let v4 = ipv4.and_then(|text| self.address(&text, IPV4));
        let v6 = ipv6.and_then(|text| self.address(&text, IPV6));
        let target = target?;
        let Some(name) = host(&target.value) else {
            let what = format!("[[engines]] target: \"{}\" is no host name", target.value);
            (self.source).problem(target.at, what, "write the name that the engine publishes");
            return None;
        };
        Some(Form {
            target: name,
            addresses: PortalAddresses {
                v4: v4.and_then(|address| match address {
                    IpAddr::V4(v4) => Some(v4),
                    IpAddr::V6(_) => None,
                }),
                v6: v6.and_then(|address| match address {
                    IpAddr::V6(v6) => Some(v6),
                    IpAddr::V4(_) => None,
                }),
            },
        })
    }

    /// An address that can be a server's.
    fn address(&mut self, text: &At<String>, family: &str) -> Option<IpAddr> {
        let parsed = text.value.parse::<IpAddr>().ok();
        let found = parsed.filter(|address| {
            let nobody =
                address.is_unspecified() || address.is_multicast() || address.is_loopback();
            address.is_ipv6() == (family == IPV6) && !nobody
        });
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
        assert_eq!(ids, ["google", "youtube", "bing", "duckduckgo", "yandex"]);
        let google = &engines[0];
        assert!(google.names.len() > 185, "{}", google.names.len());
        assert!(google.names.contains(&"www.google.co.uk".to_owned()));
        assert_eq!(google.moderate(), &google.strict);
        let youtube = &engines[1];
        assert_ne!(youtube.moderate(), &youtube.strict);
        assert!(
            engines
                .iter()
                .all(|engine| engine.strict.addresses.v4.is_some())
        );
    }

    #[test]
    fn patterns_stand_for_a_name_in_each_domain() {
        let engines = from_text(Path::new("s.toml"), GOOD).unwrap();
        assert_eq!(engines[0].names, ["www.a.com", "www.a.co.uk", "a.example"]);
        assert_eq!(engines[1].names, ["b.example"]);
        assert_eq!(engines[1].moderate().target, "m.b.example");
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
            ", ipv4 = \"192.0.2.1\"",
            "",
            "s.toml:6: [[engines]] form without an address",
        ),
        (
            "target = \"safe.a.com\", ",
            "",
            "s.toml:6: [strict] has no target",
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
