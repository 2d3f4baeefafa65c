//! Paths of URLs: one normal form and one running hash, byte by byte, alike for the requests that the
//! kernel reads and the entries that the compiler loads.
//!
//! Percent-encoded bytes count as the bytes they stand for, several slashes as one, and `.` and `..`
//! are resolved (RFC 3986 section 6.2.2). The hash of the path in front of each of its slashes, and in
//! front of its query, is kept: an entry for everything below a path is found by one of them.

use crate::abi::{PATHS, Request};
use crate::name::url_path_start;
use crate::table::{finish, fold};

/// `Request::part`: nothing since the last slash.
pub const PART_EMPTY: u8 = 0;
/// `.` since the last slash.
const PART_DOT: u8 = 1;
/// `..` since the last slash.
const PART_DOTS: u8 = 2;
/// Anything else.
const PART_OTHER: u8 = 3;
/// The query: taken as it is.
const PART_QUERY: u8 = 4;

/// Parts of a path whose hashes are kept; the two places behind them are those of the whole path and of
/// the path with its query.
pub const PARTS_MAX: u8 = PATHS as u8 - 2;
/// Place of the hash of the path without its query.
pub const PATH_AT: usize = PATHS - 2;
/// Place of the hash of path and query.
pub const FULL_AT: usize = PATHS - 1;

/// Places for the hashes of a path's beginnings.
pub trait Paths {
    /// The hash at a place below [`PATHS`].
    fn hash(&self, at: usize) -> u64;
    /// Puts it there.
    fn put(&mut self, at: usize, hash: u64);
}

impl Paths for [u64; PATHS] {
    fn hash(&self, at: usize) -> u64 {
        self.get(at).copied().unwrap_or(0)
    }
    fn put(&mut self, at: usize, hash: u64) {
        if let Some(place) = self.get_mut(at) {
            *place = hash;
        }
    }
}

/// Key of the URL of a host with a path, by the host's key.
#[inline(always)]
#[must_use]
pub fn url_key(host: u64, path: u64) -> u64 {
    finish(host, path)
}

/// A path's state in front of its first byte.
#[inline(always)]
pub fn start(request: &mut Request, seed: u64) {
    request.path = url_path_start(seed);
    request.parts = 0;
    request.part = PART_OTHER;
    request.percent = 0;
}

#[inline(always)]
fn hex(byte: u32) -> u32 {
    let digit = byte.wrapping_sub(b'0' as u32);
    let letter = (byte | 0x20).wrapping_sub(b'a' as u32);
    if digit < 10 {
        digit
    } else if letter < 6 {
        letter + 10
    } else {
        16
    }
}

/// Takes one byte of the path or query as it was sent.
#[inline(always)]
pub fn push(request: &mut Request, paths: &mut impl Paths, byte: u32) {
    let mut byte = byte;
    let mut literal = false;
    if request.percent == 2 {
        request.percent = 0;
        let low = hex(byte);
        if low < 16 {
            byte = hex(request.digit as u32) << 4 | low;
            literal = true;
        } else {
            // No encoding: both bytes as they are, in one step of the hash.
            add(request, (b'%' as u32) << 8 | request.digit as u32);
        }
    } else if request.percent == 1 {
        if hex(byte) < 16 {
            request.digit = byte as u8;
            request.percent = 2;
            return;
        }
        request.percent = 0;
        add(request, b'%' as u32);
    }
    if !literal && byte == b'%' as u32 {
        request.percent = 1;
        return;
    }
    if request.part == PART_QUERY {
        request.path = fold(request.path, byte as u64);
    } else if byte == b'/' as u32 {
        slash(request, paths);
    } else if byte == b'?' as u32 && !literal {
        close(request, paths);
        paths.put(PATH_AT, request.path);
        request.part = PART_QUERY;
        request.path = fold(request.path, byte as u64);
    } else {
        add(request, byte);
    }
}

/// Ends the path: its whole hashes stand in `paths` then.
#[inline(always)]
pub fn end(request: &mut Request, paths: &mut impl Paths) {
    if request.percent != 0 {
        request.percent = 0;
        add(request, b'%' as u32);
    }
    if request.part != PART_QUERY {
        close(request, paths);
        paths.put(PATH_AT, request.path);
    }
    paths.put(FULL_AT, request.path);
}

#[inline(always)]
fn add(request: &mut Request, byte: u32) {
    if request.part != PART_QUERY {
        request.part = if byte != b'.' as u32 {
            PART_OTHER
        } else if request.part == PART_EMPTY {
            PART_DOT
        } else if request.part == PART_DOT {
            PART_DOTS
        } else {
            PART_OTHER
        };
    }
    request.path = fold(request.path, byte as u64);
}

/// Resolves the part that ends here; true: it was one of its own, and the slash in front of it stays.
#[inline(always)]
fn close(request: &mut Request, paths: &impl Paths) -> bool {
    let dots = match request.part {
        PART_DOT => 1,
        PART_DOTS => 2,
        _ => return request.part == PART_OTHER,
    };
    // Deeper than is kept: as it stands.
    if request.parts > PARTS_MAX {
        return true;
    }
    let keep = if request.parts > dots {
        request.parts + 1 - dots
    } else {
        1
    };
    request.parts = keep;
    let before = paths.hash(keep.wrapping_sub(1) as usize);
    request.path = fold(before, b'/' as u64);
    request.part = PART_EMPTY;
    false
}

#[inline(always)]
fn slash(request: &mut Request, paths: &mut impl Paths) {
    if close(request, paths) {
        if request.parts < PARTS_MAX {
            paths.put(request.parts as usize, request.path);
        }
        if request.parts <= PARTS_MAX {
            request.parts += 1;
        }
        request.path = fold(request.path, b'/' as u64);
    }
    request.part = PART_EMPTY;
}

/// Hash of a whole path with its query, as an entry has it.
#[must_use]
pub fn path_hash(seed: u64, path: &[u8]) -> u64 {
    hashes(seed, path).1.hash(FULL_AT)
}

/// The number of a path's parts that are kept, and all its hashes.
#[must_use]
pub fn hashes(seed: u64, path: &[u8]) -> (usize, [u64; PATHS]) {
    let mut request = Request::default();
    let mut paths = [0; PATHS];
    start(&mut request, seed);
    for byte in path {
        push(&mut request, &mut paths, *byte as u32);
    }
    end(&mut request, &mut paths);
    (request.parts.min(PARTS_MAX) as usize, paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        path_hash(7, left.as_bytes()) == path_hash(7, right.as_bytes())
    }

    #[test]
    fn spellings_of_one_path_are_one() {
        for spelling in [
            "/a/b/c",
            "//a///b/c",
            "/%61/b/%63",
            "/a/./b/c",
            "/a/x/../b/c",
            "/../a/b/c",
            "/a/b/x/y/../../c",
            "/%2e%2E/a%2fb/c",
            "/./a/b/d/../c",
        ] {
            assert!(same(spelling, "/a/b/c"), "{spelling}");
        }
        assert!(same("/a/b/..", "/a/"));
        assert!(same("/a/.", "/a/"));
        assert!(same("/..", "/"));
        assert!(same("/a/..?x", "/?x"));
    }

    #[test]
    fn different_paths_differ() {
        let paths = [
            "/",
            "/a",
            "/A",
            "/a/",
            "/a/b",
            "/a?",
            "/a?b",
            "/a?b=%41%",
            "/a?b//c",
            "/a?b/c",
            "/a/...",
            "/a%",
            "/a%zz",
            "/a%2",
            "/.a",
            "/a/b?c",
            "/ab?c",
        ];
        for (at, left) in paths.iter().enumerate() {
            for right in paths.iter().skip(at + 1) {
                assert!(!same(left, right), "{left} {right}");
            }
        }
    }

    #[test]
    fn beginnings_are_kept() {
        let (parts, paths) = hashes(7, b"/a//b/./c?d/e");
        assert_eq!(parts, 3);
        assert_eq!(paths[0], path_hash(7, b""));
        assert_eq!(paths[1], path_hash(7, b"/a"));
        assert_eq!(paths[2], path_hash(7, b"/a/b"));
        assert_eq!(paths[PATH_AT], path_hash(7, b"/a/b/c"));
        assert_eq!(paths[FULL_AT], path_hash(7, b"/a/b/c?d/e"));
    }

    #[test]
    fn a_path_deeper_than_is_kept_keeps_its_own_hash() {
        let deep = "/x".repeat(40);
        assert!(!same(&deep, &"/x".repeat(39)));
        assert_eq!(hashes(7, deep.as_bytes()).0, PARTS_MAX as usize);
    }
}
