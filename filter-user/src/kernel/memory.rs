//! Arrays of rows that are shared with the kernel (a mapped `BPF_F_MMAPABLE` array) or lie on the
//! heap (the host twin and tests). Everything is read and written in words of eight bytes, each by
//! one store, so that the kernel's program never sees half a word.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;

use super::error::KernelError;

/// Rows of `T`, a type of whole words.
#[derive(Debug)]
pub struct Array<T> {
    backing: Backing,
    rows: u32,
    row: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Backing {
    Heap(Box<[AtomicU64]>),
    Mapped(Mapping),
}

/// A shared mapping of a map's memory, removed on drop.
#[derive(Debug)]
struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
    bytes: usize,
}

// SAFETY: the mapping is plain memory of this process, reached through atomics only, and its
// address stays valid until drop, whatever thread drops it.
unsafe impl Send for Mapping {}
// SAFETY: as above; every access is an atomic one.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `bytes` are those of the `mmap` that made this mapping, and no
        // reference to it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Words that rows of `T` take.
const fn row_words<T>() -> usize {
    assert!(size_of::<T>().is_multiple_of(8), "rows are whole words");
    size_of::<T>() / 8
}

impl<T: Pod> Array<T> {
    /// `rows` zeroed rows on the heap.
    #[must_use]
    pub fn heap(rows: u32) -> Self {
        let words = rows as usize * row_words::<T>();
        let backing = Backing::Heap((0..words).map(|_| AtomicU64::new(0)).collect());
        Array {
            backing,
            rows,
            row: PhantomData,
        }
    }

    /// Maps the `rows` rows of the map `fd`, an array made with `BPF_F_MMAPABLE` whose rows are of
    /// the size of `T`.
    ///
    /// # Errors
    /// If the kernel refuses the mapping, for one because the map is smaller.
    pub fn map(fd: BorrowedFd<'_>, rows: u32) -> Result<Self, KernelError> {
        let words = rows as usize * row_words::<T>();
        let page = page_size();
        let bytes = (words * 8).next_multiple_of(page);
        // SAFETY: a new shared mapping at an address the kernel chooses; it does not touch memory
        // that exists. The kernel refuses a length beyond the map's pages.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(KernelError::last("mapping a map's memory"));
        }
        let start = NonNull::new(start.cast())
            .ok_or_else(|| KernelError::last("mapping a map's memory"))?;
        let backing = Backing::Mapped(Mapping {
            start,
            words,
            bytes,
        });
        Ok(Array {
            backing,
            rows,
            row: PhantomData,
        })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// All words, row after row.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        match &self.backing {
            Backing::Heap(words) => words,
            // SAFETY: the mapping holds at least `words` words from the page-aligned `start`, lives
            // as long as `self`, and is written by others only in ways that atomics allow.
            Backing::Mapped(map) => unsafe {
                std::slice::from_raw_parts(map.start.as_ptr(), map.words)
            },
        }
    }

    /// Writes zero to every word that holds something else.
    pub fn zero(&self) {
        let used = |word: &&AtomicU64| word.load(Ordering::Relaxed) != 0;
        for word in self.words().iter().filter(used) {
            word.store(0, Ordering::Release);
        }
    }

    /// The words of one row.
    #[must_use]
    pub fn row_words(&self, row: u32) -> Option<&[AtomicU64]> {
        let start = row as usize * row_words::<T>();
        self.words().get(start..start + row_words::<T>())
    }

    /// A copy of a row, `None` beyond the end. Words are read one by one: a row that another writes
    /// meanwhile may come out mixed.
    #[must_use]
    pub fn get(&self, row: u32) -> Option<T> {
        let words = self.row_words(row)?;
        let mut value = MaybeUninit::<T>::uninit();
        let to = value.as_mut_ptr().cast::<u64>();
        for (at, word) in words.iter().enumerate() {
            // SAFETY: `at` is below the number of words of `T`, so the write stays inside `value`;
            // it may be unaligned, since `T` need not be aligned to eight bytes.
            unsafe { to.add(at).write_unaligned(word.load(Ordering::Acquire)) };
        }
        // SAFETY: every byte was written (rows are whole words), and `T: Pod` takes any bytes.
        Some(unsafe { value.assume_init() })
    }

    /// Writes a row word by word, the first word last, so that a row whose first word says "in use"
    /// is complete when it is seen. `false` beyond the end.
    pub fn set(&self, row: u32, value: T) -> bool {
        let Some(words) = self.row_words(row) else {
            return false;
        };
        let from = (&raw const value).cast::<u64>();
        for (at, word) in words.iter().enumerate().rev() {
            // SAFETY: `at` is below the number of words of `T`, so the read stays inside `value`,
            // whose type has no padding (`Pod`); it may be unaligned.
            let bits = unsafe { from.add(at).read_unaligned() };
            if word.load(Ordering::Relaxed) != bits {
                word.store(bits, Ordering::Release);
            }
        }
        true
    }

    /// One word, counted over all rows; 0 beyond the end.
    #[must_use]
    pub fn word(&self, at: u32) -> u64 {
        self.words()
            .get(at as usize)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Writes one word by one store. `false` beyond the end.
    pub fn set_word(&self, at: u32, value: u64) -> bool {
        match self.words().get(at as usize) {
            Some(word) => {
                word.store(value, Ordering::Release);
                true
            }
            None => false,
        }
    }
}

/// Bytes of a page of memory.
fn page_size() -> usize {
    // SAFETY: `sysconf` only reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use filter_common::abi::{Control, Interface};

    use super::*;

    #[test]
    fn row_comes_back_as_written() {
        let array = Array::<Interface>::heap(3);
        let row = Interface {
            ifindex: 7,
            flags: 1,
            realm: 2,
            vlan_base: 3,
            mpls_reply: 4,
            pad: 0,
        };
        assert!(array.set(1, row));
        assert_eq!(array.get(1), Some(row));
        assert_eq!(array.get(0), Some(Interface::default()));
        assert_eq!(array.get(2), Some(Interface::default()));
    }

    #[test]
    fn beyond_the_end_is_refused() {
        let array = Array::<Control>::heap(1);
        assert!(!array.set(1, Control::default()));
        assert!(array.get(1).is_none());
        assert!(!array.set_word(8, 1));
        assert_eq!(array.word(8), 0);
    }

    #[test]
    fn two_fields_share_a_word() {
        let array = Array::<Control>::heap(1);
        let control = Control {
            ms_per_tick: 5,
            name_bloom_len: 6,
            ..Control::default()
        };
        array.set(0, control);
        assert_eq!(array.word(2), 6 << 32 | 5);
    }
}
