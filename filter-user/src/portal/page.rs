//! The pages: plain HTML of a few kilobytes, without script and without anything external. Whatever
//! comes from a request or a list is escaped.

use std::fmt::{self, Display, Write as _};
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::request::Language;
use super::texts::Texts;
use super::view::{Finding, Why};
use crate::config;

/// What an answer says; a page or JSON is made of it.
#[derive(Clone, Debug)]
pub(super) struct Notice<'a> {
    pub(super) texts: &'static Texts,
    pub(super) settings: &'a config::Portal,
    pub(super) status: u16,
    pub(super) heading: &'static str,
    pub(super) lead: String,
    /// The resource, where the client named it.
    pub(super) asked: Option<String>,
    pub(super) finding: Option<Finding>,
    pub(super) next: Next,
    /// The form that asks for a name, with this name in it.
    pub(super) form: Option<String>,
    /// Where the same page is in the other language.
    pub(super) switch: String,
    /// In front of links to the portal's own pages; empty on the portal itself.
    pub(super) base: String,
}

/// What the client may do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// Go on, with this token.
    Continue(String),
    /// Go on, on the portal's own page.
    Elsewhere(String),
}

/// The style of every page. Colours keep a contrast of 4.5 to 1 and more.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--soft:#4a525c;--back:#f3f5f7;--card:#fff;--line:#c9d0d8;--link:#0b57a4;--fill:#0b57a4;--on:#fff}\
@media(prefers-color-scheme:dark){:root{--text:#e8ebee;--soft:#b3bcc6;--back:#14181c;--card:#1e2429;--line:#46505a;--link:#8cc3ff;--fill:#8cc3ff;--on:#10151a}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif;overflow-wrap:anywhere}\
header,main,footer{max-width:42rem;margin:0 auto;padding:1rem 1.25rem}\
header{display:flex;justify-content:space-between;gap:1rem;color:var(--soft);font-size:.9rem}\
header p{margin:0}\
header a{white-space:nowrap}\
main{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1.25rem}\
@media(max-width:44rem){main{border-width:1px 0;border-radius:0}}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem}\
h2{font-size:1.1rem;margin:1.5rem 0 .25rem}\
p{margin:.5rem 0}\
dl{margin:1.25rem 0;border-top:1px solid var(--line)}\
dl div{display:grid;grid-template-columns:10rem 1fr;gap:0 1rem;padding:.5rem 0;border-bottom:1px solid var(--line)}\
@media(max-width:30rem){dl div{grid-template-columns:1fr}}\
dt{color:var(--soft)}\
dd{margin:0}\
a{color:var(--link)}\
form{margin:1.25rem 0 0}\
label{display:block;margin:0 0 .25rem}\
input{width:100%;font:inherit;padding:.55rem .7rem;border:1px solid var(--soft);border-radius:.4rem;background:var(--card);color:var(--text)}\
.row{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0 0}\
.row>*{font:inherit;padding:.6rem 1.2rem;border:2px solid var(--fill);border-radius:.4rem;background:var(--card);color:var(--link);text-decoration:none;white-space:nowrap;cursor:pointer}\
@media(max-width:30rem){.row>*{flex:1 0 auto;text-align:center}}\
.row .main{background:var(--fill);color:var(--on)}\
:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
footer{color:var(--soft);font-size:.9rem}";

/// The policy that lets this style in and nothing else.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = base64(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
});

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |index: u32| {
        let at = usize::try_from(index & 63).unwrap_or(0);
        char::from(LETTERS.get(at).copied().unwrap_or(b'='))
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if at <= chunk.len() {
                letter(word >> shift)
            } else {
                '='
            });
        }
    }
    text
}

/// Text that is safe in content and in quoted attributes.
pub(super) struct Safe<'a>(pub(super) &'a str);

impl Display for Safe<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => to.write_str("&amp;")?,
                '<' => to.write_str("&lt;")?,
                '>' => to.write_str("&gt;")?,
                '"' => to.write_str("&quot;")?,
                '\'' => to.write_str("&#39;")?,
                // Neither control characters nor those that turn the direction of the text around.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => to.write_char('\u{fffd}')?,
                other if other.is_control() => to.write_char('\u{fffd}')?,
                other => to.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl Notice<'_> {
    /// The page.
    pub(super) fn html(&self) -> String {
        let mut page = String::with_capacity(8 * 1024);
        // Writing to a string cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, to: &mut String) -> fmt::Result {
        let texts = self.texts;
        let (language, other) = (texts.language.tag(), texts.other.tag());
        write!(
            to,
            "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n\
             <title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <header><p>{service}</p><p><a href=\"{switch}\" hreflang=\"{other}\" lang=\"{other}\">{other_name}</a></p></header>\n\
             <main>\n<h1>{heading}</h1>\n<p>{lead}</p>\n",
            heading = Safe(self.heading),
            service = Safe(texts.service),
            switch = Safe(&self.switch),
            other_name = texts.other_name,
            lead = Safe(&self.lead),
        )?;
        self.write_facts(to)?;
        self.write_next(to)?;
        self.write_form(to)?;
        self.write_appeal(to)?;
        write!(to, "</main>\n<footer>")?;
        if !self.settings.name.is_empty() {
            write!(to, "<p>{}</p>", Safe(&self.settings.name))?;
        }
        if self.form.is_none() {
            let (base, why) = (Safe(&self.base), texts.why_link);
            write!(
                to,
                "<p><a href=\"{base}/why?lang={language}\">{why}</a></p>"
            )?;
        }
        write!(to, "</footer>\n</body>\n</html>\n")
    }

    fn write_facts(&self, to: &mut String) -> fmt::Result {
        let facts = self.facts();
        if facts.is_empty() {
            return Ok(());
        }
        writeln!(to, "<dl>")?;
        for (name, value) in facts {
            writeln!(
                to,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                Safe(name),
                Safe(&value)
            )?;
        }
        writeln!(to, "</dl>")
    }

    /// What is known, in words.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let texts = self.texts;
        let mut facts = Vec::new();
        facts.extend(self.asked.clone().map(|asked| (texts.asked, asked)));
        let Some(finding) = &self.finding else {
            return facts;
        };
        let because = texts.because(finding);
        facts.extend(because.map(|text| (texts.reason, text.to_owned())));
        if let Some(category) = &finding.category {
            facts.push((texts.category, self.category(finding).unwrap_or_default()));
            if category.age > 0 {
                facts.push((texts.age, format!("{}+", category.age)));
            }
        }
        let tier = finding
            .tier
            .map(|tier| texts.registry_name(tier).to_owned());
        facts.extend(tier.map(|tier| (texts.registry, tier)));
        if finding.entry != 0 {
            let place = finding.reference.as_deref();
            let place = place.map_or_else(String::new, |place| format!(" ({place})"));
            facts.push((texts.reference, format!("№\u{a0}{}{place}", finding.entry)));
        }
        if let Some(decision) = &finding.decision {
            let number = format!("№\u{a0}{}", decision.number);
            let parts = [&decision.body, &decision.date, &number];
            let parts: Vec<&str> = parts
                .map(String::as_str)
                .into_iter()
                .filter(|it| !it.is_empty())
                .collect();
            facts.push((texts.decision, parts.join(", ")));
        }
        facts
    }

    /// The category in the page's language.
    pub(super) fn category(&self, finding: &Finding) -> Option<String> {
        let category = finding.category.as_ref()?;
        Some(match self.texts.language {
            Language::Russian => category.ru.clone(),
            Language::English => category.en.clone(),
        })
    }

    fn write_next(&self, to: &mut String) -> fmt::Result {
        let texts = self.texts;
        let language = texts.language.tag();
        match &self.next {
            Next::Nothing => Ok(()),
            Next::Continue(token) => write!(
                to,
                "<p>{before}{minutes}{after} {shared}</p>\n\
                 <form method=\"post\" action=\"/continue\">\n\
                 <input type=\"hidden\" name=\"t\" value=\"{token}\">\n\
                 <input type=\"hidden\" name=\"lang\" value=\"{language}\">\n\
                 <div class=\"row\"><a class=\"main\" href=\"/back?lang={language}\">{back}</a>\
                 <button type=\"submit\">{on}</button></div>\n</form>\n",
                before = texts.consent[0],
                minutes = self.settings.grant_minutes,
                after = texts.consent[1],
                shared = texts.shared,
                token = Safe(token),
                back = texts.go_back,
                on = texts.go_on,
            ),
            Next::Elsewhere(link) => writeln!(
                to,
                "<p>{} <a href=\"{}\">{}</a></p>",
                texts.elsewhere,
                Safe(link),
                texts.elsewhere_link
            ),
        }
    }

    fn write_form(&self, to: &mut String) -> fmt::Result {
        let Some(name) = &self.form else {
            return Ok(());
        };
        let texts = self.texts;
        write!(
            to,
            "<form method=\"get\" action=\"/why\" role=\"search\">\n\
             <label for=\"name\">{label}</label>\n\
             <input id=\"name\" name=\"name\" value=\"{name}\" maxlength=\"253\" autocapitalize=\"none\" autocomplete=\"off\" spellcheck=\"false\" required>\n\
             <input type=\"hidden\" name=\"lang\" value=\"{language}\">\n\
             <div class=\"row\"><button class=\"main\" type=\"submit\">{button}</button></div>\n</form>\n",
            label = texts.why_label,
            name = Safe(name),
            language = texts.language.tag(),
            button = texts.why_button,
        )
    }

    /// How to object, in a sentence or two; none where there is nothing to object to.
    pub(super) fn appeal(&self) -> Option<String> {
        let texts = self.texts;
        let why = self.finding.as_ref()?.why;
        if why == Why::Nothing {
            return None;
        }
        let own = &self.settings.appeal;
        let usual = if own.is_empty() {
            texts.appeal_usual
        } else {
            own
        };
        let unified = (why == Why::Unified).then_some(texts.appeal_unified);
        Some(unified.map_or_else(|| usual.to_owned(), |unified| format!("{unified} {usual}")))
    }

    fn write_appeal(&self, to: &mut String) -> fmt::Result {
        let Some(appeal) = self.appeal() else {
            return Ok(());
        };
        let heading = self.texts.appeal;
        write!(to, "<h2>{heading}</h2>\n<p>{}</p>\n", Safe(&appeal))?;
        if self.settings.contact.is_empty() {
            return Ok(());
        }
        let contact = Safe(&self.settings.contact);
        writeln!(to, "<p>{}: {contact}</p>", self.texts.contact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let known = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (text, encoded) in known {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn what_could_be_markup_is_text() {
        let hostile = "<script>\"'&\u{202e}\0</script>";
        let safe = "&lt;script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}&lt;/script&gt;";
        assert_eq!(Safe(hostile).to_string(), safe);
    }
}
