//! Random senders that try to get a blocked name past the filter, and the judge of whether they did.
//!
//! The judge is a server's TCP in two shapes: of two copies of a byte that did not yet reach the
//! reader, one keeps the first and one the last. Decoys may carry wrong checksums or too short a
//! life, which the server never sees and the filter cannot tell. A stream is lost when either server
//! understands the blocked name.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support: offsets come from the bytes they point into"
)]

use crate::frames::Path;
use crate::hello::{CHANGE_CIPHER_SPEC, Hello, rerecord};
use crate::reference::{Understood, understand};

/// A small generator of random numbers (xorshift64*): fixed seeds repeat for ever.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; different seeds give different numbers.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 20) as usize % end
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `of`.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A segment that a sender sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the stream it stands; a SYN claims that the stream starts there.
    pub at: usize,
    /// Its payload; empty: a SYN, which the server passes over.
    pub bytes: Vec<u8>,
    /// Whether the server takes it.
    pub seen: bool,
}

/// What a sender does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The stream that it wants to be read.
    pub stream: Vec<u8>,
    /// The name it asks for.
    pub name: String,
    /// What it sends, in order.
    pub pieces: Vec<Piece>,
}

/// The end of `name` in `stream`.
fn end_of(stream: &[u8], name: &[u8]) -> usize {
    let found = stream
        .windows(name.len())
        .rposition(|bytes| bytes.eq_ignore_ascii_case(name));
    found.map_or(stream.len(), |at| at + name.len())
}

/// A blocked hello, whole or in records.
fn blocked_hello(random: &mut Random, name: &str) -> Vec<u8> {
    let hello = Hello {
        position: random.below(17),
        post_quantum: random.once_in(3),
        ..Hello::named(name)
    };
    let size = *random.pick(&[1_000, 60, 30, 200]);
    if random.once_in(3) {
        rerecord(&hello.bytes(), size)
    } else {
        hello.bytes()
    }
}

/// Another stream in the same place: a decoy.
fn decoy(random: &mut Random, stream: &[u8]) -> Vec<u8> {
    match random.below(6) {
        0 => Hello {
            position: random.below(17),
            ..Hello::named("harmless.example")
        }
        .bytes(),
        1 => Hello::named("h").bytes(),
        2 => Hello::default().bytes(),
        3 => vec![0x55; 1 + random.below(stream.len())],
        4 => {
            let mut altered = stream.to_vec();
            let at = random.below(altered.len());
            altered[at] ^= 0x20;
            altered
        }
        _ => [&CHANGE_CIPHER_SPEC, &[0x55; 40][..]].concat(),
    }
}

/// Offsets that matter: around records, fields and the name.
fn cuts(random: &mut Random, stream: &[u8], enough: usize) -> Vec<usize> {
    let mut cuts = vec![0, stream.len()];
    for _ in 0..1 + random.below(4) {
        let cut = match random.below(4) {
            0 => *random.pick(&[1, 2, 3, 5, 6, 9, 11, 43, 44, 100]),
            1 => enough - *random.pick(&[0, 1, 2, 5, 9, 20]),
            2 => random.below(stream.len()),
            _ => random.below(enough),
        };
        cuts.push(cut.min(stream.len()));
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// A random attempt at a stream that holds `name`.
#[must_use]
pub fn attempt(random: &mut Random, name: &str) -> Attempt {
    let stream = blocked_hello(random, name);
    let cuts = cuts(random, &stream, end_of(&stream, name.as_bytes()));
    let mut pieces: Vec<Piece> = (cuts.windows(2))
        .map(|cut| Piece {
            at: cut[0],
            bytes: stream[cut[0]..cut[1]].to_vec(),
            seen: true,
        })
        .collect();
    spoil(random, &mut pieces, &stream, &cuts);
    Attempt {
        stream,
        name: name.to_owned(),
        pieces,
    }
}

/// Adds decoys, copies and forged SYNs, and changes the order.
fn spoil(random: &mut Random, pieces: &mut Vec<Piece>, stream: &[u8], cuts: &[usize]) {
    for _ in 0..random.below(4) {
        let place = random.below(pieces.len() + 1);
        let at = *random.pick(cuts);
        let seen = random.once_in(3);
        let piece = match random.below(5) {
            0 => Piece {
                at,
                bytes: Vec::new(),
                seen: false,
            },
            1 => Piece {
                at: if random.once_in(2) { 0 } else { at },
                bytes: decoy(random, stream),
                seen,
            },
            2 => pieces[random.below(pieces.len())].clone(),
            3 => {
                let mut bytes = decoy(random, stream);
                bytes.truncate(1 + random.below(bytes.len()));
                Piece { at, bytes, seen }
            }
            _ => Piece {
                at: 0,
                bytes: stream.to_vec(),
                seen: true,
            },
        };
        pieces.insert(place, piece);
    }
    for _ in 0..random.below(3) {
        let (one, other) = (random.below(pieces.len()), random.below(pieces.len()));
        pieces.swap(one, other);
    }
    // All of it once more, so that what was held comes again.
    if random.once_in(2) {
        pieces.extend(pieces.clone());
    }
}

/// A server's TCP: what arrived and what its reader has got.
struct Server {
    /// Bytes by offset; `None`: not there yet.
    arrived: Vec<Option<u8>>,
    /// Whether the first copy of a byte stays, where the reader has not got it.
    first_stays: bool,
}

impl Server {
    fn take(&mut self, at: usize, bytes: &[u8]) {
        // What the reader has got cannot change any more.
        let read = self.read().len();
        if self.arrived.len() < at + bytes.len() {
            self.arrived.resize(at + bytes.len(), None);
        }
        for (place, byte) in (at..).zip(bytes) {
            if place >= read && (self.arrived[place].is_none() || !self.first_stays) {
                self.arrived[place] = Some(*byte);
            }
        }
    }

    fn read(&self) -> Vec<u8> {
        self.arrived.iter().map_while(|byte| *byte).collect()
    }
}

/// Sends an attempt through `passes` and tells whether a server reads the name.
pub fn succeeds(
    attempt: &Attempt,
    path: &Path,
    first: u32,
    mut passes: impl FnMut(&[u8]) -> bool,
) -> bool {
    let at = |offset: usize| first.wrapping_add(offset as u32);
    let mut servers = [true, false].map(|first_stays| Server {
        arrived: Vec::new(),
        first_stays,
    });
    passes(&path.syn(first));
    for piece in &attempt.pieces {
        if piece.bytes.is_empty() {
            passes(&path.syn(at(piece.at)));
            continue;
        }
        // No segment is longer than what a network carries.
        for (number, bytes) in piece.bytes.chunks(1_400).enumerate() {
            let from = piece.at + number * 1_400;
            if passes(&path.data(at(from), bytes)) && piece.seen {
                servers
                    .iter_mut()
                    .for_each(|server| server.take(from, bytes));
            }
        }
    }
    let wanted = Understood::Name(attempt.name.as_bytes().to_vec());
    servers
        .iter()
        .any(|server| understand(&server.read()) == wanted)
}

/// An attempt as text, for the message of a failure.
#[must_use]
pub fn describe(attempt: &Attempt) -> String {
    let text = |piece: &Piece| {
        let (from, to) = (piece.at, piece.at + piece.bytes.len());
        let real = attempt.stream.get(from..to) == Some(&piece.bytes);
        let kind = match (piece.bytes.is_empty(), real, piece.seen) {
            (true, ..) => "SYN",
            (_, true, _) => "real",
            (_, _, true) => "decoy",
            (_, _, false) => "unseen decoy",
        };
        format!("{kind} {from}..{to}")
    };
    let end = end_of(&attempt.stream, attempt.name.as_bytes());
    let sent: Vec<String> = attempt.pieces.iter().map(text).collect();
    format!("name ends at {end}; {}", sent.join(", "))
}
