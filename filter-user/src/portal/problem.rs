//! The same answers for programs: problem details (RFC 9457), or plain JSON where there is no problem.

use serde_json::{Map, Value, json};

use super::page::{Next, Notice};
use super::view::Why;

impl Notice<'_> {
    /// The answer as JSON.
    pub(super) fn json(&self) -> String {
        let mut members = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                members.insert(key.to_owned(), value);
            }
        };
        let finding = self.finding.as_ref();
        let kind = finding.map_or("refused", |finding| word(finding.why));
        put("type", Some(json!(format!("{}/why#{kind}", self.base()))));
        put("title", Some(json!(self.heading)));
        put("status", Some(json!(self.status)));
        put("detail", Some(json!(self.lead)));
        put("subject", self.asked.as_ref().map(|asked| json!(asked)));
        if let Some(finding) = finding {
            let category = finding.category.as_ref();
            put("restriction", Some(json!(kind)));
            put(
                "reason",
                self.texts.because(finding).map(|text| json!(text)),
            );
            put("category", category.map(|category| json!(category.id)));
            put(
                "category_name",
                self.category(finding).map(|name| json!(name)),
            );
            put("age", category.map(|category| json!(category.age)));
            put("registry", finding.tier.map(|tier| json!(tier.label())));
            put(
                "reference",
                finding.reference.as_ref().map(|place| json!(place)),
            );
            put(
                "decision",
                finding.decision.as_ref().map(|decision| json!(decision)),
            );
            put("entry", (finding.entry != 0).then(|| json!(finding.entry)));
        }
        if let Next::Elsewhere(link) = &self.next {
            put("warning", Some(json!(link)));
        }
        put("appeal", self.appeal().map(|text| json!(text)));
        let contact = &self.settings.contact;
        put("contact", (!contact.is_empty()).then(|| json!(contact)));
        Value::Object(members).to_string()
    }
}

/// The word for programs.
fn word(why: Why) -> &'static str {
    match why {
        Why::Unified => "unified",
        Why::Education => "education",
        Why::Local => "local",
        Why::Hiding => "hiding",
        Why::Age => "age",
        Why::AllowOnly => "allow_only",
        Why::Warned => "warned",
        Why::Nothing => "none",
        Why::Unknown => "unknown",
    }
}
