//! One ClientHello in many shapes: cut into segments and records, sent through a filter, and judged by
//! what a server could read of the segments that passed.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support: cuts come from the bytes they cut"
)]

use crate::frames::Path;
use crate::hello::{Hello, LAST, name_of_len, rerecord};
use crate::reference::{Understood, understand};

/// The name that every blocked hello asks for, or ends in.
pub const BLOCKED: &str = "unified.example";
/// A name that no list holds.
pub const ALLOWED: &str = "harmless.example";

/// Hellos of present-day shapes, half of them for a blocked name.
#[must_use]
pub fn hellos() -> Vec<(Vec<u8>, bool)> {
    let long = name_of_len(253, BLOCKED);
    let mut all = Vec::new();
    for (name, position, post_quantum) in [
        ("unified.example", 0, false),
        ("www.UNIFIED.exAMPle", 7, true),
        ("cdn7.static.unified.example", LAST, true),
        ("unified.example.", 3, false),
        ("notunified.example", 2, true),
        (ALLOWED, 0, false),
        (ALLOWED, LAST, true),
        ("x", 1, false),
        (&long, 4, false),
    ] {
        let hello = Hello {
            position,
            post_quantum,
            ..Hello::named(name)
        };
        all.push((hello.bytes(), is_blocked(name.as_bytes())));
    }
    all.push((Hello::default().bytes(), false));
    all
}

fn is_blocked(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(b".").unwrap_or(&name);
    let rest = name.strip_suffix(BLOCKED.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(b"."))
}

/// How many bytes of the stream a server needs to know the name, or that there is none.
#[must_use]
pub fn decisive(stream: &[u8]) -> usize {
    let known = |len: &usize| understand(&stream[..*len]) != Understood::Unfinished;
    (1..=stream.len())
        .collect::<Vec<_>>()
        .partition_point(|len| !known(len))
        + 1
}

/// The stream cut at these offsets.
#[must_use]
pub fn segments<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut all = vec![0];
    all.extend(cuts);
    all.push(stream.len());
    all.sort_unstable();
    all.dedup();
    all.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
}

/// Sends a flow in order and tells what is wrong with what passed: a blocked hello must pass up to
/// the segment that completes the name and no further, an allowed one entirely.
pub fn check(
    path: &Path,
    first: u32,
    parts: &[&[u8]],
    blocked: Option<usize>,
    mut passes: impl FnMut(&[u8]) -> bool,
) -> Option<String> {
    if !passes(&path.syn(first)) {
        return Some("the SYN did not pass".to_owned());
    }
    let mut end = 0;
    for (number, part) in parts.iter().enumerate() {
        let passed = passes(&path.data(first.wrapping_add(end as u32), part));
        end += part.len();
        let completes = blocked.is_some_and(|decisive| end >= decisive);
        if passed == completes {
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).take(20).collect();
            return Some(format!(
                "segment {} of {lengths:?} passed: {passed}",
                number + 1
            ));
        }
        if completes {
            return None;
        }
    }
    None
}

/// The same stream in records of `size` bytes.
#[must_use]
pub fn in_records(stream: &[u8], size: usize) -> Vec<u8> {
    rerecord(stream, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decisive_byte_is_the_names_last() {
        let (hello, _) = &hellos()[0];
        let end = decisive(hello);
        assert!(hello[..end].ends_with(BLOCKED.as_bytes()));
    }
}
