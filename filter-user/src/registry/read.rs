//! One file: lines in, records and counts out.

use std::fs::File;
use std::io::BufReader;
use std::net::IpAddr;
use std::time::Instant;

use filter_common::name::name_key;
use filter_common::url::{path_hash, url_key};

use super::progress::Progress;
use super::{
    Counts, FileRecords, NetRecord, RECORD_ADDRESS, RECORD_BLOCK4, RECORD_IPV4, RECORD_SUFFIX,
    RECORD_URLS, REJECTED_SHOWN, Reading, Record, lines, stamp,
};
use crate::desired::address_key;
use crate::normalise::{self, Refusal, Subject};
use crate::problem::Problem;

const BUFFER_BYTES: usize = 256 * 1024;

/// Reads a file of names, addresses and prefixes.
///
/// # Errors
/// The file cannot be read. Lines that cannot be read are no error: they are counted.
pub fn read_file(reading: &Reading, progress: Progress) -> Result<FileRecords, Problem> {
    let path = &reading.path;
    let failed = |error: std::io::Error| {
        Problem::of_file(
            path,
            format!("cannot be read: {error}"),
            "correct the path or the file's permissions",
        )
    };
    let started = Instant::now();
    let stamp = stamp(path).map_err(failed)?;
    let mut reader = Reader::new(reading);
    if let Some(given) = &reading.given {
        for entry in given.iter() {
            reader.line(entry.line, entry.text.as_bytes());
        }
        return Ok(reader.finish(stamp));
    }
    let file = File::open(path).map_err(failed)?;
    let bar = progress.start(path, stamp.size);
    lines::for_each(
        BufReader::with_capacity(BUFFER_BYTES, file),
        |number, line, consumed| {
            if number % 16_384 == 0 {
                bar.at(consumed);
            }
            reader.line(number, line);
        },
    )
    .map_err(failed)?;
    bar.done();
    let mut records = reader.finish(stamp);
    records.counts.took(started.elapsed());
    Ok(records)
}

struct Reader<'a> {
    reading: &'a Reading,
    records: Vec<Record>,
    nets: Vec<NetRecord>,
    /// Marks of hosts with URLs.
    hosts: Vec<Record>,
    counts: Counts,
    rejected: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(reading: &'a Reading) -> Self {
        Reader {
            reading,
            records: Vec::new(),
            nets: Vec::new(),
            hosts: Vec::new(),
            counts: Counts::default(),
            rejected: Vec::new(),
        }
    }

    fn line(&mut self, line: u32, raw: &[u8]) {
        match normalise::line(raw, self.reading.accept, self.reading.guards) {
            Ok(None) => {}
            Ok(Some(subject)) => {
                self.counts.read += 1;
                if let Err(refusal) = self.keep(line, &subject) {
                    self.refuse(line, raw, refusal);
                }
            }
            Err(refusal) => {
                self.counts.read += 1;
                self.refuse(line, raw, refusal);
            }
        }
    }

    fn keep(&mut self, line: u32, subject: &Subject<'_>) -> Result<(), Refusal> {
        let seed = self.reading.seed;
        let (key, flags) = match subject {
            Subject::Net(net) => {
                self.nets.push(NetRecord { net: *net, line });
                return Ok(());
            }
            Subject::Address(address) => (address_key(seed, *address), address_flags(*address)),
            Subject::Url { host, path, below } => {
                let host = name_key(seed, host.as_bytes()).ok_or(Refusal::NotUrl)?;
                self.hosts.push(Record {
                    key: host,
                    flags: RECORD_URLS,
                    line,
                });
                let below = *below || self.reading.bare_is_suffix;
                let path = if below {
                    path.trim_end_matches('/')
                } else {
                    path
                };
                let key = url_key(host, path_hash(seed, path.as_bytes()));
                (key, if below { RECORD_SUFFIX } else { 0 })
            }
            Subject::Name { name, suffix } => {
                let suffix = *suffix || self.reading.bare_is_suffix;
                if suffix && self.reading.guards.breadth && normalise::is_public_suffix(name) {
                    return Err(Refusal::PublicSuffix);
                }
                let key = name_key(seed, name.as_bytes()).ok_or(Refusal::NotName)?;
                (key, if suffix { RECORD_SUFFIX } else { 0 })
            }
        };
        self.records.push(Record { key, flags, line });
        Ok(())
    }

    fn refuse(&mut self, line: u32, raw: &[u8], refusal: Refusal) {
        self.counts.refuse(refusal);
        if self.rejected.len() < REJECTED_SHOWN {
            let text: String = String::from_utf8_lossy(raw.trim_ascii())
                .chars()
                .take(80)
                .collect();
            let what = format!("\"{text}\": {}", refusal.what());
            self.rejected.push(Problem::at(
                &self.reading.path,
                line,
                what,
                refusal.remedy(),
            ));
        }
    }

    fn finish(mut self, stamp: super::Stamp) -> FileRecords {
        self.records.sort_unstable();
        let before = self.records.len() + self.nets.len();
        self.records
            .dedup_by_key(|record| (record.key, record.flags));
        self.nets.sort_unstable();
        self.nets.dedup_by_key(|record| record.net);
        let kept = self.records.len() + self.nets.len();
        self.counts.kept = kept as u64;
        self.counts.duplicate = (before - kept) as u64;
        if !self.hosts.is_empty() {
            self.hosts.sort_unstable();
            self.hosts.dedup_by_key(|record| record.key);
            self.records.append(&mut self.hosts);
            self.records.sort_unstable();
        }
        self.records.shrink_to_fit();
        FileRecords {
            reading: self.reading.clone(),
            stamp,
            records: self.records,
            nets: self.nets,
            counts: self.counts,
            rejected: self.rejected,
        }
    }
}

/// `RECORD_*` bits of an address.
fn address_flags(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => RECORD_ADDRESS | RECORD_IPV4 | u32::from(v4) & RECORD_BLOCK4,
        IpAddr::V6(_) => RECORD_ADDRESS,
    }
}
