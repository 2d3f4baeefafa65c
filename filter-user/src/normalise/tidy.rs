//! What registers and lists spell wrongly, set right where it can mean one thing only.

use std::borrow::Cow;

use crate::problem::edit_distance;

/// A URL with its scheme spelled right, slashes for backslashes, and without what people and editors
/// leave in it: `&amp;` for `&`, and anything from a character reference (`&#`) on.
pub(super) fn url(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if text.contains('\\') {
        text = Cow::Owned(text.replace('\\', "/"));
    }
    if text.contains('&') {
        let cut = text.split_once("&#").map(|(before, _)| before.to_owned());
        let kept = cut.map_or(text, Cow::Owned);
        text = if kept.contains("&amp;") {
            Cow::Owned(kept.replace("&amp;", "&"))
        } else {
            kept
        };
    }
    match scheme(&text) {
        Some((scheme, rest)) => Cow::Owned(format!("{scheme}://{rest}")),
        None => text,
    }
}

/// A scheme that is not spelled as it should be, and what stands behind it: `htp://`, `http:/`, `http//`,
/// `http:`. `None`: it is right, another one, or there is none.
fn scheme(text: &str) -> Option<(&'static str, &str)> {
    let end = text.find(|it: char| !it.is_ascii_alphanumeric())?;
    let (word, mark) = text.split_at_checked(end)?;
    if word.len() > "https".len() + 1 {
        return None;
    }
    let rest = mark.trim_start_matches([':', '/']);
    let slashes = mark.get(..mark.len() - rest.len())?;
    if matches!(slashes, "" | "/") || slashes == "://" && matches!(word, "http" | "https") {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let schemes = ["http", "https"];
    let known = schemes.into_iter().find(|known| *known == lower);
    let meant = match (known, slashes) {
        (_, slashes) if slashes.len() > "://".len() => None,
        (Some(_), "://") | (None, ":") => None,
        // Behind a colon alone a port may stand.
        (Some(known), ":") => (!rest.starts_with(|it: char| it.is_ascii_digit())).then_some(known),
        (Some(known), _) => Some(known),
        (None, _) => schemes
            .into_iter()
            .find(|known| edit_distance(&lower, known) == 1),
    };
    Some((meant?, rest))
}

/// A host, with full stops for commas, and without white space around its labels. What stays within a label is no
/// typing mistake that can be put right: joined, the words would be a name that nobody listed.
pub(super) fn host(text: &str) -> Cow<'_, str> {
    let around = |it: char| it.is_whitespace() || it == '\u{feff}';
    if !text.contains(|it: char| it == ',' || around(it)) {
        return Cow::Borrowed(text);
    }
    let labels: Vec<&str> = text
        .split([',', '.'])
        .map(|label| label.trim_matches(around))
        .collect();
    Cow::Owned(labels.join("."))
}
