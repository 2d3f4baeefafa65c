//! What is kept of a list: keys instead of names, and what was refused, with its place and reason.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use filter_common::name::name_key;
use filter_common::url::{path_hash, url_key};
use ipnet::IpNet;

use super::exceptions::{About, Exception, Exceptions};
use super::formats::{Effect, Rule, Scope};
use super::{
    Counts, NetRecord, RECORD_ADDRESS, RECORD_BLOCK4, RECORD_IPV4, RECORD_SUFFIX, RECORD_URLS,
    REJECTED_SHOWN, Reading, Record,
};
use crate::desired::address_key;
use crate::normalise::{self, Refusal, Subject};
use crate::problem::Problem;

/// Takes every rejected line, where somebody wants to see all of them.
pub type Sink<'s> = &'s mut dyn FnMut(Problem);

/// Takes every entry that is kept, with its key.
pub type Heard<'s> = &'s dyn Fn(u64, &Subject<'_>);

/// Who listens while a file is read.
#[derive(Default)]
pub struct Listener<'s> {
    /// Is told every rejected line.
    pub rejected: Option<Sink<'s>>,
    /// Is told every name, address and URL that is kept.
    pub kept: Option<Heard<'s>>,
}

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// Letters of a line that are shown.
const TEXT_SHOWN: usize = 80;

/// Rejected lines: counted, the first ones kept, all of them told if wanted.
pub(super) struct Rejects<'s> {
    path: std::path::PathBuf,
    pub(super) counts: Counts,
    pub(super) first: Vec<Problem>,
    sink: Option<Sink<'s>>,
}

impl<'s> Rejects<'s> {
    pub(super) fn new(path: &Path, sink: Option<Sink<'s>>) -> Self {
        Rejects {
            path: path.to_path_buf(),
            counts: Counts::default(),
            first: Vec::new(),
            sink,
        }
    }

    /// Rejects a line for one of the normaliser's reasons.
    pub(super) fn refuse(&mut self, line: u32, text: &str, refusal: Refusal) {
        let what = format!("\"{}\": {}", shown(text), refusal.what());
        self.reject(line, refusal.what(), what, refusal.remedy());
    }

    /// Rejects a line, or what stands there, for a `reason` that is counted.
    pub(super) fn reject(&mut self, line: u32, reason: &str, what: String, remedy: &str) {
        self.counts.rejected += 1;
        *self.counts.reasons.entry(reason.to_owned()).or_default() += 1;
        let room = self.first.len() < REJECTED_SHOWN;
        if !room && self.sink.is_none() {
            return;
        }
        let problem = Problem::at(&self.path, line, what, remedy);
        if let Some(sink) = &mut self.sink {
            sink(problem.clone());
        }
        if room {
            self.first.push(problem);
        }
    }
}

/// The beginning of a text, for a message.
pub(super) fn shown(text: &str) -> String {
    text.trim_ascii().chars().take(TEXT_SHOWN).collect()
}

/// The entries of a list.
pub(super) struct Keeper<'a, 's> {
    reading: &'a Reading,
    records: Vec<Record>,
    nets: Vec<NetRecord>,
    /// Marks of hosts with URLs.
    hosts: Vec<Record>,
    /// Names below which everything is meant, where the name itself is listed too.
    below: Vec<Record>,
    exceptions: Exceptions,
    /// Entries that gave way to names that the list answers itself.
    answered: Vec<(u32, Box<str>)>,
    /// All exceptions are known: entries only are taken.
    started_over: bool,
    cancelled: u64,
    /// Flags of the entry in hand that do not follow from its subject.
    mark: u32,
    heard: Option<Heard<'s>>,
}

/// What a keeper has at the end.
pub(super) struct Kept {
    pub(super) records: Vec<Record>,
    pub(super) nets: Vec<NetRecord>,
    /// Entries.
    pub(super) kept: u64,
    /// Entries that were there already.
    pub(super) duplicate: u64,
    /// Entries that an exception took back.
    pub(super) cancelled: u64,
}

impl<'a, 's> Keeper<'a, 's> {
    pub(super) fn new(reading: &'a Reading, heard: Option<Heard<'s>>) -> Self {
        Keeper {
            reading,
            records: Vec::new(),
            nets: Vec::new(),
            hosts: Vec::new(),
            below: Vec::new(),
            exceptions: Exceptions::default(),
            answered: Vec::new(),
            started_over: false,
            cancelled: 0,
            mark: 0,
            heard,
        }
    }

    /// Whether the list has exceptions: it is read once more then, as one may stand behind what it takes back.
    pub(super) fn has_exceptions(&self) -> bool {
        !self.exceptions.is_empty()
    }

    /// Forgets all entries, and keeps the exceptions.
    pub(super) fn start_over(&mut self) {
        self.records.clear();
        self.nets.clear();
        self.hosts.clear();
        self.below.clear();
        self.answered.clear();
        self.exceptions.forget_entries();
        self.cancelled = 0;
        self.started_over = true;
    }

    /// Takes a rule.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn rule(&mut self, line: u32, rule: &Rule<'_>) -> Result<(), Refusal> {
        let Reading { accept, guards, .. } = *self.reading;
        let subject = normalise::subject(rule.subject, accept, guards)?;
        let scope = self.scope(&subject, rule.scope)?;
        match rule.effect {
            Effect::Entry => self.entry(line, &subject, scope, rule),
            Effect::Exception(_) if self.started_over => Ok(()),
            Effect::Exception(reach) => {
                let about = match &subject {
                    Subject::Name { name, .. } => About::Name(name.as_ref().into()),
                    Subject::Address(address) => About::Net(IpNet::from(*address)),
                    Subject::Net(net) => About::Net(*net),
                    Subject::Url { .. } => return Err(Refusal::Url),
                };
                let exception = Exception {
                    line,
                    about,
                    scope,
                    reach,
                    important: rule.important,
                };
                self.exceptions.add(self.reading.seed, exception);
                Ok(())
            }
        }
    }

    /// What a rule means for its subject.
    fn scope(&self, subject: &Subject<'_>, scope: Scope) -> Result<Scope, Refusal> {
        let Subject::Name { suffix, .. } = subject else {
            return match scope {
                Scope::Below => Err(Refusal::Wildcard),
                _ => Ok(Scope::Exact),
            };
        };
        match (scope, suffix) {
            (Scope::Bare, true) | (Scope::Suffix, _) => Ok(Scope::Suffix),
            (Scope::Bare, false) if self.reading.bare_is_suffix => Ok(Scope::Suffix),
            (Scope::Bare, false) => Ok(Scope::Exact),
            (Scope::Exact | Scope::Below, true) => Err(Refusal::Wildcard),
            (scope, false) => Ok(scope),
        }
    }

    /// Takes an entry that is no rule of a text.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn take(
        &mut self,
        line: u32,
        subject: &Subject<'_>,
        scope: Scope,
    ) -> Result<(), Refusal> {
        self.entry(line, subject, scope, &Rule::entry("", scope))
    }

    /// Takes an entry of a register. `mark`: flags that do not follow from its subject.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn take_as(
        &mut self,
        line: u32,
        subject: &Subject<'_>,
        mark: u32,
    ) -> Result<(), Refusal> {
        let scope = self.scope(subject, Scope::Bare)?;
        self.mark = mark;
        let taken = self.take(line, subject, scope);
        self.mark = 0;
        taken
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// Why it is refused.
    fn entry(
        &mut self,
        line: u32,
        subject: &Subject<'_>,
        scope: Scope,
        rule: &Rule<'_>,
    ) -> Result<(), Refusal> {
        let (seed, important) = (self.reading.seed, rule.important);
        let (key, flags) = match subject {
            Subject::Net(net) => {
                if self.exceptions.cancel_net(*net, important) {
                    self.cancelled += 1;
                } else {
                    self.nets.push(NetRecord { net: *net, line });
                }
                return Ok(());
            }
            Subject::Address(address) => {
                if self.exceptions.cancel_net(IpNet::from(*address), important) {
                    self.cancelled += 1;
                    return Ok(());
                }
                (address_key(seed, *address), address_flags(*address))
            }
            Subject::Url { host, path, below } => self.url(line, host, path, *below)?,
            Subject::Name { name, .. } => {
                let wide = scope != Scope::Exact;
                if wide && self.reading.guards.breadth && normalise::is_public_suffix(name) {
                    return Err(Refusal::PublicSuffix);
                }
                let key = name_key(seed, name.as_bytes()).ok_or(Refusal::NotName)?;
                if rule.yields && self.exceptions.answers(key) {
                    self.answered.push((line, name.as_ref().into()));
                    return Ok(());
                }
                if !self.exceptions.is_empty()
                    && self.exceptions.cancel_name(seed, name, scope, important)
                {
                    self.cancelled += 1;
                    return Ok(());
                }
                self.tell(key, subject);
                if scope == Scope::Below {
                    let flags = RECORD_SUFFIX;
                    self.below.push(Record { key, flags, line });
                    return Ok(());
                }
                (key, if wide { RECORD_SUFFIX } else { 0 })
            }
        };
        if !matches!(subject, Subject::Name { .. }) {
            self.tell(key, subject);
        }
        let flags = flags | self.mark;
        self.records.push(Record { key, flags, line });
        Ok(())
    }

    fn tell(&self, key: u64, subject: &Subject<'_>) {
        if let Some(heard) = self.heard {
            heard(key, subject);
        }
    }

    fn url(
        &mut self,
        line: u32,
        host: &str,
        path: &str,
        below: bool,
    ) -> Result<(u64, u32), Refusal> {
        let seed = self.reading.seed;
        let host = name_key(seed, host.as_bytes()).ok_or(Refusal::NotUrl)?;
        self.hosts.push(Record {
            key: host,
            flags: RECORD_URLS,
            line,
        });
        let below = below || self.reading.bare_is_suffix;
        let path = if below {
            path.trim_end_matches('/')
        } else {
            path
        };
        let key = url_key(host, path_hash(seed, path.as_bytes()));
        Ok((key, if below { RECORD_SUFFIX } else { 0 }))
    }

    /// Sorts, drops what is there twice, and refuses what only the whole list shows to be wrong.
    pub(super) fn finish(mut self, rejects: &mut Rejects<'_>) -> Kept {
        // Of two records of a register that list the same, a delta may take one away.
        let by_line = self.reading.syntax.xml().is_some();
        let line = |line: u32| if by_line { line } else { 0 };
        self.records.sort_unstable();
        self.pair(rejects);
        let before = self.records.len() + self.nets.len();
        self.records
            .dedup_by_key(|record| (record.key, record.flags, line(record.line)));
        self.nets.sort_unstable();
        self.nets
            .dedup_by_key(|record| (record.net, line(record.line)));
        let kept = self.records.len() + self.nets.len();
        for (line, name) in &self.answered {
            rejects.refuse(*line, name, Refusal::Served);
        }
        for exception in self
            .exceptions
            .covered(self.reading.seed, &self.records, &self.nets)
        {
            let text = match &exception.about {
                About::Name(name) => name.to_string(),
                About::Net(net) => net.to_string(),
            };
            rejects.refuse(exception.line, &text, Refusal::ExceptionBelow);
        }
        if !self.hosts.is_empty() {
            self.hosts.sort_unstable();
            self.hosts
                .dedup_by_key(|record| (record.key, line(record.line)));
            self.records.append(&mut self.hosts);
            self.records.sort_unstable();
        }
        self.records.shrink_to_fit();
        Kept {
            records: self.records,
            nets: self.nets,
            kept: kept as u64,
            duplicate: (before - kept) as u64,
            cancelled: self.cancelled,
        }
    }

    /// Makes suffixes of what is meant below names that are listed themselves, and refuses the rest.
    fn pair(&mut self, rejects: &mut Rejects<'_>) {
        let below = std::mem::take(&mut self.below);
        let mut suffixes = Vec::new();
        for record in below {
            let at = self.records.partition_point(|other| other.key < record.key);
            let listed = self.records.get(at);
            if listed
                .is_some_and(|other| other.key == record.key && other.flags & RECORD_ADDRESS == 0)
            {
                suffixes.push(record);
            } else {
                let refusal = Refusal::BelowOnly;
                let what = refusal.what();
                rejects.reject(record.line, what, what.to_owned(), refusal.remedy());
            }
        }
        self.records.append(&mut suffixes);
        self.records.sort_unstable();
    }
}

/// `RECORD_*` bits of an address.
pub(super) fn address_flags(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => RECORD_ADDRESS | RECORD_IPV4 | u32::from(v4) & RECORD_BLOCK4,
        IpAddr::V6(_) => RECORD_ADDRESS,
    }
}
