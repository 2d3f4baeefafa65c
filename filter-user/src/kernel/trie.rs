//! Prefix maps: an LPM trie of the kernel, or an ordered map on the heap. What the kernel's trie
//! holds is read back once and mirrored, because reading it costs two system calls an entry.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};

use super::error::KernelError;

/// A prefix: its length in bits, and the key bytes with all bits behind it zero.
pub type Prefix<K> = (u32, K);

/// Prefixes with values.
#[derive(Debug)]
pub struct Trie<K: Pod, V: Pod> {
    state: Mutex<State<K, V>>,
    capacity: u32,
}

#[derive(Debug)]
struct State<K: Pod, V: Pod> {
    kernel: Option<LpmTrie<MapData, K, V>>,
    mirror: BTreeMap<Prefix<K>, V>,
}

impl<K: Pod + Ord, V: Pod + PartialEq> Trie<K, V> {
    /// An empty one on the heap.
    #[must_use]
    pub fn heap(capacity: u32) -> Self {
        Trie {
            state: Mutex::new(State {
                kernel: None,
                mirror: BTreeMap::new(),
            }),
            capacity,
        }
    }

    /// The kernel's trie `map`, with what it holds.
    ///
    /// # Errors
    /// If it is no trie of this shape, or cannot be read.
    pub fn kernel(map: MapData) -> Result<Self, KernelError> {
        let capacity = map
            .info()
            .map_err(KernelError::bpf("reading a trie"))?
            .max_entries();
        let trie = LpmTrie::try_from(Map::LpmTrie(map))
            .map_err(KernelError::bpf("opening a prefix trie"))?;
        let mirror = read(&trie)?;
        Ok(Trie {
            state: Mutex::new(State {
                kernel: Some(trie),
                mirror,
            }),
            capacity,
        })
    }

    /// Reads the kernel's trie again, whatever was written to it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reread(&self) -> Result<(), KernelError> {
        let mut state = self.lock();
        if let Some(trie) = &state.kernel {
            state.mirror = read(trie)?;
        }
        Ok(())
    }

    /// Most prefixes it can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// All prefixes with their values.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<Prefix<K>, V> {
        self.lock().mirror.clone()
    }

    /// The value of exactly this prefix.
    #[must_use]
    pub fn exact(&self, prefix: &Prefix<K>) -> Option<V> {
        self.lock().mirror.get(prefix).copied()
    }

    /// Adds or replaces a prefix.
    ///
    /// # Errors
    /// If the kernel refuses, for one because the trie is full.
    pub fn insert(&self, prefix: Prefix<K>, value: V) -> Result<(), KernelError> {
        let mut state = self.lock();
        if let Some(trie) = &mut state.kernel {
            trie.insert(&Key::new(prefix.0, prefix.1), value, 0)
                .map_err(KernelError::bpf("adding a prefix"))?;
        }
        state.mirror.insert(prefix, value);
        Ok(())
    }

    /// Removes a prefix if it is there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&self, prefix: &Prefix<K>) -> Result<(), KernelError> {
        let mut state = self.lock();
        if state.mirror.remove(prefix).is_none() {
            return Ok(());
        }
        match &mut state.kernel {
            Some(trie) => trie
                .remove(&Key::new(prefix.0, prefix.1))
                .map_err(KernelError::bpf("removing a prefix")),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        // A panic elsewhere leaves a whole map and a whole mirror behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that the kernel's trie holds.
fn read<K: Pod + Ord, V: Pod>(
    trie: &LpmTrie<MapData, K, V>,
) -> Result<BTreeMap<Prefix<K>, V>, KernelError> {
    let mut mirror = BTreeMap::new();
    for item in trie.iter() {
        let (key, value) = item.map_err(KernelError::bpf("reading a prefix trie"))?;
        let key: Key<K> = key;
        mirror.insert((key.prefix_len(), key.data()), value);
    }
    Ok(mirror)
}
