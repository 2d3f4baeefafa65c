//! Bytes of a register into UTF-8, block by block, with the place of each block in the file.

use std::io::{self, BufRead, Read};

use encoding_rs::{Decoder, Encoding, UTF_8, WINDOWS_1251};

use super::fault::Fault;

/// Bytes of the file in a block.
const BLOCK_BYTES: usize = 128 * 1024;
/// The same where the root element alone is wanted.
const PEEK_BYTES: usize = 4 * 1024;
/// Longest tag, text or comment. A register's are far below; without a bound one of them would be kept
/// in memory whole.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Encodings that registers come in. In both a block can be decoded without those in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// Declared by the registers that are published.
    Windows1251,
    /// What XML is in where it declares nothing.
    Utf8,
}

/// A piece of the decoded text.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// UTF-8, whole characters.
    pub(super) text: Vec<u8>,
    /// Offset of its first byte in the file.
    pub(super) raw: u64,
}

/// Decodes.
pub(super) struct Transcoder<R> {
    reader: R,
    charset: Option<Charset>,
    decoder: Option<Decoder>,
    /// Bytes at the end of the last block that are the beginning of a character.
    carry: Vec<u8>,
    /// Offset in the file of what is read next, without `carry`.
    raw: u64,
    block_bytes: usize,
}

impl<R: Read> Transcoder<R> {
    /// Of a whole file: what it is in follows from its beginning.
    pub(super) fn new(reader: R) -> Self {
        Transcoder {
            reader,
            charset: None,
            decoder: None,
            carry: Vec::new(),
            raw: 0,
            block_bytes: BLOCK_BYTES,
        }
    }

    /// Of the beginning of a file.
    pub(super) fn peek(reader: R) -> Self {
        Transcoder {
            block_bytes: PEEK_BYTES,
            ..Transcoder::new(reader)
        }
    }

    /// Of the rest of a file from an offset on.
    pub(super) fn within(reader: R, charset: Charset, raw: u64) -> Self {
        Transcoder {
            charset: Some(charset),
            raw,
            ..Transcoder::new(reader)
        }
    }

    /// The encoding, once the first block was read.
    pub(super) fn charset(&self) -> Option<Charset> {
        self.charset
    }

    /// The next block; empty at the end.
    pub(super) fn block(&mut self) -> Result<Block, Fault> {
        let carried = self.carry.len();
        let mut bytes = std::mem::take(&mut self.carry);
        let room = (self.block_bytes - carried) as u64;
        (&mut self.reader).take(room).read_to_end(&mut bytes)?;
        let mut raw = self.raw - carried as u64;
        self.raw = raw + bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(Block {
                text: Vec::new(),
                raw,
            });
        }
        let charset = match self.charset {
            Some(charset) => charset,
            None => {
                let (charset, mark) = charset_of(&bytes)?;
                bytes.drain(..mark);
                raw += mark as u64;
                self.charset = Some(charset);
                charset
            }
        };
        let text = match charset {
            Charset::Utf8 => self.checked(bytes, raw)?,
            Charset::Windows1251 => self.decoded(&bytes),
        };
        Ok(Block { text, raw })
    }

    fn checked(&mut self, mut bytes: Vec<u8>, raw: u64) -> Result<Vec<u8>, Fault> {
        let Err(error) = std::str::from_utf8(&bytes) else {
            return Ok(bytes);
        };
        let good = error.valid_up_to();
        if error.error_len().is_some() || good == 0 {
            return Err(Fault::NotUtf8(raw + good as u64));
        }
        self.carry = bytes.split_off(good);
        Ok(bytes)
    }

    fn decoded(&mut self, bytes: &[u8]) -> Vec<u8> {
        let decoder = self
            .decoder
            .get_or_insert_with(|| WINDOWS_1251.new_decoder_without_bom_handling());
        // Three bytes for each is the most that a character of windows-1251 takes.
        let mut text = String::with_capacity(bytes.len() * 3);
        let _ = decoder.decode_to_string(bytes, &mut text, false);
        text.into_bytes()
    }
}

/// The encoding that a file's beginning says, and the bytes of its byte-order mark.
fn charset_of(bytes: &[u8]) -> Result<(Charset, usize), Fault> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Fault::Encoding("UTF-16".to_owned()));
    }
    let (mark, rest) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (3, rest),
        None => (0, bytes),
    };
    let Some(declared) = declared(rest) else {
        return Ok((Charset::Utf8, mark));
    };
    match Encoding::for_label(declared) {
        Some(known) if known == WINDOWS_1251 && mark == 0 => Ok((Charset::Windows1251, mark)),
        Some(known) if known == UTF_8 => Ok((Charset::Utf8, mark)),
        _ => Err(Fault::Encoding(
            String::from_utf8_lossy(declared).into_owned(),
        )),
    }
}

/// What stands behind `encoding=` in the XML declaration, if there is one.
fn declared(text: &[u8]) -> Option<&[u8]> {
    let rest = text.trim_ascii_start().strip_prefix(b"<?xml")?;
    let end = rest.windows(2).position(|pair| pair == b"?>")?;
    let declaration = rest.get(..end)?;
    let word = b"encoding";
    let at = declaration.windows(word.len()).position(|w| w == word)?;
    let value = declaration.get(at + word.len()..)?.trim_ascii_start();
    let value = value.strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = value.split_first()?;
    let end = value.iter().position(|byte| byte == quote)?;
    value.get(..end)
}

/// Where blocks come from.
pub(super) trait Blocks {
    /// The next one; empty at the end.
    fn next(&mut self) -> Result<Block, Fault>;
}

impl<R: Read> Blocks for Transcoder<R> {
    fn next(&mut self) -> Result<Block, Fault> {
        self.block()
    }
}

/// The decoded text as the parser reads it.
pub(super) struct Text<B> {
    blocks: B,
    block: Vec<u8>,
    at: usize,
    /// Offset of the current block in the decoded text.
    start: u64,
    /// Offset in the file and in the decoded text of every block so far.
    starts: Vec<(u64, u64)>,
    /// Bytes left for the event in hand.
    room: usize,
    /// Ends of lines in what was consumed.
    ends: u32,
    fault: Option<Fault>,
}

impl<B: Blocks> Text<B> {
    pub(super) fn new(blocks: B) -> Self {
        Text {
            blocks,
            block: Vec::new(),
            at: 0,
            start: 0,
            starts: Vec::new(),
            room: EVENT_BYTES_MAX,
            ends: 0,
            fault: None,
        }
    }

    /// The line at which what comes next begins, counted from 1.
    pub(super) fn line(&self) -> u32 {
        self.ends.saturating_add(1)
    }

    /// Another event begins.
    pub(super) fn next_event(&mut self) {
        self.room = EVENT_BYTES_MAX;
    }

    /// Why reading failed, if it did.
    pub(super) fn fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Offsets in the file and in the decoded text of all blocks.
    pub(super) fn take_starts(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.starts)
    }

    fn refill(&mut self) -> Result<(), Fault> {
        if self.room == 0 {
            return Err(Fault::TooMuch("a MiB in one element"));
        }
        if self.at >= self.block.len() {
            let block = self.blocks.next()?;
            self.start += self.block.len() as u64;
            self.block = block.text;
            self.at = 0;
            if !self.block.is_empty() {
                self.starts.push((block.raw, self.start));
            }
        }
        Ok(())
    }
}

impl<B: Blocks> Read for Text<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<B: Blocks> BufRead for Text<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if (self.at >= self.block.len() || self.room == 0)
            && let Err(fault) = self.refill()
        {
            self.fault = Some(fault);
            return Err(io::Error::other("no text"));
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        Ok(rest.get(..self.room).unwrap_or(rest))
    }

    fn consume(&mut self, count: usize) {
        let consumed = self.block.get(self.at..self.at + count);
        let ends = consumed
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b'\n');
        let ends = u32::try_from(ends.count()).unwrap_or(u32::MAX);
        self.ends = self.ends.saturating_add(ends);
        self.at += count;
        self.room = self.room.saturating_sub(count);
    }
}
