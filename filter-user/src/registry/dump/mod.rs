//! Registers in XML: the unified registry's dump (format 2.x) with its deltas, and the register of
//! socially significant sites. A file is read record by record, and refused as a whole if it does not
//! end as it should. Of a record only its keys, its id and its place in the file are kept: what people
//! want to see is read again from there.

pub(super) mod apply;
pub(super) mod deltas;
mod fault;
mod look_up;
mod mask;
mod parse;
pub(super) mod read;
mod source;
mod text;

pub use look_up::{Shown, look_up};
pub use mask::Mask;

/// How a register in XML is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xml {
    /// Which document it is.
    pub shape: Shape,
    /// What a URL means whose path no network sees (of any scheme but http).
    pub hidden: Hidden,
}

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A whole unified registry.
    Dump,
    /// Records of it that are new, changed or gone.
    Delta,
    /// Socially significant sites.
    Social,
}

/// What a URL means whose path no network sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Nothing: it is counted and told.
    Skip,
    /// All of its host.
    Host,
}

/// What a register says of itself and of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Seconds since 1970 at which it was made.
    pub updated: Option<i64>,
    /// The record of each of its URLs whose path no network sees.
    hidden: Vec<u32>,
    /// Ids of its records, sorted; several with one id are all in force.
    ids: Vec<u32>,
    /// Their offsets in the decoded text, in the order of `ids`.
    places: Vec<u64>,
    /// Ids that a delta removes, sorted.
    deleted: Vec<u32>,
    /// Offsets in the file and in the decoded text of its blocks, in their order.
    blocks: Vec<(u64, u64)>,
    /// What it is in.
    charset: text::Charset,
}

impl Contents {
    /// Number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.ids.len()
    }

    /// The record of each of its URLs whose path no network sees.
    #[must_use]
    pub fn hidden(&self) -> &[u32] {
        &self.hidden
    }

    /// Ids of the records that it brings or removes.
    fn touched(&self) -> impl Iterator<Item = u32> {
        self.ids.iter().chain(&self.deleted).copied()
    }
}

#[cfg(test)]
mod tests;
