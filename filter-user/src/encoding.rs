//! A file as text, whatever wrote it: UTF-8 or UTF-16 with a byte-order mark, UTF-8 without, else the code page
//! of Russian spreadsheets.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1251};

use crate::problem::Problem;

/// Reads a file of at most so many bytes.
///
/// # Errors
/// The file cannot be read, is longer, or is no text.
pub(crate) fn text(path: &Path, bytes_max: u64) -> Result<String, Problem> {
    let failed = |what: String, remedy: &str| Problem::of_file(path, what, remedy);
    let unread = |error: std::io::Error| {
        failed(
            format!("cannot be read: {error}"),
            "correct the path or the file's permissions",
        )
    };
    let file = File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    let longer = bytes_max.saturating_add(1);
    file.take(longer).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(
            format!("longer than {bytes_max} bytes"),
            "divide it into several files",
        ));
    }
    let text = decode(bytes);
    if text.contains('\0') {
        let remedy = "deliver it as text: CSV or JSON";
        return Err(failed("holds zero bytes: no text".to_owned(), remedy));
    }
    Ok(text)
}

fn decode(bytes: Vec<u8>) -> String {
    if let Some((marked, length)) = Encoding::for_bom(&bytes)
        && marked != UTF_8
    {
        let rest = bytes.get(length..).unwrap_or(&[]);
        return marked.decode_without_bom_handling(rest).0.into_owned();
    }
    match String::from_utf8(bytes) {
        Ok(text) => match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        },
        Err(error) => WINDOWS_1251.decode(error.as_bytes()).0.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_it_gives_the_same_text() {
        let wanted = "id;subject\n1;Орган\n";
        let utf16 = |little: bool| {
            let mut bytes = if little {
                vec![0xff, 0xfe]
            } else {
                vec![0xfe, 0xff]
            };
            for unit in wanted.encode_utf16() {
                bytes.extend(if little {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                });
            }
            bytes
        };
        let ways = [
            wanted.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", wanted.as_bytes()].concat(),
            WINDOWS_1251.encode(wanted).0.into_owned(),
            utf16(true),
            utf16(false),
        ];
        for bytes in ways {
            assert_eq!(decode(bytes.clone()), wanted, "{bytes:x?}");
        }
    }
}
