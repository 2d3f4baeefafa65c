//! Builds TLS ClientHellos, and cuts them into records in every legal way.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "test support: a hello that does not fit is a mistake in the case, which a panic shows"
)]

/// Where the server name stands among the extensions: behind all of them.
pub const LAST: usize = usize::MAX;

/// A ClientHello to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Server name, any bytes; `None`: no such extension.
    pub name: Option<Vec<u8>>,
    /// Position of the server name among the extensions.
    pub position: usize,
    /// Extensions besides the server name; beyond those that clients send they are GREASE.
    pub extensions: usize,
    /// Whether the key share holds a post-quantum key of 1.2 kB.
    pub post_quantum: bool,
    /// Bytes of the session id, up to 32.
    pub session_id: usize,
    /// Whether it is the second hello, behind a HelloRetryRequest: a ChangeCipherSpec record stands
    /// in front of it, and it carries a cookie.
    pub second: bool,
    /// Whether an ECH extension stands in it, as GREASE.
    pub ech: bool,
}

impl Default for Hello {
    fn default() -> Self {
        Hello {
            name: None,
            position: 0,
            extensions: 15,
            post_quantum: false,
            session_id: 32,
            second: false,
            ech: false,
        }
    }
}

impl Hello {
    /// A hello for `name`, which stands first.
    #[must_use]
    pub fn named(name: &str) -> Hello {
        Hello {
            name: Some(name.as_bytes().to_vec()),
            ..Hello::default()
        }
    }

    /// As on the wire: one record, or a ChangeCipherSpec record and one.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = if self.second {
            CHANGE_CIPHER_SPEC.to_vec()
        } else {
            Vec::new()
        };
        bytes.extend(record(HANDSHAKE, &self.handshake()));
        bytes
    }

    /// The handshake message without record headers.
    #[must_use]
    pub fn handshake(&self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend((0..32u8).map(|at| at.wrapping_mul(29)));
        body.push(self.session_id as u8);
        body.extend((0..self.session_id as u8).map(|at| at ^ 0x5a));
        body.extend(with_len16(&CIPHERS));
        body.extend([1, 0]);
        let extensions: Vec<u8> = self
            .list()
            .into_iter()
            .flat_map(|(kind, data)| extension(kind, &data))
            .collect();
        body.extend(with_len16(&extensions));
        let len = (body.len() as u32).to_be_bytes();
        let mut message = vec![1, len[1], len[2], len[3]];
        message.extend(body);
        message
    }

    fn list(&self) -> Vec<(u16, Vec<u8>)> {
        let mut list: Vec<(u16, Vec<u8>)> = (0..self.extensions).map(|at| self.usual(at)).collect();
        if self.second {
            list.push((44, with_len16(b"cookie of the server")));
        }
        if self.ech {
            list.push((0xfe0d, vec![0; 186]));
        }
        if let Some(name) = &self.name {
            let at = self.position.min(list.len());
            list.insert(at, (0, server_name(name)));
        }
        list
    }

    fn usual(&self, at: usize) -> (u16, Vec<u8>) {
        let key = if self.post_quantum { 1_263 } else { 43 };
        match at {
            0 => (0x5a5a, vec![]),
            1 => (23, vec![]),
            2 => (0xff01, vec![0]),
            3 => (10, vec![0, 8, 0x11, 0xec, 0, 29, 0, 23, 0, 24]),
            4 => (11, vec![1, 0]),
            5 => (35, vec![]),
            6 => (16, b"\x00\x0c\x02h2\x08http/1.1".to_vec()),
            7 => (5, vec![1, 0, 0, 0, 0]),
            8 => (
                13,
                b"\x00\x10\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01"
                    .to_vec(),
            ),
            9 => (18, vec![]),
            10 => (51, key_share(key)),
            11 => (45, vec![1, 1]),
            12 => (43, vec![6, 0x7a, 0x7a, 3, 4, 3, 3]),
            13 => (27, vec![2, 0, 2]),
            14 => (17_613, vec![0, 3, 2, b'h', b'2']),
            beyond => (0x0a0a + ((beyond as u16) << 8), vec![0; beyond % 5]),
        }
    }
}

const CIPHERS: [u8; 16] = [
    0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0, 0x9c,
];
/// Content type of handshake records.
pub const HANDSHAKE: u8 = 22;
/// Content type of alerts.
pub const ALERT: u8 = 21;
/// The record that TLS 1.3 clients put in front of a second hello.
pub const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];

fn with_len16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), with_len16(data)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    with_len16(&[vec![0], with_len16(name)].concat())
}

fn key_share(len: usize) -> Vec<u8> {
    let shares = [0x11, 0xec]
        .into_iter()
        .chain(with_len16(&vec![0x42; len - 6]))
        .collect::<Vec<u8>>();
    with_len16(&shares)
}

/// A TLS record.
#[must_use]
pub fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [vec![kind, 3, 1], with_len16(content)].concat()
}

/// The handshake bytes of a run of records; other records are left out.
///
/// # Panics
/// If the records are not whole.
#[must_use]
pub fn unrecord(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = records {
        let (content, behind) = rest.split_at(usize::from(*high) * 256 + usize::from(*low));
        if *kind == HANDSHAKE {
            message.extend(content);
        }
        records = behind;
    }
    message
}

/// The same handshake bytes in records of at most `size` bytes.
#[must_use]
pub fn rerecord(records: &[u8], size: usize) -> Vec<u8> {
    let start = if records[0] == CHANGE_CIPHER_SPEC[0] {
        CHANGE_CIPHER_SPEC.to_vec()
    } else {
        vec![]
    };
    let parts = unrecord(records);
    start
        .into_iter()
        .chain(parts.chunks(size).flat_map(|part| record(HANDSHAKE, part)))
        .collect()
}

/// The same with something between the records of `size` bytes: an empty handshake record, or a
/// warning alert.
#[must_use]
pub fn interleave(records: &[u8], size: usize, between: &[u8]) -> Vec<u8> {
    let message = unrecord(records);
    let parts: Vec<Vec<u8>> = message
        .chunks(size)
        .map(|part| record(HANDSHAKE, part))
        .collect();
    parts.join(between)
}

/// A name of exactly `len` bytes below `suffix`, in labels of at most 63.
///
/// # Panics
/// If the suffix with a dot does not fit.
#[must_use]
pub fn name_of_len(len: usize, suffix: &str) -> String {
    let mut room = len.checked_sub(suffix.len()).expect("the suffix fits");
    let mut name = String::new();
    while room > 1 {
        // Leave no single byte over: a label needs one and its dot one.
        let label = (room - 1).min(63);
        let label = if room - label - 1 == 1 {
            label - 1
        } else {
            label
        };
        name.extend(std::iter::repeat_n('a', label));
        name.push('.');
        room -= label + 1;
    }
    name + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_the_same_message() {
        let hello = Hello::named("www.example.com");
        for size in [1, 7, 100, 5_000] {
            assert_eq!(unrecord(&rerecord(&hello.bytes(), size)), hello.handshake());
        }
        let mixed = interleave(&hello.bytes(), 50, &record(ALERT, &[1, 90]));
        assert_eq!(unrecord(&mixed), hello.handshake());
    }

    #[test]
    fn names_have_the_length_asked_for() {
        for len in 10..=255 {
            let name = name_of_len(len, "x.example");
            if len == 10 {
                continue;
            }
            assert_eq!(name.len(), len, "{name}");
            assert!(
                name.split('.')
                    .all(|label| !label.is_empty() && label.len() <= 63)
            );
        }
    }
}
