//! The categories: numbers that are never reused, names, age marks, and which of them are forbidden
//! for children everywhere.

use std::path::Path;

use crate::config::reader::{Section, Source};
use crate::problem::{Problem, nearest};
use toml::de::DeTable;

/// The list that comes with the program (`rules/categories.toml`).
pub const BUILT_IN: &str = include_str!("../../rules/categories.toml");
/// Category of unified registry entries that name none.
pub const UNLAWFUL: &str = "unlawful";
/// Category of suspicious entries that name none.
pub const SUSPICIOUS: &str = "suspicious";

/// One category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// Number below 64.
    pub number: u32,
    /// The word in configurations, logs and metrics.
    pub id: String,
    /// English name.
    pub en: String,
    /// Russian name.
    pub ru: String,
    /// Age mark: 0, 6, 12, 16 or 18.
    pub age: u32,
    /// Forbidden for children everywhere.
    pub mandatory: bool,
    /// Directories of the UT1 collection that mean it.
    pub ut1: Vec<String>,
}

/// All categories.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Categories {
    list: Vec<Category>,
}

/// Age marks that there are.
pub const AGES: [u32; 5] = [0, 6, 12, 16, 18];

impl Categories {
    /// Reads a list of categories.
    ///
    /// # Errors
    /// Every problem found, in the order of lines.
    pub fn from_text(file: &Path, text: &str) -> Result<Categories, Vec<Problem>> {
        let mut source = Source::new(file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            source.problem(at, error.message(), "correct the TOML");
        }
        let mut root = Section::new("the file", 0, table.get_ref());
        let mut list: Vec<Category> = Vec::new();
        for section in root.tables(&mut source, "category") {
            let at = section.at();
            let Some(category) = category(section, &mut source) else {
                continue;
            };
            if list
                .iter()
                .any(|other| other.id == category.id || other.number == category.number)
            {
                let what = format!(
                    "category {} ({}) is there twice",
                    category.id, category.number
                );
                source.problem(at, what, "numbers and ids are unique and never reused");
            }
            list.push(category);
        }
        root.finish(&mut source);
        list.sort_by_key(|category| category.number);
        let problems = source.into_problems();
        if problems.is_empty() {
            Ok(Categories { list })
        } else {
            Err(problems)
        }
    }

    /// The list that comes with the program.
    #[must_use]
    pub fn built_in() -> Categories {
        // A test reads the same text: it has no problem.
        Categories::from_text(Path::new("rules/categories.toml"), BUILT_IN).unwrap_or_default()
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> &[Category] {
        &self.list
    }

    /// The category with this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Category> {
        self.list.iter().find(|category| category.id == id)
    }

    /// Word of a category number; none for [`filter_common::rule::CATEGORY_NONE`].
    #[must_use]
    pub fn label(&self, number: u32) -> Option<&str> {
        self.list
            .iter()
            .find(|category| category.number == number)
            .map(|category| category.id.as_str())
    }

    /// Bit of a category id.
    #[must_use]
    pub fn bit(&self, id: &str) -> Option<u64> {
        self.by_id(id).map(|category| 1 << category.number)
    }

    /// Mask of the categories that meet a condition.
    #[must_use]
    pub fn mask(&self, wanted: impl Fn(&Category) -> bool) -> u64 {
        self.list
            .iter()
            .filter(|category| wanted(category))
            .fold(0, |mask, category| mask | 1 << category.number)
    }

    /// Ids in a mask.
    #[must_use]
    pub fn labels(&self, mask: u64) -> Vec<String> {
        let within = |category: &&Category| mask >> category.number & 1 == 1;
        self.list
            .iter()
            .filter(within)
            .map(|category| category.id.clone())
            .collect()
    }

    /// The nearest known id to what was typed.
    #[must_use]
    pub fn nearest(&self, typed: &str) -> Option<&str> {
        nearest(typed, self.list.iter().map(|category| category.id.as_str()))
    }
}

fn category(mut section: Section<'_, '_>, source: &mut Source) -> Option<Category> {
    let at = section.at();
    let number = section.number(source, "number", 0..=63);
    let id = section.required(source, "id");
    let en = section.required(source, "en");
    let ru = section.required(source, "ru");
    let age = section
        .number(source, "age", 0..=18)
        .map_or(0, |age| age.value);
    if !AGES.contains(&age) {
        source.problem(
            at,
            format!("[[category]] age: {age} is no age mark"),
            "use 0, 6, 12, 16 or 18",
        );
    }
    let mandatory = section.flag(source, "mandatory").unwrap_or(false);
    let ut1 = section
        .strings(source, "ut1")
        .into_iter()
        .map(|text| text.value)
        .collect();
    if number.is_none() && !section.has("number") {
        source.problem(
            at,
            "[[category]] has no number",
            "add number = 0..63, one never used before",
        );
    }
    section.finish(source);
    let (number, id, en, ru) = (number?.value, id?.value, en?.value, ru?.value);
    Some(Category {
        number,
        id,
        en,
        ru,
        age,
        mandatory,
        ut1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_categories_are_sound() {
        let categories = Categories::from_text(Path::new("c"), BUILT_IN).unwrap();
        assert!(categories.bit(UNLAWFUL).is_some() && categories.bit(SUSPICIOUS).is_some());
        assert!(categories.all().len() > 20);
        assert!(categories.mask(|category| category.mandatory) != 0);
    }

    #[test]
    fn numbers_and_ids_are_unique() {
        let text = "[[category]]\nnumber = 1\nid = \"a\"\nen = \"A\"\nru = \"А\"\n\
                    [[category]]\nnumber = 1\nid = \"b\"\nen = \"B\"\nru = \"Б\"\n";
        let problems = Categories::from_text(Path::new("c.toml"), text).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 6);
    }
}
