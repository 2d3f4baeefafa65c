//! SHA-256 (FIPS 180-4) of contents, and how digests are written.

use std::fs::File;
use std::io::{self, Read as _};

use sha2::{Digest as _, Sha256};

/// SHA-256 of some contents.
pub type Digest = [u8; 32];

const BUFFER_BYTES: usize = 256 * 1024;

/// Of what is left of a file.
///
/// # Errors
/// It cannot be read.
pub fn of_file(file: &mut File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Of bytes.
#[must_use]
pub fn of(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// In hexadecimal digits.
#[must_use]
pub fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
