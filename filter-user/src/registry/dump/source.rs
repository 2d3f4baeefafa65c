//! The bytes of a register: a file, or the one in its ZIP archive. What it is, its first bytes say.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use zip::ZipArchive;

use super::fault::Fault;

/// Largest register that is read, in bytes: more than ten times that of 2024.
const BYTES_MAX: u64 = 4 << 30;
/// Bytes from an archive above which they are compared with those it takes.
const RATIO_FROM: u64 = 16 << 20;
/// Bytes out for a byte in that no register reaches (about ten), and an archive made to fill memory does.
const RATIO_MAX: u64 = 100;
/// Files in an archive: the register, its signature, and what else a sender may add.
const FILES_MAX: usize = 64;

/// Opens a register and hands its bytes over, with their number as far as it is known.
pub(super) fn with_bytes<T>(
    path: &Path,
    from: u64,
    take: impl FnOnce(&mut dyn Read, u64) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if !is_zip(&mut file)? {
        file.seek(SeekFrom::Start(from))?;
        let mut reader = Guarded::new(file, u64::MAX);
        return take(&mut reader, size);
    }
    let broken = |error: zip::result::ZipError| Fault::Zip(error.to_string());
    let mut archive = ZipArchive::new(file).map_err(broken)?;
    let at = register_in(&mut archive)?;
    let entry = archive.by_index(at).map_err(broken)?;
    let (size, packed) = (entry.size(), entry.compressed_size());
    let mut reader = Guarded::new(entry, packed);
    io::copy(&mut (&mut reader).take(from), &mut io::sink())?;
    take(&mut reader, size)
}

/// Whether a file is a ZIP archive, by its first bytes.
pub(super) fn is_zip(file: &mut File) -> io::Result<bool> {
    let mut magic = Vec::with_capacity(4);
    file.seek(SeekFrom::Start(0))?;
    file.take(4).read_to_end(&mut magic)?;
    Ok(magic == b"PK\x03\x04")
}

/// Place of the register in its archive: `dump.xml`, else the only XML file.
fn register_in(archive: &mut ZipArchive<File>) -> Result<usize, Fault> {
    if archive.len() > FILES_MAX {
        return Err(Fault::TooMuch("64 files"));
    }
    let mut found = Vec::new();
    for at in 0..archive.len() {
        let entry = archive.by_index_raw(at);
        let entry = entry.map_err(|error| Fault::Zip(error.to_string()))?;
        let name = entry
            .name()
            .map_err(|error| Fault::Zip(error.to_string()))?;
        let name = name.to_ascii_lowercase();
        if name == "dump.xml" {
            return Ok(at);
        }
        if name.ends_with(".xml") {
            found.push(at);
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Fault::Zip("it holds no dump.xml".to_owned())),
        _ => Err(Fault::Zip(
            "it holds several XML files and no dump.xml".to_owned(),
        )),
    }
}

/// A reader that ends with an error where a register cannot be that large.
struct Guarded<R> {
    inner: R,
    read: u64,
    limit: u64,
}

impl<R: Read> Guarded<R> {
    /// `packed`: bytes that the archive has for it.
    fn new(inner: R, packed: u64) -> Self {
        let by_ratio = packed.saturating_mul(RATIO_MAX).max(RATIO_FROM);
        Guarded {
            inner,
            read: 0,
            limit: by_ratio.min(BYTES_MAX),
        }
    }
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        if self.read > self.limit {
            return Err(io::Error::other(format!(
                "more than {} bytes, or more than {RATIO_MAX} for each byte of the archive",
                BYTES_MAX
            )));
        }
        Ok(count)
    }
}
