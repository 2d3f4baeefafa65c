//! The ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2) up to its server name
//! (RFC 6066 section 3), read from TCP segments as they come.
//!
//! Two readers share one state, [`Hello`]. [`glide`] takes whole fields from one segment within one
//! record and touches nothing byte by byte; [`step`] takes one field, or one byte of a field that
//! segments or records cut. What `glide` cannot take whole it leaves to `step`, at the same place.
//!
//! Nothing is buffered but a cut field's bytes and the name: skipped bytes are jumped over. The rules
//! of what is a ClientHello are never stricter than those of stock servers, or a hello that a server
//! understands would not be seen here: empty handshake records, and alert and change-cipher-spec
//! records before or between are read over as OpenSSL reads over them.

use crate::abi::Hello;
use crate::bytes::{Packet, View};
use crate::limits::{EXTENSIONS_MAX, NAME_BUF, NAME_LEN_MAX, NAME_PAD};
use crate::name::lower_word;

/// Content types (RFC 8446 section 5.1).
pub const RECORD_CHANGE_CIPHER_SPEC: u32 = 0x14;
/// Alert record.
pub const RECORD_ALERT: u32 = 0x15;
/// Handshake record.
pub const RECORD_HANDSHAKE: u32 = 0x16;
/// Longest record a server takes: 2^14 and 256 bytes of expansion (RFC 8446 section 5.2).
const RECORD_LEN_MAX: u32 = 16_640;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u64 = 1;
/// Shortest ClientHello body: version, random, three empty vectors.
const HELLO_LEN_MIN: u32 = 41;
/// Longest session id (RFC 5246 section 7.4.1.2).
const SESSION_ID_MAX: u32 = 32;

/// `Hello::stage`: which field comes next.
pub mod stage {
    /// Handshake type, length and client version; the random follows.
    pub const HANDSHAKE: u8 = 0;
    /// Length of the session id.
    pub const SESSION_ID: u8 = 1;
    /// Length of the cipher suites.
    pub const CIPHERS: u8 = 2;
    /// Length of the compression methods.
    pub const COMPRESSION: u8 = 3;
    /// Length of the extensions.
    pub const EXTENSIONS: u8 = 4;
    /// Type and length of an extension.
    pub const EXTENSION: u8 = 5;
    /// Server name list: its length, the name's type and length.
    pub const SERVER_NAME: u8 = 6;
    /// The name.
    pub const NAME: u8 = 7;
}

/// Outcome of [`glide`], [`step`] and a run of steps.
pub mod progress {
    /// Go on with [`super::step`].
    pub const GO: u32 = 0;
    /// The segment is used up, the hello is not complete.
    pub const MORE: u32 = 1;
    /// The name is complete: in the segment (after `glide`) or in the buffer (after `step`).
    pub const NAME: u32 = 2;
    /// A ClientHello without a server name.
    pub const NO_NAME: u32 = 3;
    /// Not a TLS ClientHello.
    pub const NOT_TLS: u32 = 4;
    /// A server name that no server accepts.
    pub const BAD_NAME: u32 = 5;
}
use progress::{BAD_NAME, GO, MORE, NAME, NO_NAME, NOT_TLS};

impl Hello {
    /// The state in front of a record header.
    pub const START: Hello = Hello {
        field: 0,
        record_header: 0,
        offset: 0,
        record_left: 0,
        skip: 0,
        extensions_left: 0,
        field_got: 0,
        record_header_got: 0,
        stage: stage::HANDSHAKE,
        name_len: 0,
        name_got: 0,
        record_type: 0,
        pad: [0; 2],
    };
}

/// Whether `byte` can start a record that comes before or holds a ClientHello.
#[inline(always)]
#[must_use]
pub fn starts_record(byte: u32) -> bool {
    byte.wrapping_sub(RECORD_CHANGE_CIPHER_SPEC) <= 2
}

/// Takes a whole record header into account. `header` is its five bytes.
#[inline(always)]
fn open_record(hello: &mut Hello, header: u64) -> u32 {
    let kind = (header >> 32) as u32;
    let len = header as u32 & 0xffff;
    // First byte of the version is 3 in every TLS (RFC 8446 section 5.1).
    if !starts_record(kind) || header >> 24 & 0xff != 3 || len > RECORD_LEN_MAX {
        return NOT_TLS;
    }
    hello.record_type = kind as u8;
    hello.record_left = len;
    GO
}

/// Takes whole fields of the segment's payload, which is the `len` bytes at `base` of the frame, as
/// long as they lie within one handshake record.
///
/// [`NAME`]: the name lies in the frame at `base + hello.offset`, `hello.name_len` bytes long, and
/// `hello.offset` is left at its start. [`GO`]: go on with [`step`].
#[inline(always)]
pub fn glide<P: Packet>(hello: &mut Hello, packet: P, base: u32, len: u32) -> u32 {
    if hello.field_got | hello.record_header_got != 0 {
        return GO;
    }
    if hello.record_left == 0 {
        if hello.offset + 5 > len {
            return GO;
        }
        let Some(header) = packet.view::<5>(base + hello.offset) else {
            return GO;
        };
        let header = (header.u8(0) as u64) << 32 | header.be32(1) as u64;
        // Whatever decides, the byte that decided lies in front of the offset: a flow is judged up to it.
        hello.offset += 5;
        if open_record(hello, header) != GO {
            return NOT_TLS;
        }
    }
    if hello.record_type as u32 != RECORD_HANDSHAKE {
        return GO;
    }
    let stage = hello.stage;
    if stage == stage::HANDSHAKE {
        let outcome = glide_fixed(hello, packet, base, len);
        if outcome != MORE {
            return outcome;
        }
    } else if stage != stage::EXTENSION {
        return GO;
    }
    glide_extensions(hello, packet, base, len)
}

/// From the handshake header to the first extension. [`MORE`]: got there.
#[inline(always)]
fn glide_fixed<P: Packet>(hello: &mut Hello, packet: P, base: u32, len: u32) -> u32 {
    let start = hello.offset;
    let in_segment = len - start;
    let record = hello.record_left;
    let room = if record < in_segment {
        record
    } else {
        in_segment
    };
    if hello.skip != 0 || room < 39 {
        return GO;
    }
    let Some(fixed) = packet.view::<39>(base + start) else {
        return GO;
    };
    let hello_len = fixed.be32(0) & 0xff_ffff;
    let session_id = fixed.u8(38);
    // The client version is not looked at: OpenSSL takes any above SSL 3.0 beside supported_versions.
    let hello_like = fixed.u8(0) as u64 == CLIENT_HELLO && hello_len >= HELLO_LEN_MIN;
    if !hello_like || session_id > SESSION_ID_MAX {
        hello.offset = start + 39;
        return NOT_TLS;
    }
    let mut at = 39 + session_id;
    if at + 2 > room {
        return GO;
    }
    let Some(ciphers) = packet.view::<2>(base + start + at) else {
        return GO;
    };
    at += 2 + ciphers.be16(0);
    if at + 1 > room {
        return GO;
    }
    let Some(compression) = packet.view::<1>(base + start + at) else {
        return GO;
    };
    at += 1 + compression.u8(0);
    if at + 2 > room {
        return GO;
    }
    let Some(extensions) = packet.view::<2>(base + start + at) else {
        return GO;
    };
    hello.extensions_left = extensions.be16(0);
    if hello.extensions_left < 4 {
        hello.offset = start + at + 2;
        return NO_NAME;
    }
    hello.offset = start + at + 2;
    hello.record_left = record - at - 2;
    hello.stage = stage::EXTENSION;
    MORE
}

/// From an extension header to the name, jumping over other extensions.
#[inline(always)]
fn glide_extensions<P: Packet>(hello: &mut Hello, packet: P, base: u32, len: u32) -> u32 {
    let start = hello.offset;
    let record_end = start + hello.record_left;
    let end = if record_end < len { record_end } else { len };
    let mut at = start + hello.skip;
    let mut left = hello.extensions_left;
    let mut outcome = GO;
    for _ in 0..EXTENSIONS_MAX {
        if at + 4 > end {
            break;
        }
        let Some(header) = packet.view::<4>(base + at) else {
            break;
        };
        if header.be16(0) == 0 {
            outcome = NAME;
            break;
        }
        let used = header.be16(2) + 4;
        if used > left {
            outcome = NOT_TLS;
            at += 4;
            break;
        }
        left -= used;
        at += used;
        if left < 4 {
            outcome = NO_NAME;
            break;
        }
    }
    hello.extensions_left = left;
    if outcome == NOT_TLS || outcome == NO_NAME {
        // The byte that decided is the last one of the header just read.
        hello.offset = if at < len { at } else { len };
        return outcome;
    }
    // Where the next field starts, in this segment or behind it.
    let stop = if at < end { at } else { end };
    hello.offset = stop;
    hello.record_left = record_end - stop;
    hello.skip = at - stop;
    if outcome == NAME {
        glide_name(hello, packet, base, end)
    } else {
        GO
    }
}

/// The server name extension at `hello.offset`, if the whole name lies in front of `end`.
#[inline(always)]
fn glide_name<P: Packet>(hello: &mut Hello, packet: P, base: u32, end: u32) -> u32 {
    let at = hello.offset;
    if at + 9 > end {
        return GO;
    }
    let Some(header) = packet.view::<9>(base + at) else {
        return GO;
    };
    let mut outcome = check_name(header.be16(4), header.u8(6), header.be16(7));
    if header.be16(2) < 5 {
        outcome = NO_NAME;
    } else if outcome == NAME && header.be16(2) + 4 > hello.extensions_left {
        outcome = NOT_TLS;
    }
    let name_len = header.be16(7);
    if outcome == NAME && at + 9 + name_len > end {
        return GO;
    }
    hello.name_len = name_len as u8;
    hello.offset = at + 9;
    outcome
}

/// Whether a server name list with these fields names a host. Stock servers take a list of exactly
/// one host name (RFC 6066 section 3 knows no other type).
#[inline(always)]
fn check_name(list_len: u32, kind: u32, name_len: u32) -> u32 {
    if kind != 0 || name_len > NAME_LEN_MAX || name_len + 3 > list_len {
        return BAD_NAME;
    }
    if name_len == 0 { NO_NAME } else { NAME }
}

/// Takes one record header, one field, one skip, or up to eight bytes of the name; less where the
/// segment or the record cuts it. All state is in `hello` and `name`.
#[inline(always)]
pub fn step<P: Packet>(
    hello: &mut Hello,
    name: &mut [u8; NAME_BUF],
    packet: P,
    base: u32,
    len: u32,
) -> u32 {
    let offset = hello.offset;
    if offset >= len {
        return MORE;
    }
    let in_segment = len - offset;
    if hello.record_left == 0 {
        return step_record(hello, packet, base + offset, in_segment);
    }
    let record = hello.record_left;
    let mut room = if record < in_segment {
        record
    } else {
        in_segment
    };
    if hello.record_type as u32 != RECORD_HANDSHAKE {
        hello.offset = offset + room;
        hello.record_left = record - room;
        return GO;
    }
    if hello.skip != 0 {
        room = if hello.skip < room { hello.skip } else { room };
        hello.offset = offset + room;
        hello.record_left = record - room;
        hello.skip -= room;
        return GO;
    }
    if hello.stage == stage::NAME {
        return step_name(hello, name, packet, base + offset, room);
    }
    step_field(hello, packet, base + offset, room)
}

#[inline(always)]
fn step_record<P: Packet>(hello: &mut Hello, packet: P, at: u32, room: u32) -> u32 {
    if hello.record_header_got == 0 && room >= 5 {
        let Some(header) = packet.view::<5>(at) else {
            return MORE;
        };
        hello.offset += 5;
        return open_record(hello, (header.u8(0) as u64) << 32 | header.be32(1) as u64);
    }
    let Some(byte) = packet.view::<1>(at) else {
        return MORE;
    };
    let byte = byte.u8(0);
    hello.record_header = hello.record_header << 8 | byte as u64;
    hello.offset += 1;
    hello.record_header_got += 1;
    if hello.record_header_got == 1 && !starts_record(byte) {
        return NOT_TLS;
    }
    if hello.record_header_got == 2 && byte != 3 {
        return NOT_TLS;
    }
    if hello.record_header_got < 5 {
        return GO;
    }
    let header = hello.record_header;
    hello.record_header = 0;
    hello.record_header_got = 0;
    open_record(hello, header)
}

#[inline(always)]
fn step_name<P: Packet>(
    hello: &mut Hello,
    name: &mut [u8; NAME_BUF],
    packet: P,
    at: u32,
    room: u32,
) -> u32 {
    let got = hello.name_got;
    let left = hello.name_len.wrapping_sub(got) as u32;
    let to = NAME_PAD + got as usize;
    let taken;
    if left >= 8 && room >= 8 {
        let Some(word) = packet.view::<8>(at) else {
            return MORE;
        };
        let word = lower_word(word.le64(0)).to_le_bytes();
        if let Some(place) = name.get_mut(to..to + 8) {
            place.copy_from_slice(&word);
        }
        taken = 8;
    } else {
        let Some(byte) = packet.view::<1>(at) else {
            return MORE;
        };
        if let Some(place) = name.get_mut(to) {
            *place = lower_word(byte.u8(0) as u64) as u8;
        }
        taken = 1;
    }
    hello.offset += taken;
    hello.record_left -= taken;
    hello.name_got = got.wrapping_add(taken as u8);
    if hello.name_got == hello.name_len {
        NAME
    } else {
        GO
    }
}

/// Bytes of the fixed-width field that comes next.
#[inline(always)]
fn field_width(stage: u8) -> u32 {
    match stage {
        stage::HANDSHAKE => 6,
        stage::SESSION_ID | stage::COMPRESSION => 1,
        stage::CIPHERS | stage::EXTENSIONS => 2,
        stage::EXTENSION => 4,
        _ => 5,
    }
}

#[inline(always)]
fn step_field<P: Packet>(hello: &mut Hello, packet: P, at: u32, room: u32) -> u32 {
    let width = field_width(hello.stage);
    let value;
    if hello.field_got == 0 && room >= 6 {
        // Whole, and read as six bytes whatever its width: one path for the verifier.
        let Some(bytes) = packet.view::<6>(at) else {
            return MORE;
        };
        let six = (bytes.be32(0) as u64) << 16 | bytes.be16(4) as u64;
        value = six >> ((6 - width) * 8);
        hello.offset += width;
        hello.record_left -= width;
    } else {
        let Some(byte) = packet.view::<1>(at) else {
            return MORE;
        };
        let byte = byte.u8(0) as u64;
        hello.field = hello.field << 8 | byte;
        hello.offset += 1;
        hello.record_left -= 1;
        hello.field_got += 1;
        if hello.stage == stage::HANDSHAKE && hello.field_got == 1 && byte != CLIENT_HELLO {
            return NOT_TLS;
        }
        if (hello.field_got as u32) < width {
            return GO;
        }
        value = hello.field;
    }
    hello.field = 0;
    hello.field_got = 0;
    take_field(hello, value)
}

#[inline(always)]
fn take_field(hello: &mut Hello, value: u64) -> u32 {
    let low = value as u32 & 0xffff;
    match hello.stage {
        stage::HANDSHAKE => {
            let hello_len = (value >> 16) as u32 & 0xff_ffff;
            if value >> 40 != CLIENT_HELLO || hello_len < HELLO_LEN_MIN {
                return NOT_TLS;
            }
            hello.skip = 32;
            hello.stage = stage::SESSION_ID;
        }
        stage::SESSION_ID => {
            if low > SESSION_ID_MAX {
                return NOT_TLS;
            }
            hello.skip = low;
            hello.stage = stage::CIPHERS;
        }
        stage::CIPHERS => {
            hello.skip = low;
            hello.stage = stage::COMPRESSION;
        }
        stage::COMPRESSION => {
            hello.skip = low;
            hello.stage = stage::EXTENSIONS;
        }
        stage::EXTENSIONS => {
            hello.extensions_left = low;
            if low < 4 {
                return NO_NAME;
            }
            hello.stage = stage::EXTENSION;
        }
        stage::EXTENSION => return take_extension(hello, (value >> 16) as u32, low),
        _ => return take_server_name(hello, value),
    }
    GO
}

#[inline(always)]
fn take_extension(hello: &mut Hello, kind: u32, len: u32) -> u32 {
    let used = len + 4;
    if used > hello.extensions_left {
        return NOT_TLS;
    }
    hello.extensions_left -= used;
    if kind == 0 {
        hello.name_got = 0;
        hello.stage = stage::SERVER_NAME;
        return if len < 5 { NO_NAME } else { GO };
    }
    hello.skip = len;
    if hello.extensions_left < 4 {
        NO_NAME
    } else {
        GO
    }
}

#[inline(always)]
fn take_server_name(hello: &mut Hello, value: u64) -> u32 {
    let list_len = (value >> 24) as u32 & 0xffff;
    let name_len = value as u32 & 0xffff;
    let outcome = check_name(list_len, (value >> 16) as u32 & 0xff, name_len);
    if outcome != NAME {
        return outcome;
    }
    hello.name_len = name_len as u8;
    hello.stage = stage::NAME;
    GO
}
