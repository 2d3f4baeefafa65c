//! Where the body of an HTTP/1 request ends (RFC 9112 section 6): by its length, or by its chunks.

use crate::abi::Request;
use crate::http::progress::{GO, MALFORMED};
use crate::http::{CR, LF, SPACE, TAB, mark, stage};

/// Longest body that is jumped over as one: what is longer is half the sequence space.
pub(crate) const BODY_MAX: u32 = 1 << 30;

/// The value of Content-Length.
#[inline(always)]
pub(crate) fn step_length(request: &mut Request, byte: u32) -> u32 {
    let digit = byte.wrapping_sub(b'0' as u32);
    if digit < 10 {
        request.count = 1;
        let body = request.body as u64 * 10 + digit as u64;
        request.body = if body < BODY_MAX as u64 {
            body as u32
        } else {
            BODY_MAX
        };
        return GO;
    }
    let space = byte == SPACE || byte == TAB;
    if space && request.count == 0 {
        return GO;
    }
    if request.count == 0 {
        return MALFORMED;
    }
    if byte == LF {
        request.stage = stage::LINE;
        return GO;
    }
    if byte != CR && !space {
        return MALFORMED;
    }
    request.stage = stage::REST;
    GO
}

/// A chunk's size, its extension, and the way behind its data (RFC 9112 section 7.1).
#[inline(always)]
pub(crate) fn step_chunk(request: &mut Request, byte: u32) -> u32 {
    if request.stage == stage::CHUNK_REST {
        if byte != LF {
            return GO;
        }
        let size = request.body;
        request.count = 0;
        request.body = 0;
        if size == 0 {
            request.marks |= mark::TRAILER;
            request.stage = stage::LINE;
        } else {
            // The data, and CR LF behind it.
            request.offset += size + 2;
            request.stage = stage::CHUNK;
        }
        return GO;
    }
    let low = byte | 0x20;
    let digit = if byte.wrapping_sub(b'0' as u32) < 10 {
        byte - b'0' as u32
    } else if low.wrapping_sub(b'a' as u32) < 6 {
        low - b'a' as u32 + 10
    } else {
        16
    };
    if digit < 16 {
        request.count = 1;
        request.body = request.body << 4 | digit;
        return if request.body >= BODY_MAX {
            MALFORMED
        } else {
            GO
        };
    }
    if request.count == 0 {
        return MALFORMED;
    }
    let space = byte == SPACE || byte == TAB;
    if byte == LF {
        request.stage = stage::CHUNK_REST;
        request.offset -= 1;
        return GO;
    }
    if byte != CR && byte != b';' as u32 && !space {
        return MALFORMED;
    }
    request.stage = stage::CHUNK_REST;
    GO
}
