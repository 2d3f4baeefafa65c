//! HTTP/1 requests (RFC 9112) read from TCP segments as they come: the hosts and paths they name, and
//! where each request ends, so that every one of a connection is judged.
//!
//! The resumable reader: one byte a step, or eight where nothing in a header line matters. All state is
//! in [`Request`], the name in the row's buffer, the path in hashes (see `url`): no request is kept.
//! Its rules are never stricter than those of stock servers where these take a request, and where
//! servers differ in what a request means it is refused: two Host lines, two lengths, folded lines.

use crate::abi::Request;
use crate::bytes::{Packet, View};
use crate::http_body::{BODY_MAX, step_chunk, step_length};
use crate::limits::{NAME_BUF, NAME_PAD, TOKEN_MAX};
use crate::name::lower_word;
use crate::url::{self, Paths};

/// `Request::stage`: what comes next.
pub mod stage {
    /// A request, or empty lines in front of it.
    pub const START: u8 = 0;
    /// The method.
    pub const METHOD: u8 = 1;
    /// First byte of the target.
    pub const TARGET: u8 = 2;
    /// The path and query.
    pub const PATH: u8 = 3;
    /// `scheme://` of an absolute target.
    pub const SCHEME: u8 = 4;
    /// Its host.
    pub const AUTHORITY: u8 = 5;
    /// Its port.
    pub const PORT: u8 = 6;
    /// The version.
    pub const VERSION: u8 = 7;
    /// Behind a head whose body is longer than is jumped over.
    pub const OPAQUE: u8 = 8;
    /// First byte of a header line.
    pub const LINE: u8 = 9;
    /// A header's name.
    pub const FIELD: u8 = 10;
    /// Host.
    pub const HOST: u8 = 11;
    /// Content-Length.
    pub const LENGTH: u8 = 12;
    /// The rest of a line.
    pub const REST: u8 = 13;
    /// LF behind the last CR of a head.
    pub const LAST: u8 = 14;
    /// The size of a chunk.
    pub const CHUNK: u8 = 15;
    /// The rest of a chunk's line.
    pub const CHUNK_REST: u8 = 16;
}

/// `Request::marks`.
pub mod mark {
    /// A Host line was read.
    pub const HOST: u8 = 1 << 0;
    /// A name was judged: of the target or of a Host line.
    pub const NAMED: u8 = 1 << 1;
    /// A Content-Length was read.
    pub const LENGTH: u8 = 1 << 2;
    /// A Transfer-Encoding was read: chunks follow.
    pub const CHUNKED: u8 = 1 << 3;
    /// The lines are those behind the last chunk.
    pub const TRAILER: u8 = 1 << 4;
    /// The method is CONNECT: its target is a host and port.
    pub const CONNECT: u8 = 1 << 5;
    /// The target has no path.
    pub const NO_PATH: u8 = 1 << 6;
}

/// Outcome of a step and of a run of steps.
pub mod progress {
    /// Go on.
    pub const GO: u32 = 0;
    /// The segment is used up within a request.
    pub const MORE: u32 = 1;
    /// The name in the row's buffer is complete: judge it, then go on.
    pub const NAME: u32 = 2;
    /// The head is complete, and it names no host: judge that, then go on.
    pub const NO_NAME: u32 = 3;
    /// Not HTTP/1.
    pub const NOT_HTTP: u32 = 4;
    /// A request that servers understand differently, or none of them.
    pub const MALFORMED: u32 = 5;
    /// The segment is used up, and what comes next starts at `Request::offset`.
    pub const BOUNDARY: u32 = 6;
    /// HTTP/2 without TLS (RFC 9113 section 3.3): its names are not read.
    pub const HTTP2: u32 = 7;
    /// A verdict was reached that is no pass; the reason stands above the low byte.
    pub const VERDICT: u32 = 8;
}
use progress::{BOUNDARY, GO, HTTP2, MALFORMED, MORE, NAME, NO_NAME, NOT_HTTP};

pub(crate) const CR: u32 = 13;
pub(crate) const LF: u32 = 10;
pub(crate) const SPACE: u32 = 32;
pub(crate) const TAB: u32 = 9;

/// Whether `byte` can start a request: a letter of a method, or an empty line in front of it.
#[inline(always)]
#[must_use]
pub fn starts_request(byte: u32) -> bool {
    (byte | 0x20).wrapping_sub(b'a' as u32) < 26 || byte == CR || byte == LF
}

/// Whether `byte` is an upper-case letter, as every method in use begins.
#[inline(always)]
#[must_use]
pub fn starts_method(byte: u32) -> bool {
    byte.wrapping_sub(b'A' as u32) < 26
}

/// Whether four bytes, the first one highest, look like the start of a request within a stream that is
/// not read from its beginning: a method in upper case, of three letters at least.
#[inline(always)]
#[must_use]
pub fn looks_like_request(word: u32) -> bool {
    let upper = |shift: u32| starts_method(word >> shift & 0xff);
    upper(24) && upper(16) && upper(8) && (upper(0) || word & 0xff == SPACE)
}

/// Takes one byte of the segment's payload, which is the `len` bytes at `base` of the frame, or eight
/// where a header line is jumped over.
#[inline(always)]
pub fn step<P: Packet>(
    request: &mut Request,
    name: &mut [u8; NAME_BUF],
    paths: &mut impl Paths,
    seed: u64,
    packet: P,
    base: u32,
    len: u32,
) -> u32 {
    let offset = request.offset;
    if offset >= len {
        let between =
            request.stage == stage::START || request.stage == stage::CHUNK && request.count == 0;
        return if between { BOUNDARY } else { MORE };
    }
    if request.stage == stage::REST && len - offset >= 8 {
        return step_rest(request, packet, base + offset);
    }
    let Some(byte) = packet.view::<1>(base + offset) else {
        return MORE;
    };
    let byte = byte.u8(0);
    request.offset = offset + 1;
    let stage = request.stage;
    if stage <= stage::METHOD {
        step_method(request, paths, seed, byte)
    } else if stage == stage::PATH {
        step_path(request, paths, byte)
    } else if stage <= stage::PORT {
        step_target(request, name, paths, byte)
    } else if stage == stage::VERSION {
        step_version(request, byte)
    } else if stage == stage::OPAQUE {
        NOT_HTTP
    } else if stage >= stage::CHUNK {
        step_chunk(request, byte)
    } else if stage == stage::HOST {
        step_host(request, name, byte)
    } else if stage == stage::LENGTH {
        step_length(request, byte)
    } else {
        step_line(request, byte)
    }
}

/// Eight bytes of a line of which only its end matters.
#[inline(always)]
fn step_rest<P: Packet>(request: &mut Request, packet: P, at: u32) -> u32 {
    let Some(view) = packet.view::<8>(at) else {
        return MORE;
    };
    let ends = line_ends(view.le64(0));
    if ends == 0 {
        request.offset += 8;
    } else {
        request.offset += first_byte(ends) + 1;
        request.stage = stage::LINE;
    }
    GO
}

/// The top bit of the first byte of a word that is LF; bits above it mean nothing.
#[inline(always)]
#[must_use]
pub(crate) fn line_ends(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let differs = word ^ (LF as u64 * ONES);
    differs.wrapping_sub(ONES) & !differs & ONES << 7
}

/// Which byte of a word the lowest mark stands in, of marks in the top bits of bytes. By a multiplication:
/// to count zeros takes BPF twice as long.
#[inline(always)]
#[must_use]
pub(crate) fn first_byte(marks: u64) -> u32 {
    let lowest = (marks & marks.wrapping_neg()) >> 7;
    (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56) as u32
}

/// Adds a byte to the running word.
#[inline(always)]
fn push_word(request: &mut Request, byte: u32) {
    request.word_front = request.word_front << 8 | request.word >> 56;
    request.word = request.word << 8 | lower_word(byte as u64) & 0xff;
    request.count = request.count.saturating_add(1);
}

#[inline(always)]
fn clear_word(request: &mut Request) {
    request.word = 0;
    request.word_front = 0;
    request.count = 0;
}

/// Bytes of a token (RFC 9110 section 5.6.2), as far as methods and header names in use go.
#[inline(always)]
fn is_token(byte: u32) -> bool {
    (byte | 0x20).wrapping_sub(b'a' as u32) < 26
        || byte.wrapping_sub(b'0' as u32) < 10
        || byte == b'-' as u32
        || byte == b'_' as u32
}

#[inline(always)]
fn step_method(request: &mut Request, paths: &mut impl Paths, seed: u64, byte: u32) -> u32 {
    if request.stage == stage::START {
        if byte == CR || byte == LF {
            return GO;
        }
        clear_word(request);
        url::start(request, seed);
        url::end(request, paths);
        url::start(request, seed);
        request.marks = 0;
        request.name_len = 0;
        request.body = 0;
        request.stage = stage::METHOD;
    }
    if is_token(byte) && request.count < TOKEN_MAX {
        push_word(request, byte);
        return GO;
    }
    if byte != SPACE || request.count == 0 {
        return NOT_HTTP;
    }
    if request.word == u64::from_be_bytes(*b"\0connect") {
        request.marks |= mark::CONNECT;
        request.stage = stage::AUTHORITY;
    } else {
        request.stage = stage::TARGET;
    }
    GO
}

#[inline(always)]
fn step_path(request: &mut Request, paths: &mut impl Paths, byte: u32) -> u32 {
    if byte > SPACE {
        url::push(request, paths, byte);
        return GO;
    }
    url::end(request, paths);
    end_target(request, byte)
}

/// The target ends with `byte`.
#[inline(always)]
fn end_target(request: &mut Request, byte: u32) -> u32 {
    clear_word(request);
    if byte == SPACE || byte == TAB {
        request.stage = stage::VERSION;
        return named_target(request);
    }
    // A request of HTTP/0.9: the line is all of it.
    if byte != CR && byte != LF {
        return NOT_HTTP;
    }
    request.stage = stage::START;
    if request.name_len != 0 { NAME } else { NO_NAME }
}

/// The host of an absolute target is judged where the target ends.
#[inline(always)]
fn named_target(request: &mut Request) -> u32 {
    if request.name_len == 0 {
        return GO;
    }
    request.marks |= mark::NAMED;
    NAME
}

#[inline(always)]
fn step_target(
    request: &mut Request,
    name: &mut [u8; NAME_BUF],
    paths: &mut impl Paths,
    byte: u32,
) -> u32 {
    if request.stage == stage::TARGET {
        clear_word(request);
        if byte == b'/' as u32 {
            request.stage = stage::PATH;
            url::push(request, paths, byte);
        } else if byte == b'*' as u32 {
            request.stage = stage::PORT;
        } else if starts_request(byte) && byte > SPACE {
            request.stage = stage::SCHEME;
        } else {
            return NOT_HTTP;
        }
        return GO;
    }
    if request.stage == stage::SCHEME {
        return step_scheme(request, byte);
    }
    if byte <= SPACE {
        return end_target(request, byte);
    }
    if byte == b'/' as u32 || byte == b'?' as u32 {
        request.stage = stage::PATH;
        if byte == b'?' as u32 {
            url::push(request, paths, b'/' as u32);
        }
        url::push(request, paths, byte);
        return GO;
    }
    if byte == b'@' as u32 {
        // What stood there was the user's name (RFC 3986 section 3.2.1).
        request.name_len = 0;
        request.stage = stage::AUTHORITY;
    } else if byte == b':' as u32 {
        request.stage = stage::PORT;
    } else if request.stage == stage::AUTHORITY {
        return push_name(request, name, byte);
    }
    GO
}

/// Letters of a scheme, a colon and two slashes.
#[inline(always)]
fn step_scheme(request: &mut Request, byte: u32) -> u32 {
    if request.count == 0 {
        if byte == b':' as u32 {
            request.count = 1;
        } else if !is_token(byte) {
            return NOT_HTTP;
        }
    } else if byte != b'/' as u32 {
        return NOT_HTTP;
    } else {
        request.count += 1;
        if request.count == 3 {
            request.stage = stage::AUTHORITY;
        }
    }
    GO
}

#[inline(always)]
fn push_name(request: &mut Request, name: &mut [u8; NAME_BUF], byte: u32) -> u32 {
    let to = NAME_PAD + request.name_len as usize;
    if let Some(place) = name.get_mut(to) {
        *place = lower_word(byte as u64) as u8;
    }
    request.name_len = request.name_len.saturating_add(1);
    if request.name_len == u8::MAX {
        MALFORMED
    } else {
        GO
    }
}

/// ` HTTP/1.`; what stands in front of it belongs to the target, as some servers take it.
#[inline(always)]
fn step_version(request: &mut Request, byte: u32) -> u32 {
    if byte == SPACE || byte == TAB {
        clear_word(request);
        return GO;
    }
    if byte == LF {
        return NOT_HTTP;
    }
    push_word(request, byte);
    if request.count == 6 && request.word == u64::from_be_bytes(*b"\0\0http/2") {
        return HTTP2;
    }
    if request.count == 7 && request.word == u64::from_be_bytes(*b"\0http/1.") {
        request.stage = stage::REST;
    }
    GO
}

/// A header line outside the values that matter.
#[inline(always)]
fn step_line(request: &mut Request, byte: u32) -> u32 {
    if byte == LF {
        let last = request.stage == stage::LINE || request.stage == stage::LAST;
        if last {
            return end_head(request);
        }
        // A line without a colon: servers pass over it or refuse the request.
        request.stage = stage::LINE;
        return GO;
    }
    match request.stage {
        stage::LINE => {
            clear_word(request);
            if byte == CR {
                request.stage = stage::LAST;
                return GO;
            }
            if byte == SPACE || byte == TAB {
                return MALFORMED;
            }
            push_word(request, byte);
            request.stage = stage::FIELD;
            GO
        }
        stage::FIELD => {
            if byte == b':' as u32 {
                return take_field(request);
            }
            if byte == SPACE || byte == TAB {
                return MALFORMED;
            }
            push_word(request, byte);
            GO
        }
        stage::LAST => MALFORMED,
        _ => GO,
    }
}

/// A header's name is complete.
#[inline(always)]
fn take_field(request: &mut Request) -> u32 {
    let (count, word, front) = (request.count, request.word, request.word_front);
    clear_word(request);
    request.stage = stage::REST;
    if request.marks & mark::TRAILER != 0 {
        return GO;
    }
    if count == 4 && word == u64::from_be_bytes(*b"\0\0\0\0host") {
        if request.marks & mark::HOST != 0 {
            return MALFORMED;
        }
        request.marks |= mark::HOST;
        request.name_len = 0;
        request.stage = stage::HOST;
    }
    let tail = |text: &[u8; 8]| u64::from_be_bytes(*text);
    if count == 14 && word == tail(b"t-length") && front == tail(b"\0\0conten") {
        if request.marks & (mark::LENGTH | mark::CHUNKED) != 0 {
            return MALFORMED;
        }
        request.marks |= mark::LENGTH;
        request.stage = stage::LENGTH;
    }
    // Of seventeen letters the first has left the word; nobody sends another name with these.
    if count == 17 && word == tail(b"encoding") && front == tail(b"ransfer-") {
        if request.marks & (mark::LENGTH | mark::CHUNKED) != 0 {
            return MALFORMED;
        }
        request.marks |= mark::CHUNKED;
    }
    GO
}

/// The value of Host: the name up to its port.
#[inline(always)]
fn step_host(request: &mut Request, name: &mut [u8; NAME_BUF], byte: u32) -> u32 {
    let space = byte == SPACE || byte == TAB;
    if space && request.name_len == 0 {
        return GO;
    }
    if byte > SPACE && byte != b':' as u32 {
        return push_name(request, name, byte);
    }
    request.stage = if byte == LF { stage::LINE } else { stage::REST };
    if request.name_len == 0 {
        return GO;
    }
    request.marks |= mark::NAMED;
    NAME
}

/// The empty line: the head is complete, the body begins.
#[inline(always)]
fn end_head(request: &mut Request) -> u32 {
    let marks = request.marks;
    clear_word(request);
    request.stage = stage::START;
    if marks & mark::TRAILER != 0 {
        request.marks = 0;
        return GO;
    }
    if marks & mark::CHUNKED != 0 {
        request.stage = stage::CHUNK;
        request.body = 0;
    } else if request.body == BODY_MAX {
        request.stage = stage::OPAQUE;
    } else {
        request.offset += request.body;
    }
    if marks & mark::NAMED == 0 {
        NO_NAME
    } else {
        GO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_end_of_a_word_is_found() {
        for at in 0..8 {
            for behind in at..8 {
                let mut bytes = *b"abcd\x0b\x8a\xffz";
                bytes[at] = b'\n';
                bytes[behind] = b'\n';
                let ends = line_ends(u64::from_le_bytes(bytes));
                assert_eq!(first_byte(ends) as usize, at);
            }
        }
        assert_eq!(line_ends(u64::from_le_bytes(*b"abcd\x0b\x8a\xffz")), 0);
    }
}
