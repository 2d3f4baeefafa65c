//! What lies in rows of `HELLOS`: copied in whole words, reached through masks.

use filter_common::abi::{Hello, PATHS, Request};
use filter_common::url::Paths;

use crate::pointer::bound;

/// Words of the states.
pub(crate) const HELLO_WORDS: usize = size_of::<Hello>() / 8;
pub(crate) const REQUEST_WORDS: usize = size_of::<Request>() / 8;

/// Copies the parser's state word by word: LLVM makes a call of it otherwise, which the verifier refuses.
#[inline(always)]
pub(crate) fn copy_hello(from: *const Hello, to: *mut Hello) {
    // SAFETY: both are whole `Hello`s in map values, of `HELLO_WORDS` aligned words of integers.
    unsafe {
        for word in 0..HELLO_WORDS {
            to.cast::<u64>()
                .add(word)
                .write_volatile(from.cast::<u64>().add(word).read_volatile());
        }
    }
}

/// Copies the reader's state as [`copy_hello`] does.
#[inline(always)]
pub(crate) fn copy_request(from: *const Request, to: *mut Request) {
    // SAFETY: both are whole `Request`s in map values, of `REQUEST_WORDS` aligned words of integers.
    unsafe {
        for word in 0..REQUEST_WORDS {
            to.cast::<u64>()
                .add(word)
                .write_volatile(from.cast::<u64>().add(word).read_volatile());
        }
    }
}

/// The hashes of a row of `HELLOS`: [`PATHS`] words.
pub(crate) struct RowPaths(pub(crate) *mut u64);

impl Paths for RowPaths {
    #[inline(always)]
    fn hash(&self, at: usize) -> u64 {
        // SAFETY: the mask keeps within the words of the row.
        unsafe { *self.0.add(bound::<{ PATHS as u32 - 1 }>(at as u32)) }
    }
    #[inline(always)]
    fn put(&mut self, at: usize, hash: u64) {
        // SAFETY: as in `hash`.
        unsafe { *self.0.add(bound::<{ PATHS as u32 - 1 }>(at as u32)) = hash }
    }
}
