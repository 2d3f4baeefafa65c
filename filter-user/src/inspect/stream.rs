//! The bytes of a hello, put together from CRYPTO frames (RFC 9000 sections 12.4 and 19.6) in any order.

use std::ops::Range;

use super::initial::Cursor;

/// Longest hello that is put together: four times a post-quantum browser's.
pub(super) const STREAM_MAX: usize = 8 * 1024;
/// Pieces with holes between them. Browsers cut a hello into some twenty frames.
const PIECES_MAX: usize = 64;

/// Bytes of a stream that came so far.
#[derive(Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    /// What of it came: in order, without touching one another.
    pieces: Vec<Range<usize>>,
    /// It contradicts itself, or is longer than is read: a server may understand something else.
    broken: bool,
}

impl Stream {
    /// Whether no name can be told from it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The bytes from the start up to the first hole.
    pub(super) fn start(&self) -> &[u8] {
        let end = match self.pieces.first() {
            Some(first) if first.start == 0 => first.end,
            _ => 0,
        };
        self.bytes.get(..end).unwrap_or_default()
    }

    /// Takes the frames of a packet; whether one of them was a part of the stream. Reading ends at the
    /// first frame that an Initial cannot have: a server closes the connection there.
    pub(super) fn read(&mut self, frames: &[u8]) -> bool {
        let mut cursor = Cursor::new(frames, 0);
        let mut seen = false;
        while let Some(kind) = cursor.varint() {
            let sound = match kind {
                // Padding, ping.
                0 | 1 => Some(()),
                2 | 3 => acknowledgement(&mut cursor, kind == 3),
                6 => {
                    seen = true;
                    self.crypto(&mut cursor)
                }
                _ => None,
            };
            if sound.is_none() {
                break;
            }
        }
        seen
    }

    fn crypto(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let (offset, len) = (cursor.length()?, cursor.length()?);
        let data = cursor.take(len)?;
        let end = offset.checked_add(len)?;
        if end > STREAM_MAX {
            self.broken = true;
            return None;
        }
        self.put(offset..end, data);
        Some(())
    }

    fn put(&mut self, place: Range<usize>, data: &[u8]) {
        if place.is_empty() {
            return;
        }
        // What came twice must be the same: the server may take either.
        for piece in &self.pieces {
            let both = piece.start.max(place.start)..piece.end.min(place.end);
            let before = self.bytes.get(both.clone());
            let now = data
                .get(both.start.saturating_sub(place.start)..both.end.saturating_sub(place.start));
            if !both.is_empty() && before != now {
                self.broken = true;
                return;
            }
        }
        if self.bytes.len() < place.end {
            self.bytes.resize(place.end, 0);
        }
        if let Some(to) = self.bytes.get_mut(place.clone()) {
            to.copy_from_slice(data);
        }
        self.join(place);
        self.broken |= self.pieces.len() > PIECES_MAX;
    }

    fn join(&mut self, mut place: Range<usize>) {
        self.pieces.retain(|piece| {
            let apart = piece.end < place.start || place.end < piece.start;
            if !apart {
                place = piece.start.min(place.start)..piece.end.max(place.end);
            }
            apart
        });
        let at = self
            .pieces
            .partition_point(|piece| piece.start < place.start);
        self.pieces.insert(at, place);
    }
}

/// An ACK frame (RFC 9000 section 19.3).
fn acknowledgement(cursor: &mut Cursor<'_>, with_counts: bool) -> Option<()> {
    cursor.varint()?;
    cursor.varint()?;
    let ranges = cursor.varint()?;
    cursor.varint()?;
    for _ in 0..ranges {
        cursor.varint()?;
        cursor.varint()?;
    }
    if with_counts {
        for _ in 0..3 {
            cursor.varint()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(offset: u8, data: &[u8]) -> Vec<u8> {
        let len = u8::try_from(data.len()).unwrap();
        [&[6, offset, len], data].concat()
    }

    #[test]
    fn frames_in_any_order_make_a_stream() {
        let mut stream = Stream::default();
        assert!(stream.read(&frame(3, b"def")));
        assert_eq!(stream.start(), b"");
        assert!(stream.read(&[frame(8, b"ij"), vec![0, 1, 0], frame(0, b"abcd")].concat()));
        assert_eq!(stream.start(), b"abcdef");
        assert!(stream.read(&frame(5, b"fghi")));
        assert_eq!(stream.start(), b"abcdefghij");
        assert_eq!(stream.pieces.len(), 1);
        assert!(!stream.is_broken());
    }

    #[test]
    fn what_contradicts_itself_is_broken() {
        let mut stream = Stream::default();
        stream.read(&frame(0, b"abcd"));
        stream.read(&frame(3, b"xe"));
        assert!(stream.is_broken());
        assert_eq!(stream.start(), b"abcd");
    }

    #[test]
    fn too_long_and_too_many_pieces_are_broken() {
        let mut stream = Stream::default();
        stream.read(&[6, 0x80, 0, 0x20, 0, 1, b'x']);
        assert!(stream.is_broken() && stream.bytes.is_empty());
        let mut stream = Stream::default();
        for at in 0..=PIECES_MAX {
            let offset = u16::try_from(at * 2).unwrap() | 0x4000;
            stream.read(&[&[6][..], &offset.to_be_bytes(), &[1, b'x']].concat());
        }
        assert!(stream.is_broken());
    }

    #[test]
    fn other_frames_end_the_reading() {
        let mut stream = Stream::default();
        let ack = [2, 0, 0, 1, 0, 0, 0];
        assert!(stream.read(&[&ack[..], &frame(0, b"ab")].concat()));
        assert!(!stream.read(&[&[8, 0][..], &frame(2, b"cd")].concat()));
        assert_eq!(stream.start(), b"ab");
    }
}
