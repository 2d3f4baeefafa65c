//! Capture files, frame by frame: pcap in all its byte orders and time units, and pcapng. The
//! formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

use std::io::{self, Read};

/// Longest block or frame that is read: far beyond any capture's; a damaged length must not take
/// all memory.
const LENGTH_MAX: u32 = 64 << 20;

/// What can be wrong with a capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not start like a capture.
    #[error("neither pcap nor pcapng (a compressed capture must be unpacked first)")]
    Unknown,
    /// A length in it is impossible.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// It ends in the middle of a frame.
    #[error("ends in the middle of a frame")]
    Truncated,
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number, from 1, as Wireshark counts.
    pub number: u64,
    /// Link type (`LINKTYPE_*`).
    pub link: u16,
    /// Bytes captured.
    pub bytes: Vec<u8>,
    /// Bytes it had on the wire.
    pub original: u32,
    /// Capture time in milliseconds since the epoch.
    pub milliseconds: u64,
}

/// Reads frames.
pub(crate) struct Reader<R> {
    input: R,
    big_endian: bool,
    kind: Kind,
    number: u64,
}

enum Kind {
    Pcap {
        link: u16,
        nanoseconds: bool,
    },
    /// Interfaces of the section.
    PcapNg {
        interfaces: Vec<Interface>,
    },
}

/// A pcapng interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    snap: u32,
    units_per_second: u64,
}

const SECTION: u32 = 0x0a0d_0d0a;
const SECTION_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const OPTION_TIME_UNIT: u16 = 9;

impl<R: Read> Reader<R> {
    /// Reads the start of a capture.
    pub(crate) fn new(mut input: R) -> Result<Self, CaptureError> {
        let mut magic = [0u8; 4];
        input
            .read_exact(&mut magic)
            .map_err(|_short| CaptureError::Unknown)?;
        let little = u32::from_le_bytes(magic);
        let mut reader = Reader {
            input,
            big_endian: false,
            kind: Kind::PcapNg { interfaces: vec![] },
            number: 0,
        };
        if little == SECTION {
            reader.section()?;
            return Ok(reader);
        }
        let nanoseconds = match (little, little.swap_bytes()) {
            (0xa1b2_c3d4, _) => false,
            (0xa1b2_3c4d, _) => true,
            (_, 0xa1b2_c3d4) => {
                reader.big_endian = true;
                false
            }
            (_, 0xa1b2_3c4d) => {
                reader.big_endian = true;
                true
            }
            _ => return Err(CaptureError::Unknown),
        };
        let header = reader.bytes::<20>()?.ok_or(CaptureError::Unknown)?;
        let link = low16(reader.u32_at(&header, 16));
        reader.kind = Kind::Pcap { link, nanoseconds };
        Ok(reader)
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        match self.kind {
            Kind::Pcap { link, nanoseconds } => self.pcap_frame(link, nanoseconds),
            Kind::PcapNg { .. } => self.pcapng_frame(),
        }
    }

    fn pcap_frame(&mut self, link: u16, nanoseconds: bool) -> Result<Option<Frame>, CaptureError> {
        let Some(header) = self.bytes::<16>()? else {
            return Ok(None);
        };
        let field = |at| self.u32_at(&header, at);
        let (seconds, fraction, captured, original) = (field(0), field(4), field(8), field(12));
        let fraction = fraction / if nanoseconds { 1_000_000 } else { 1000 };
        let milliseconds = u64::from(seconds) * 1000 + u64::from(fraction);
        let bytes = self.vector(captured)?;
        Ok(Some(self.frame(link, bytes, original, milliseconds)))
    }

    fn frame(&mut self, link: u16, bytes: Vec<u8>, original: u32, milliseconds: u64) -> Frame {
        self.number += 1;
        Frame {
            number: self.number,
            link,
            bytes,
            original,
            milliseconds,
        }
    }

    fn pcapng_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        loop {
            let Some(kind) = self.bytes::<4>()? else {
                return Ok(None);
            };
            let kind = self.u32_at(&kind, 0);
            if kind == SECTION {
                self.section()?;
                continue;
            }
            let body = self.block()?;
            let frame = match kind {
                INTERFACE => {
                    self.interface(&body)?;
                    None
                }
                ENHANCED_PACKET | OLD_PACKET => Some(self.enhanced(&body, kind == OLD_PACKET)?),
                SIMPLE_PACKET => Some(self.simple(&body)?),
                _ => None,
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// The rest of a section header, behind its type.
    fn section(&mut self) -> Result<(), CaptureError> {
        let start = self.bytes::<8>()?.ok_or(CaptureError::Truncated)?;
        let [l0, l1, l2, l3, m0, m1, m2, m3] = start;
        self.big_endian = match u32::from_le_bytes([m0, m1, m2, m3]) {
            SECTION_MAGIC => false,
            other if other.swap_bytes() == SECTION_MAGIC => true,
            _ => {
                return Err(CaptureError::Damaged(
                    "a section without its byte-order mark",
                ));
            }
        };
        let length = self.u32_at(&[l0, l1, l2, l3], 0);
        let rest = length
            .checked_sub(12)
            .ok_or(CaptureError::Damaged("a section's length"))?;
        self.vector(rest)?;
        self.kind = Kind::PcapNg {
            interfaces: Vec::new(),
        };
        Ok(())
    }

    /// The body of a block behind its type, without the lengths around it.
    fn block(&mut self) -> Result<Vec<u8>, CaptureError> {
        let length = self.bytes::<4>()?.ok_or(CaptureError::Truncated)?;
        let length = self.u32_at(&length, 0);
        let rest = length
            .checked_sub(8)
            .filter(|rest| *rest >= 4 && rest % 4 == 0);
        let mut body = self.vector(rest.ok_or(CaptureError::Damaged("a block's length"))?)?;
        body.truncate(body.len().saturating_sub(4));
        Ok(body)
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), CaptureError> {
        let damaged = CaptureError::Damaged("an interface block");
        let Some((head, options)) = body.split_at_checked(8) else {
            return Err(damaged);
        };
        let interface = Interface {
            link: self.u16_at(head, 0),
            snap: self.u32_at(head, 4),
            units_per_second: self.time_unit(options),
        };
        if let Kind::PcapNg { interfaces } = &mut self.kind {
            interfaces.push(interface);
        }
        Ok(())
    }

    /// Time units in a second, by the option `if_tsresol`; microseconds without it.
    fn time_unit(&self, mut options: &[u8]) -> u64 {
        while let Some((head, rest)) = options.split_at_checked(4) {
            let (code, length) = (self.u16_at(head, 0), usize::from(self.u16_at(head, 2)));
            if code == OPTION_TIME_UNIT
                && let Some(unit) = rest.first()
            {
                let power = u32::from(unit & 0x7f);
                let base = if unit & 0x80 == 0 { 10u64 } else { 2 };
                return base.checked_pow(power).unwrap_or(u64::MAX).max(1);
            }
            let Some(next) = rest.get(length.next_multiple_of(4)..) else {
                break;
            };
            if code == 0 {
                break;
            }
            options = next;
        }
        1_000_000
    }

    fn enhanced(&mut self, body: &[u8], old: bool) -> Result<Frame, CaptureError> {
        let Some((head, data)) = body.split_at_checked(20) else {
            return Err(CaptureError::Damaged("a packet block"));
        };
        // The old packet block has the interface in 16 bits, and a drop count behind.
        let number = if old {
            u32::from(self.u16_at(head, 0))
        } else {
            self.u32_at(head, 0)
        };
        let interface = self.known_interface(number)?;
        let field = |at| self.u32_at(head, at);
        let time = u64::from(field(4)) << 32 | u64::from(field(8));
        let unit = interface.units_per_second;
        let milliseconds = (time / unit).saturating_mul(1000)
            + u64::try_from(u128::from(time % unit) * 1000 / u128::from(unit)).unwrap_or(0);
        let (captured, original) = (field(12), field(16));
        let bytes = data
            .get(..captured as usize)
            .ok_or(CaptureError::Damaged("a packet longer than its block"))?
            .to_vec();
        Ok(self.frame(interface.link, bytes, original, milliseconds))
    }

    fn simple(&mut self, body: &[u8]) -> Result<Frame, CaptureError> {
        let Some((head, data)) = body.split_at_checked(4) else {
            return Err(CaptureError::Damaged("a packet block"));
        };
        let interface = self.known_interface(0)?;
        let original = self.u32_at(head, 0);
        let limit = if interface.snap == 0 {
            u32::MAX
        } else {
            interface.snap
        };
        let captured = (original.min(limit) as usize).min(data.len());
        let bytes = data.get(..captured).unwrap_or_default().to_vec();
        Ok(self.frame(interface.link, bytes, original, 0))
    }

    fn known_interface(&self, number: u32) -> Result<Interface, CaptureError> {
        let Kind::PcapNg { interfaces } = &self.kind else {
            return Err(CaptureError::Unknown);
        };
        let interface = interfaces.get(number as usize).copied();
        interface.ok_or(CaptureError::Damaged(
            "a packet of an interface that is not described",
        ))
    }

    /// `N` bytes; `None` if the input ends in front of the first.
    fn bytes<const N: usize>(&mut self) -> Result<Option<[u8; N]>, CaptureError> {
        let mut bytes = [0u8; N];
        let mut got = 0;
        while let Some(rest) = bytes.get_mut(got..)
            && !rest.is_empty()
        {
            match self.input.read(rest) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(CaptureError::Truncated),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(bytes))
    }

    fn vector(&mut self, length: u32) -> Result<Vec<u8>, CaptureError> {
        if length > LENGTH_MAX {
            return Err(CaptureError::Damaged("an impossible length"));
        }
        let mut bytes = vec![0u8; length as usize];
        self.input
            .read_exact(&mut bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => CaptureError::Truncated,
                _ => error.into(),
            })?;
        Ok(bytes)
    }

    fn u32_at(&self, bytes: &[u8], at: usize) -> u32 {
        let field = bytes
            .get(at..at + 4)
            .and_then(|field| field.try_into().ok());
        let field: [u8; 4] = field.unwrap_or_default();
        if self.big_endian {
            u32::from_be_bytes(field)
        } else {
            u32::from_le_bytes(field)
        }
    }

    fn u16_at(&self, bytes: &[u8], at: usize) -> u16 {
        let field = bytes
            .get(at..at + 2)
            .and_then(|field| field.try_into().ok());
        let field: [u8; 2] = field.unwrap_or_default();
        if self.big_endian {
            u16::from_be_bytes(field)
        } else {
            u16::from_le_bytes(field)
        }
    }
}

fn low16(value: u32) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(big_endian: bool, words: &[u32]) -> Vec<u8> {
        let bytes = |word: &u32| {
            if big_endian {
                word.to_be_bytes()
            } else {
                word.to_le_bytes()
            }
        };
        words.iter().flat_map(bytes).collect()
    }

    fn pcap(big_endian: bool, magic: u32) -> Vec<u8> {
        let mut file = words(big_endian, &[magic, 0x0004_0002, 0, 0, 65_535, 113]);
        file.extend(words(big_endian, &[7, 2_000_000, 3, 9]));
        file.extend(*b"abc");
        file
    }

    fn all(file: &[u8]) -> Result<Vec<Frame>, CaptureError> {
        let mut reader = Reader::new(file)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn pcap_in_every_order_and_unit() {
        for big_endian in [false, true] {
            for (magic, milliseconds) in [(0xa1b2_c3d4, 9000), (0xa1b2_3c4d, 7002)] {
                let frames = all(&pcap(big_endian, magic)).unwrap();
                let expected = Frame {
                    number: 1,
                    link: 113,
                    bytes: b"abc".to_vec(),
                    original: 9,
                    milliseconds,
                };
                assert_eq!(frames, [expected], "{big_endian} {magic:x}");
            }
        }
    }

    fn block(big_endian: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 12).unwrap();
        let mut block = words(big_endian, &[kind, length]);
        block.extend(body);
        block.extend(words(big_endian, &[length]));
        block
    }

    fn pcapng(big_endian: bool) -> Vec<u8> {
        let mut file = block(
            big_endian,
            SECTION,
            &words(big_endian, &[SECTION_MAGIC, 1, 0, 0]),
        );
        let link = if big_endian { 1 << 16 } else { 1 };
        let mut interface = words(big_endian, &[link, 0]);
        let option = if big_endian { 9 << 16 | 1 } else { 1 << 16 | 9 };
        interface.extend(words(big_endian, &[option]));
        interface.extend([3, 0, 0, 0]); // milliseconds
        file.extend(block(big_endian, INTERFACE, &interface));
        file.extend(block(big_endian, 0x1234, &[0; 8]));
        let mut packet = words(big_endian, &[0, 1, 5, 2, 2]);
        packet.extend([0xaa, 0xbb, 0, 0]);
        file.extend(block(big_endian, ENHANCED_PACKET, &packet));
        let mut simple = words(big_endian, &[3]);
        simple.extend([1, 2, 3, 0]);
        file.extend(block(big_endian, SIMPLE_PACKET, &simple));
        file
    }

    #[test]
    fn pcapng_blocks_of_each_kind() {
        for big_endian in [false, true] {
            let frames = all(&pcapng(big_endian)).unwrap();
            let seen: Vec<_> = frames
                .iter()
                .map(|f| (f.number, f.bytes.as_slice()))
                .collect();
            assert_eq!(seen, [(1, &[0xaa, 0xbb][..]), (2, &[1, 2, 3])]);
            assert_eq!(frames[0].milliseconds, (1 << 32) + 5);
        }
    }

    #[test]
    fn every_cut_is_an_error_or_a_shorter_capture() {
        for file in [pcap(false, 0xa1b2_c3d4), pcapng(false), pcapng(true)] {
            let whole = all(&file).unwrap().len();
            for cut in 0..file.len() {
                let got = all(&file[..cut]);
                assert!(got.map_or(true, |frames| frames.len() <= whole));
            }
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let mut file = words(false, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
        file.extend(words(false, &[0, 0, u32::MAX, u32::MAX]));
        assert!(matches!(all(&file), Err(CaptureError::Damaged(_))));
        assert!(matches!(
            all(b"\x1f\x8b\x08\x00zzzz"),
            Err(CaptureError::Unknown)
        ));
    }
}
