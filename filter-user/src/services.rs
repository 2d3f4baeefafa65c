//! Services: named sets of names and networks, such as a messenger, which profiles deny or allow. Read
//! from `[[services]]` and from JSON (`[{id, title_ru, title_en, group, domains, prefixes}]`).

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::normalise::{self, Accept, Guards, Subject, is_public_suffix};
use crate::problem::Problem;
use crate::registry::Given;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id, unique.
    pub id: String,
    /// Its name in Russian.
    pub title_ru: String,
    /// Its name in English.
    pub title_en: String,
    /// What it is one of, such as `messengers`.
    pub group: String,
    /// Line of its table or object.
    pub line: u32,
    /// Where its entries stand.
    pub file: Arc<Path>,
    /// Names, each with all below it, and prefixes, with their lines.
    pub entries: Vec<Given>,
}

impl Service {
    /// Id of the list of its entries among the registries.
    #[must_use]
    pub fn list(&self) -> String {
        format!("service/{}", self.id)
    }

    /// What is wrong with its entries.
    pub(crate) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.entries.iter().filter_map(|entry| {
            let read = normalise::line(entry.text.as_bytes(), Accept::Mixed, Guards::ALL);
            let refusal = match read {
                Ok(Some(Subject::Name { name, .. })) if is_public_suffix(&name) => {
                    normalise::Refusal::PublicSuffix
                }
                Ok(Some(_)) => return None,
                Ok(None) => normalise::Refusal::NotName,
                Err(refusal) => refusal,
            };
            let what = format!(
                "service {}: \"{}\": {}",
                self.id,
                entry.text,
                refusal.what()
            );
            Some(Problem::at(&self.file, entry.line, what, refusal.remedy()))
        })
    }
}

/// A service as JSON has it. Unread values keep their place in the text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'t> {
    id: String,
    #[serde(default)]
    title_ru: String,
    #[serde(default)]
    title_en: String,
    #[serde(default)]
    group: String,
    #[serde(borrow, default)]
    domains: Vec<&'t RawValue>,
    #[serde(borrow, default)]
    prefixes: Vec<&'t RawValue>,
}

/// Reads services from the text of a file.
///
/// # Errors
/// What is wrong, with its lines.
pub fn from_json(file: &Path, text: &str) -> Result<Vec<Service>, Vec<Problem>> {
    let file: Arc<Path> = Arc::from(file);
    let broken = |line, error: &serde_json::Error| {
        let remedy =
            "write [{\"id\", \"title_ru\", \"title_en\", \"group\", \"domains\", \"prefixes\"}]";
        Problem::at(&file, line, format!("no list of services: {error}"), remedy)
    };
    let objects: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        let line = u32::try_from(error.line()).unwrap_or(0);
        vec![broken(line, &error)]
    })?;
    let mut services: Vec<Service> = Vec::new();
    let mut problems = Vec::new();
    let mut lines = Lines::new(text);
    for object in objects {
        let line = lines.of(object);
        let written: Written<'_> = match serde_json::from_str(object.get()) {
            Ok(written) => written,
            Err(error) => {
                let inside = u32::try_from(error.line()).unwrap_or(1).saturating_sub(1);
                problems.push(broken(line.saturating_add(inside), &error));
                continue;
            }
        };
        let mut service = Service {
            id: written.id,
            title_ru: written.title_ru,
            title_en: written.title_en,
            group: written.group,
            line,
            file: Arc::clone(&file),
            entries: Vec::new(),
        };
        let mut values: Vec<&RawValue> = written
            .domains
            .into_iter()
            .chain(written.prefixes)
            .collect();
        values.sort_by_key(|value| value.get().as_ptr().addr());
        for value in values {
            let line = lines.of(value);
            match serde_json::from_str(value.get()) {
                Ok(text) => service.entries.push(Given { line, text }),
                Err(error) => problems.push(broken(line, &error)),
            }
        }
        services.push(service);
    }
    problems.extend(check(&services));
    if problems.is_empty() {
        Ok(services)
    } else {
        Err(problems)
    }
}

/// Ids that are empty or there twice, services without entries, and entries that cannot be read.
#[must_use]
pub fn check(services: &[Service]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, service) in services.iter().enumerate() {
        let mut problem = |what: &str, remedy: &str| {
            problems.push(Problem::at(&service.file, service.line, what, remedy));
        };
        if service.id.is_empty() {
            problem("a service without id", "give it one");
        }
        if services.iter().take(at).any(|other| other.id == service.id) {
            let what = format!("service {} is there twice", service.id);
            problem(&what, "remove one, or give it another id");
        }
        if service.entries.is_empty() {
            let what = format!("service {} has neither domains nor prefixes", service.id);
            problem(&what, "add some, or remove it");
        }
        problems.extend(service.problems());
    }
    problems
}

/// Lines of values within their text, counted on from one to the next.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: u32,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        Lines {
            text,
            at: 0,
            line: 1,
        }
    }

    /// The line of a value that was borrowed from the text, and stands behind the last one asked for.
    fn of(&mut self, value: &RawValue) -> u32 {
        let at = (value.get().as_ptr().addr()).saturating_sub(self.text.as_ptr().addr());
        let passed = self.text.get(self.at..at).unwrap_or_default();
        let breaks = passed.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        self.at = self.at.max(at);
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_lines() {
        let text = "[\n {\"id\": \"a\", \"prefixes\": [\"203.0.113.0/24\"],\n  \"domains\": [\"a.example\",\n  \"b.example\"]},\n\n {\"id\": \"c\", \"domains\": [\"c.example\"]}\n]";
        let services = from_json(Path::new("s.json"), text).unwrap();
        let entries: Vec<(&str, u32)> = (services.iter())
            .flat_map(|service| &service.entries)
            .map(|entry| (entry.text.as_str(), entry.line))
            .collect();
        let wanted = [
            ("203.0.113.0/24", 2),
            ("a.example", 3),
            ("b.example", 4),
            ("c.example", 6),
        ];
        assert_eq!(entries, wanted);
        assert_eq!((services[0].line, services[1].line), (2, 6));
    }

    #[test]
    fn all_problems_come_at_once_with_their_lines() {
        let text = "[{\"id\": \"a\", \"domains\": [\"com\",\n \"a b\"]},\n{\"id\": \"a\"},\n{\"id\": \"d\",\n \"domain\": []},\n{\"id\": \"e\", \"domains\": [5]}]";
        let problems = from_json(Path::new("s.json"), text).unwrap_err();
        let lines: Vec<u32> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [5, 6, 1, 2, 3, 3, 6], "{problems:#?}");
        let problems = from_json(Path::new("s.json"), "[{]").unwrap_err();
        assert_eq!((problems.len(), problems[0].line), (1, 1));
    }

    #[test]
    fn shipped_services_are_sound() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/services.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let services = from_json(&file, &text).unwrap();
        assert!(services.len() > 10);
        assert!(
            services
                .iter()
                .all(|service| !service.title_ru.is_empty() && !service.group.is_empty())
        );
    }
}
