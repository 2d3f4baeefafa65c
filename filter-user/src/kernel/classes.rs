//! Rows found by their content. Classes and policies are told apart by value alone: a value that is
//! in the maps keeps its row, a new one takes a row that nothing refers to.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use aya::Pod;

use super::error::KernelError;
use super::memory::Array;

/// Rows of an array by their value.
#[derive(Debug)]
pub(crate) struct RowsByValue<T> {
    rows: HashMap<T, u32>,
    free: Vec<u32>,
    new: BTreeMap<u32, T>,
    what: &'static str,
}

impl<T: Pod + Eq + Hash> RowsByValue<T> {
    /// Reads the rows that `used` marks; all others but row 0 are free.
    pub(crate) fn read(array: &Array<T>, used: &[bool], what: &'static str) -> Self {
        let mut rows = HashMap::new();
        let mut free = Vec::new();
        for row in 1..array.rows() {
            if used.get(row as usize).copied().unwrap_or(false) {
                if let Some(value) = array.get(row) {
                    rows.insert(value, row);
                }
            } else {
                free.push(row);
            }
        }
        free.reverse();
        RowsByValue {
            rows,
            free,
            new: BTreeMap::new(),
            what,
        }
    }

    /// The row that holds `value`.
    pub(crate) fn known(&self, value: &T) -> Option<u32> {
        self.rows.get(value).copied()
    }

    /// The row of `value`, an existing one or a free one.
    pub(crate) fn row(&mut self, value: T) -> Result<u32, KernelError> {
        if let Some(row) = self.rows.get(&value) {
            return Ok(*row);
        }
        let row = self
            .free
            .pop()
            .ok_or(KernelError::NeedsNewGeneration(self.what))?;
        self.rows.insert(value, row);
        self.new.insert(row, value);
        Ok(row)
    }

    /// What is to be written to a row.
    pub(crate) fn new_value(&self, row: u32) -> Option<T> {
        self.new.get(&row).copied()
    }

    /// Rows to be written before anything refers to them.
    pub(crate) fn into_new(self) -> Vec<(u32, T)> {
        self.new.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use filter_common::abi::Policy;

    use super::*;

    fn policy(block: u64) -> Policy {
        Policy {
            block,
            ..Policy::default()
        }
    }

    #[test]
    fn known_values_keep_their_rows_and_new_ones_take_free_rows() {
        let array = Array::<Policy>::heap(4);
        array.set(2, policy(5));
        array.set(3, policy(6));
        let mut rows = RowsByValue::read(&array, &[false, false, true, false], "policies");
        assert_eq!(rows.row(policy(5)).unwrap(), 2);
        assert_eq!(
            rows.row(policy(6)).unwrap(),
            1,
            "row 3 holds the value, but nothing refers to it"
        );
        assert_eq!(rows.row(policy(7)).unwrap(), 3);
        assert!(matches!(
            rows.row(policy(8)),
            Err(KernelError::NeedsNewGeneration("policies"))
        ));
        assert_eq!(rows.into_new(), [(1, policy(6)), (3, policy(7))]);
    }
}
