//! Lines of a file as bytes, one at a time, in bounded memory.

use std::io::{self, BufRead};

/// Longest line that is kept: four times the longest name in the longest spelling of UTF-8. What is
/// beyond is cut off; a line of that length is refused.
pub const LINE_BYTES_MAX: usize = 4096;

/// Calls `each` with every line and its number, counted from 1, and with the bytes consumed so far.
/// Lines end in LF or CR LF.
///
/// # Errors
/// The reader's.
pub fn for_each(mut reader: impl BufRead, mut each: impl FnMut(u32, &[u8], u64)) -> io::Result<()> {
    let mut carry: Vec<u8> = Vec::new();
    let mut number = 0u32;
    let mut consumed = 0u64;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let taken = buffer.len();
        let mut rest = buffer;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            number = number.saturating_add(1);
            if carry.is_empty() {
                each(number, bounded(line), consumed);
            } else {
                keep(&mut carry, line);
                each(number, &carry, consumed);
                carry.clear();
            }
            rest = behind.get(1..).unwrap_or(&[]);
        }
        keep(&mut carry, rest);
        reader.consume(taken);
        consumed += taken as u64;
    }
    if !carry.is_empty() {
        each(number.saturating_add(1), &carry, consumed);
    }
    Ok(())
}

fn bounded(line: &[u8]) -> &[u8] {
    line.get(..LINE_BYTES_MAX).unwrap_or(line)
}

fn keep(carry: &mut Vec<u8>, more: &[u8]) {
    let room = LINE_BYTES_MAX.saturating_sub(carry.len()).min(more.len());
    carry.extend_from_slice(more.get(..room).unwrap_or(more));
}

/// One line of a file, as text for people. `None` if the file has no such line any more.
///
/// # Errors
/// The file cannot be read.
pub fn line_of(path: &std::path::Path, wanted: u32) -> io::Result<Option<String>> {
    let mut found = None;
    let file = std::fs::File::open(path)?;
    for_each(io::BufReader::new(file), |number, line, _| {
        if number == wanted {
            found = Some(String::from_utf8_lossy(line.trim_ascii()).into_owned());
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], buffer: usize) -> Vec<(u32, Vec<u8>)> {
        let mut lines = Vec::new();
        let reader = io::BufReader::with_capacity(buffer, bytes);
        for_each(reader, |number, line, _| {
            lines.push((number, line.to_vec()))
        })
        .unwrap();
        lines
    }

    #[test]
    fn lines_are_alike_for_every_buffer_size() {
        let text = b"one\n\ntwo\r\nthree and more\nlast";
        let wanted = read(text, 1000);
        assert_eq!(wanted.len(), 5);
        assert_eq!(wanted[4], (5, b"last".to_vec()));
        for size in 1..40 {
            assert_eq!(read(text, size), wanted, "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let lines = read(&vec![b'a'; 100_000], 512);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].1.len(), LINE_BYTES_MAX);
    }
}
