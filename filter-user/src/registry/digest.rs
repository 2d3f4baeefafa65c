//! Of which contents a registry is in force: SHA-256 (FIPS 180-4) of its files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Stamp, stamp_of};
use crate::digest::{self, Digest, hexadecimal};

/// The digest of a file, and what the file was then.
///
/// # Errors
/// It cannot be read.
fn of_file(path: &Path) -> io::Result<(Digest, Stamp)> {
    let mut file = File::open(path)?;
    let stamp = stamp_of(&file.metadata()?)?;
    Ok((digest::of_file(&mut file)?, stamp))
}

/// Calls `read` while another thread computes the digest of the file, so that a large file is not read
/// one after the other. `None`: it could not be computed.
pub(super) fn beside<T>(path: &Path, read: impl FnOnce() -> T) -> (T, Option<(Digest, Stamp)>) {
    std::thread::scope(|scope| {
        let computing = std::thread::Builder::new().spawn_scoped(scope, || of_file(path));
        let read = read();
        let digest = match computing {
            Ok(computing) => computing.join().ok().and_then(Result::ok),
            Err(_) => of_file(path).ok(),
        };
        (read, digest)
    })
}

/// The revision of a registry by its files in force: SHA-256 over their digests in the order of their paths,
/// in hexadecimal digits. Empty where a digest is not known, as of a file that was replaced while it was read.
pub(super) fn revision(files: &BTreeMap<&Path, Option<Digest>>) -> String {
    let mut hash = Sha256::new();
    for digest in files.values() {
        let Some(digest) = digest else {
            return String::new();
        };
        hash.update(digest);
    }
    hexadecimal(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::load::{KeptBefore, Loaded, load};
    use super::super::progress::Progress;
    use super::*;
    use crate::config::Config;
    use crate::testing::TempDir;

    const LIST: &str = "[[registries]]\nid = \"r\"\ntier = \"unified\"\nformat = \"domains\"\nsemantics = \"exact\"\npath = \"list\"\n";

    fn loaded(dir: &TempDir, before: &[super::super::Source]) -> Loaded {
        let config = Config::from_text(&dir.path().join("s.toml"), LIST).unwrap();
        load(&config, 5, before, &KeptBefore::new(), Progress::Quiet).unwrap()
    }

    #[test]
    fn a_digest_is_sha_256() {
        let dir = TempDir::new();
        let (digest, _) = of_file(&dir.write("list", "abc")).unwrap();
        // FIPS 180-4, example of one block.
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hexadecimal(&digest), wanted);
    }

    #[test]
    fn a_revision_is_that_of_contents_not_of_times() {
        let dir = TempDir::new();
        let path = dir.write("list", "a.example\n");
        let first = loaded(&dir, &[]);
        let revision = first.summaries[0].revision.clone();
        assert_eq!(revision.len(), 64);
        // Not read anew, and yet known.
        assert_eq!(loaded(&dir, &first.sources).summaries[0].revision, revision);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        let touched = loaded(&dir, &first.sources);
        assert_ne!(
            touched.sources[0].file.stamp.modified,
            first.sources[0].file.stamp.modified
        );
        assert_eq!(touched.summaries[0].revision, revision);
        // The same entries, other contents.
        dir.write("list", "a.example\n# more\n");
        let changed = loaded(&dir, &touched.sources).summaries[0].revision.clone();
        assert_eq!(changed.len(), 64);
        assert_ne!(changed, revision);
        dir.write("list", "a.example\n");
        assert_eq!(loaded(&dir, &[]).summaries[0].revision, revision);
    }

    #[test]
    fn a_file_without_a_digest_leaves_no_revision() {
        let (a, b) = (Path::new("a"), Path::new("b"));
        let both = revision(&BTreeMap::from([(a, Some([1; 32])), (b, Some([2; 32]))]));
        let turned = revision(&BTreeMap::from([(a, Some([2; 32])), (b, Some([1; 32]))]));
        assert_ne!(both, turned);
        assert_eq!(
            revision(&BTreeMap::from([(a, Some([1; 32])), (b, None)])),
            ""
        );
    }
}
