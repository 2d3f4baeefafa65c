//! Registries: files in, sorted records with their lines and a summary out. Names are not kept: a
//! record is a key, and the name is read again from its line when someone wants to see it.

mod again;
mod collections;
pub mod digest;
pub mod dump;
pub mod education;
mod exceptions;
pub mod formats;
mod guard;
mod keep;
pub mod lines;
pub mod load;
pub mod problems;
pub mod progress;
mod read;
mod social;
mod spec;
mod trusted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::Tier;
use crate::digest::Digest;
use crate::normalise::{Accept, Guards};
use crate::problem::Problem;
use crate::signature::Signature;

pub use again::{Wanted, decision, shown};
pub use dump::{Contents, Mask, Xml};
pub use formats::Syntax;
pub use keep::{Heard, Listener, Sink};
pub use read::{read_file, read_telling};
pub use spec::specs;

/// `Record::flags`: the entry covers everything below the name too.
pub const RECORD_SUFFIX: u32 = 1 << 0;
/// `Record::flags`: the entry is an address, not a name.
pub const RECORD_ADDRESS: u32 = 1 << 1;
/// `Record::flags`: no entry, but a mark of a host that has entries for URLs.
pub const RECORD_URLS: u32 = 1 << 2;
/// `Record::flags`: the entry is an IPv4 address; the upper 20 bits are those of the address.
pub const RECORD_IPV4: u32 = 1 << 3;
/// `Record::flags`: a URL whose path no network sees, applied as its host.
pub const RECORD_BY_HOST: u32 = 1 << 4;
/// `Record::flags`: the /20 of an IPv4 address.
pub const RECORD_BLOCK4: u32 = 0xffff_f000;

/// One entry of one file: a name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Key by `filter_common::name`.
    pub key: u64,
    /// `RECORD_*` bits.
    pub flags: u32,
    /// Line, counted from 1; in a register in XML the id of the record.
    pub line: u32,
}

/// One entry of one file: a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetRecord {
    /// The prefix, host bits zero.
    pub net: IpNet,
    /// Line, counted from 1; in a register in XML the id of the record.
    pub line: u32,
}

/// An entry that is part of another file, with its line there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Line, counted from 1.
    pub line: u32,
    /// A name, an address or a prefix.
    pub text: String,
}

/// How a file is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The file.
    pub path: PathBuf,
    /// How its lines are written.
    pub syntax: Syntax,
    /// What it may hold.
    pub accept: Accept,
    /// Whether a bare name means everything below it too.
    pub bare_is_suffix: bool,
    /// What is refused.
    pub guards: Guards,
    /// Seed of the keys.
    pub seed: u64,
    /// Its entries, where the file holds other things too and is not read by lines.
    pub given: Option<Arc<Vec<Given>>>,
    /// What its signature is checked with before it is read anew.
    pub signature: Option<Arc<Signature>>,
}

/// A file of a registry: how to read it, and what its entries mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Index into `Config::registries`.
    pub registry: usize,
    /// Id of the registry, with the directory for UT1.
    pub name: String,
    /// Authority of the registry.
    pub tier: Tier,
    /// Categories of its entries.
    pub categories: u64,
    /// How to read it.
    pub reading: Reading,
}

/// By what a file that was not touched is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Number in its file system.
    pub inode: u64,
    /// Last change.
    pub modified: SystemTime,
}

/// What a file held.
#[derive(Clone, Debug)]
pub struct FileRecords {
    /// How it was read.
    pub reading: Reading,
    /// What it was then.
    pub stamp: Stamp,
    /// Names and addresses, sorted, without repetition.
    pub records: Vec<Record>,
    /// Prefixes, sorted, without repetition.
    pub nets: Vec<NetRecord>,
    /// The counts.
    pub counts: Counts,
    /// The first rejected lines.
    pub rejected: Vec<Problem>,
    /// The records of a register in XML.
    pub contents: Option<Contents>,
    /// SHA-256 of its contents; `None`: not known, as the file was replaced while it was read.
    pub digest: Option<Digest>,
}

impl FileRecords {
    /// What a file held, without a rejected line.
    fn new(
        reading: &Reading,
        stamp: Stamp,
        records: Vec<Record>,
        nets: Vec<NetRecord>,
        counts: Counts,
    ) -> Self {
        FileRecords {
            reading: reading.clone(),
            stamp,
            records,
            nets,
            counts,
            rejected: Vec::new(),
            contents: None,
            digest: None,
        }
    }
}

/// Rejected lines that are kept with their reason.
pub const REJECTED_SHOWN: usize = 10;

/// Lines of a file or registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines read that were no comment.
    pub read: u64,
    /// Entries kept.
    pub kept: u64,
    /// Entries that were there already.
    pub duplicate: u64,
    /// Entries that an exception of the same list took back.
    #[serde(default)]
    pub cancelled: u64,
    /// Lines refused.
    pub rejected: u64,
    /// Refused lines by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Milliseconds that reading took.
    pub milliseconds: u64,
}

impl Counts {
    /// Sums up.
    pub fn add(&mut self, other: &Counts) {
        self.read += other.read;
        self.kept += other.kept;
        self.duplicate += other.duplicate;
        self.cancelled += other.cancelled;
        self.rejected += other.rejected;
        self.milliseconds += other.milliseconds;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }

    fn took(&mut self, time: Duration) {
        self.milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    }

    /// Rejected lines in percent, rounded up.
    #[must_use]
    pub fn rejected_percent(&self) -> u64 {
        let lines = self.kept + self.duplicate + self.cancelled + self.rejected;
        (self.rejected * 100).div_ceil(lines.max(1))
    }
}

/// A file of a registry that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is.
    pub spec: Spec,
    /// What it held; shared with the state before, if it was not touched.
    pub file: Arc<FileRecords>,
    /// Its records that a later file replaces or removes.
    pub mask: Option<Arc<Mask>>,
}

impl Source {
    /// Whether the entry on a line is in force: no later file replaces or removes it.
    fn in_force(&self, line: u32) -> bool {
        self.mask.as_ref().is_none_or(|mask| !mask.holds(line))
    }

    /// The names and addresses in force, sorted.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let records = self.file.records.iter();
        records.filter(|record| self.in_force(record.line))
    }

    /// The prefixes in force, sorted.
    pub fn nets(&self) -> impl Iterator<Item = &NetRecord> {
        let nets = self.file.nets.iter();
        nets.filter(|record| self.in_force(record.line))
    }

    /// Number of its URLs in force whose path no network sees.
    #[must_use]
    pub fn hidden_urls(&self) -> usize {
        let contents = self.file.contents.as_ref();
        let urls = contents.map_or(&[][..], Contents::hidden).iter();
        urls.filter(|record| self.in_force(**record)).count()
    }

    /// The records in force with this key.
    #[must_use]
    pub fn with_key(&self, key: u64) -> Vec<Record> {
        let records = &self.file.records;
        let from = records.partition_point(|record| record.key < key);
        let to = records.partition_point(|record| record.key <= key);
        let found = records.get(from..to).unwrap_or(&[]).iter();
        let found = found.filter(|record| self.in_force(record.line));
        found.copied().collect()
    }

    /// The records in force of a prefix.
    pub fn with_net(&self, net: IpNet) -> impl Iterator<Item = &NetRecord> {
        let nets = &self.file.nets;
        let from = nets.partition_point(|record| record.net < net);
        let to = nets.partition_point(|record| record.net <= net);
        let found = nets.get(from..to).unwrap_or(&[]).iter();
        found.filter(|record| self.in_force(record.line))
    }
}

/// The state of a file now.
///
/// # Errors
/// The file cannot be looked at.
pub fn stamp(path: &Path) -> std::io::Result<Stamp> {
    stamp_of(&std::fs::metadata(path)?)
}

fn stamp_of(metadata: &std::fs::Metadata) -> std::io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(Stamp {
        size: metadata.len(),
        inode: metadata.ino(),
        modified: metadata.modified()?,
    })
}

#[cfg(test)]
mod signature_tests;
#[cfg(test)]
mod tests;
