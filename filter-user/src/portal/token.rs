//! One-time tokens: proof that the warning was served to this client, for this entry, a short while ago.
//! A token is an expiry, an organisation, an entry and a random id, under a keyed hash (HMAC-SHA-256)
//! that the client's address is part of. The key lives as long as the daemon; used ids are kept until
//! their token expires.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::random;
use crate::kernel::grants::halves;

/// Seconds from the page to the click.
pub(super) const TOKEN_SECONDS: u64 = 10 * 60;
/// Used ids kept at most: 4 MiB or so. Above it nothing is granted until some expire.
const USED_MAX: usize = 65_536;

const BODY: usize = 8 + 8 + 4 + 16;
const SEAL: usize = 32;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Keyed hash of the organisation's id.
    pub(super) organisation: u64,
    /// Number of the entry.
    pub(super) entry: u32,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not ours, or not for this client.
    Forged,
    /// Too old.
    Expired,
    /// Used before.
    Replayed,
    /// Too many are in use.
    Busy,
}

/// Tokens of one run of the daemon.
#[derive(Debug)]
pub(super) struct Tokens {
    key: Key,
    used: Mutex<HashMap<[u8; 16], u64>>,
}

struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Key(secret)")
    }
}

impl Tokens {
    pub(super) fn new() -> io::Result<Tokens> {
        Ok(Tokens {
            key: Key(random()?),
            used: Mutex::default(),
        })
    }

    /// A token for a client; `now` in seconds of any clock that only goes forward. None where the
    /// system has no random bytes.
    pub(super) fn issue(&self, claim: Claim, client: IpAddr, now: u64) -> Option<String> {
        let mut body = Vec::with_capacity(BODY);
        body.extend((now + TOKEN_SECONDS).to_be_bytes());
        body.extend(claim.organisation.to_be_bytes());
        body.extend(claim.entry.to_be_bytes());
        body.extend(random::<16>().ok()?);
        let seal = self.seal(&body, client)?.finalize().into_bytes();
        Some(hex(body.iter().chain(&seal)))
    }

    /// Takes a token; it is worth nothing afterwards.
    pub(super) fn redeem(&self, token: &str, client: IpAddr, now: u64) -> Result<Claim, Refusal> {
        let bytes = unhex(token).ok_or(Refusal::Forged)?;
        let (body, seal) = bytes.split_at_checked(BODY).ok_or(Refusal::Forged)?;
        let sealed = self.seal(body, client).ok_or(Refusal::Forged)?;
        // Compares in constant time.
        if seal.len() != SEAL || sealed.verify_slice(seal).is_err() {
            return Err(Refusal::Forged);
        }
        let (expires, claim, id) = read(body).ok_or(Refusal::Forged)?;
        if expires <= now {
            return Err(Refusal::Expired);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            used.retain(|_, expires| *expires > now);
        }
        if used.contains_key(&id) {
            return Err(Refusal::Replayed);
        }
        if used.len() >= USED_MAX {
            return Err(Refusal::Busy);
        }
        used.insert(id, expires);
        Ok(claim)
    }

    fn seal(&self, body: &[u8], client: IpAddr) -> Option<Hmac<Sha256>> {
        let (high, low) = halves(client);
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.key.0).ok()?;
        seal.update(body);
        seal.update(&high.to_be_bytes());
        seal.update(&low.to_be_bytes());
        Some(seal)
    }
}

fn read(body: &[u8]) -> Option<(u64, Claim, [u8; 16])> {
    let (expires, rest) = body.split_first_chunk()?;
    let (organisation, rest) = rest.split_first_chunk()?;
    let (entry, id) = rest.split_first_chunk()?;
    let claim = Claim {
        organisation: u64::from_be_bytes(*organisation),
        entry: u32::from_be_bytes(*entry),
    };
    Some((u64::from_be_bytes(*expires), claim, id.try_into().ok()?))
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != (BODY + SEAL) * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    pairs
        .map(|pair| u8::from_str_radix(pair?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim {
        organisation: 77,
        entry: 5,
    };
    const NOW: u64 = 1_000;

    fn client(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn token_is_good_once() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(CLAIM, client(1), NOW).unwrap();
        assert_eq!(tokens.redeem(&token, client(1), NOW + 1), Ok(CLAIM));
        let again = tokens.redeem(&token, client(1), NOW + 2);
        assert_eq!(again, Err(Refusal::Replayed));
        let other = tokens.issue(CLAIM, client(1), NOW).unwrap();
        assert_ne!(other, token);
        assert_eq!(tokens.redeem(&other, client(1), NOW), Ok(CLAIM));
    }

    #[test]
    fn token_expires() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(CLAIM, client(1), NOW).unwrap();
        let late = tokens.redeem(&token, client(1), NOW + TOKEN_SECONDS);
        assert_eq!(late, Err(Refusal::Expired));
    }

    #[test]
    fn token_of_another_client_key_or_content_is_forged() {
        let tokens = Tokens::new().unwrap();
        let token = tokens.issue(CLAIM, client(1), NOW).unwrap();
        let forged = Err(Refusal::Forged);
        assert_eq!(tokens.redeem(&token, client(2), NOW), forged);
        let restarted = Tokens::new().unwrap();
        assert_eq!(restarted.redeem(&token, client(1), NOW), forged);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(tokens.redeem(&changed, client(1), NOW), forged, "{at}");
        }
        for text in ["", "00", &token[2..], &format!("{token}00"), "ы", "+1"] {
            assert_eq!(tokens.redeem(text, client(1), NOW), forged, "{text}");
        }
        assert_eq!(tokens.redeem(&token, client(1), NOW), Ok(CLAIM));
    }

    #[test]
    fn used_tokens_are_bounded_and_never_forgotten_too_early() {
        let tokens = Tokens::new().unwrap();
        let first = tokens.issue(CLAIM, client(1), NOW).unwrap();
        assert!(tokens.redeem(&first, client(1), NOW).is_ok());
        {
            let mut used = tokens.used.lock().unwrap();
            let ids = (1..USED_MAX as u128).map(|id| (id.to_be_bytes(), NOW + 5));
            used.extend(ids);
        }
        let next = tokens.issue(CLAIM, client(1), NOW).unwrap();
        assert_eq!(tokens.redeem(&next, client(1), NOW), Err(Refusal::Busy));
        let replayed = tokens.redeem(&first, client(1), NOW);
        assert_eq!(replayed, Err(Refusal::Replayed));
        assert_eq!(tokens.redeem(&next, client(1), NOW + 5), Ok(CLAIM));
        assert_eq!(tokens.used.lock().unwrap().len(), 2);
    }
}
