//! The server name of a hello, by the parser of the data path (`filter_common::tls`).

use filter_common::abi::Hello;
use filter_common::bytes::Frame;
use filter_common::limits::{NAME_BUF, NAME_PAD};
use filter_common::tls::{RECORD_HANDSHAKE, progress, step};

use super::stream::{STREAM_MAX, Stream};

/// What a hello says of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerName {
    /// Its end has not come.
    Unfinished,
    /// The name, in lower case.
    Name(Vec<u8>),
    /// It names none.
    None,
    /// It is no hello, or contradicts itself.
    Unreadable,
}

/// Steps that a hello may take: each consumes a byte at least.
const STEPS_MAX: usize = STREAM_MAX + 8;

/// Reads the name as far as the hello came.
pub(super) fn server_name(stream: &Stream) -> ServerName {
    if stream.is_broken() {
        return ServerName::Unreadable;
    }
    let start = stream.start();
    if start.is_empty() {
        return ServerName::Unfinished;
    }
    // QUIC carries the handshake without records; the parser reads it within one, as long as a hello may
    // be here, so that what has not come is a cut.
    let mut bytes = Vec::with_capacity(start.len() + 5);
    let kind = u8::try_from(RECORD_HANDSHAKE).unwrap_or(0);
    let [high, low] = u16::try_from(STREAM_MAX).unwrap_or(u16::MAX).to_be_bytes();
    bytes.extend([kind, 3, 1, high, low]);
    bytes.extend(start);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (mut hello, mut name) = (Hello::START, [0; NAME_BUF]);
    for _ in 0..STEPS_MAX {
        match step(&mut hello, &mut name, Frame(&bytes), 0, len) {
            progress::GO => {}
            progress::MORE => return ServerName::Unfinished,
            progress::NAME => {
                let end = NAME_PAD + usize::from(hello.name_len);
                let name = name.get(NAME_PAD..end).unwrap_or_default();
                return ServerName::Name(name.to_ascii_lowercase());
            }
            progress::NO_NAME => return ServerName::None,
            _ => return ServerName::Unreadable,
        }
    }
    ServerName::Unreadable
}
