//! A response policy zone (draft-vixie-dnsop-dns-rpz-00): a zone file whose owners are triggers and whose CNAMEs
//! are actions. Records are put together here, so that each has its line, and read one by one by hickory-proto.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt;

use super::{Effect, Emit, Reach, Rule, Scope};
use crate::normalise::Refusal;

/// Longest record, over all of its lines. A record of a policy zone is far below 1,000 bytes.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Where a zone lies that names no place: relative names are all that counts.
const ORIGIN_DEFAULT: &str = "rpz.invalid.";

/// A zone under reading.
#[derive(Debug, Default)]
pub struct Zone {
    /// Where the zone lies: the owner of its SOA, or the origin of the first record.
    apex: Option<Name>,
    origin: Option<Name>,
    /// Owner of the last record, which a line that begins with white space goes on with.
    owner: Option<String>,
    /// What there is of the record so far, without comments and parentheses.
    record: String,
    /// Line on which it begins.
    first: u32,
    /// Open parentheses.
    depth: u32,
}

/// An owner's trigger, as a subject.
enum Trigger {
    Name(String, Scope),
    Net(String),
}

/// What a record is about, and what is to be done or why it is not.
type Read = (Trigger, Result<Effect, Refusal>);

impl Zone {
    /// Reads the next line.
    pub fn line(&mut self, number: u32, raw: &[u8], emit: Emit<'_>) {
        if self.record.is_empty() {
            self.first = number;
        }
        let read = match std::str::from_utf8(super::without_mark(raw)) {
            Ok(text) => self.take(text),
            Err(_) => Err(Refusal::NotUtf8),
        };
        let read = match read {
            Ok(()) if self.depth > 0 => return,
            read => read,
        };
        let record = std::mem::take(&mut self.record);
        self.depth = 0;
        let result = read.and_then(|()| self.read(&record));
        self.tell(&record, result, emit);
    }

    /// The file has no more lines: what is not finished is refused.
    pub fn finish(&mut self, emit: Emit<'_>) {
        let record = std::mem::take(&mut self.record);
        if !record.trim_ascii().is_empty() {
            emit(self.first, record.trim_ascii(), Err(Refusal::Syntax));
        }
    }

    fn tell(&self, record: &str, result: Result<Option<Read>, Refusal>, emit: Emit<'_>) {
        let text = record.trim_ascii();
        match result {
            Ok(None) => {}
            Ok(Some((trigger, action))) => {
                let (subject, scope) = match &trigger {
                    Trigger::Name(name, scope) => (name.as_str(), *scope),
                    Trigger::Net(net) => (net.as_str(), Scope::Bare),
                };
                // What is answered otherwise is open for the list, whatever stands above it.
                let effect = action.unwrap_or(Effect::Exception(Reach::Nothing));
                let rule = Rule {
                    effect,
                    ..Rule::entry(subject, scope)
                };
                emit(self.first, text, Ok(rule));
                if let Err(refusal) = action {
                    emit(self.first, text, Err(refusal));
                }
            }
            Err(refusal) => emit(self.first, text, Err(refusal)),
        }
    }

    /// Adds a line to the record, without its comment.
    fn take(&mut self, text: &str) -> Result<(), Refusal> {
        let (mut quoted, mut escaped) = (false, false);
        for letter in text.chars() {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                ';' => break,
                '(' => self.depth = self.depth.saturating_add(1),
                ')' => self.depth = self.depth.checked_sub(1).ok_or(Refusal::Syntax)?,
                _ => {}
            }
            let is_mark = !quoted && !escaped && matches!(letter, '(' | ')');
            let is_blank = letter.is_ascii_whitespace() || letter.is_control();
            self.record
                .push(if is_mark || is_blank { ' ' } else { letter });
        }
        self.record.push(' ');
        if quoted || escaped || self.record.len() > RECORD_BYTES_MAX {
            return Err(Refusal::Syntax);
        }
        Ok(())
    }

    /// What a whole record means; `None` if it is no rule.
    fn read(&mut self, record: &str) -> Result<Option<Read>, Refusal> {
        if record.trim_ascii().is_empty() {
            return Ok(None);
        }
        if record.starts_with('$') {
            return self.directive(record).map(|()| None);
        }
        let record = if record.starts_with(' ') {
            let owner = self.owner.as_deref().ok_or(Refusal::Syntax)?;
            format!("{owner} {}", record.trim_ascii())
        } else {
            record.trim_ascii().to_owned()
        };
        if record.starts_with('$') {
            return Err(Refusal::Syntax);
        }
        let (owner, data) = parse(&record, self.origin()?)?;
        self.owner = Some(owner.to_string());
        if data.record_type() == RecordType::SOA {
            self.apex = Some(owner);
            return Ok(None);
        }
        if self.apex.is_none() {
            self.apex = Some(self.origin()?);
        }
        let apex = self.apex.as_ref().ok_or(Refusal::OutsideZone)?;
        if !apex.zone_of(&owner) {
            return Err(Refusal::OutsideZone);
        }
        if owner.num_labels() == apex.num_labels() && data.record_type() == RecordType::NS {
            return Ok(None);
        }
        let trigger = trigger(&labels(&owner, apex)?)?;
        Ok(Some((trigger, action(&data))))
    }

    fn origin(&self) -> Result<Name, Refusal> {
        match &self.origin {
            Some(origin) => Ok(origin.clone()),
            None => Name::from_ascii(ORIGIN_DEFAULT).or(Err(Refusal::Syntax)),
        }
    }

    fn directive(&mut self, record: &str) -> Result<(), Refusal> {
        let mut words = record.split_ascii_whitespace();
        let word = words.next().unwrap_or_default().to_ascii_uppercase();
        match (word.as_str(), words.next()) {
            ("$ORIGIN", Some(name)) => {
                let parsed = Name::parse(name, self.origin.as_ref());
                let mut origin = parsed.or(Err(Refusal::Syntax))?;
                origin.set_fqdn(true);
                self.origin = Some(origin);
                Ok(())
            }
            ("$TTL", Some(_)) => Ok(()),
            ("$INCLUDE", _) => Err(Refusal::Include),
            _ => Err(Refusal::Syntax),
        }
    }
}

/// Owner and data of one record on one line.
fn parse(record: &str, origin: Name) -> Result<(Name, RData), Refusal> {
    // A name of its own lifetime is the only thing that a record needs of the lines before it.
    let text = format!("$TTL 1\n{record}\n");
    let parsed = txt::Parser::new(text, None, Some(origin)).parse();
    let (_, sets) = parsed.or(Err(Refusal::Syntax))?;
    let mut records = sets.into_values().flat_map(|set| {
        let records: Vec<_> = set.records_without_rrsigs().cloned().collect();
        records
    });
    let record = records.next().ok_or(Refusal::Syntax)?;
    Ok((record.name.clone(), record.data.clone()))
}

/// The labels of an owner in front of the apex, in lower case.
fn labels(owner: &Name, apex: &Name) -> Result<Vec<String>, Refusal> {
    let count = owner.iter().count().saturating_sub(apex.iter().count());
    let text = |label: &[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*');
        if label.iter().all(plain) {
            Ok(String::from_utf8_lossy(label).to_ascii_lowercase())
        } else {
            Err(Refusal::NotName)
        }
    };
    owner.iter().take(count).map(text).collect()
}

fn trigger(labels: &[String]) -> Result<Trigger, Refusal> {
    let (last, front) = labels.split_last().ok_or(Refusal::NotBlocking)?;
    match last.as_str() {
        "rpz-client-ip" => return Err(Refusal::Client),
        "rpz-nsdname" | "rpz-nsip" => return Err(Refusal::NameServers),
        "rpz-ip" => return net(front).map(Trigger::Net).ok_or(Refusal::BadPrefix),
        _ => {}
    }
    match labels.split_first() {
        Some((first, [])) if first == "*" => Err(Refusal::Blanket),
        Some((first, below)) if first == "*" => Ok(Trigger::Name(checked(below)?, Scope::Below)),
        _ => Ok(Trigger::Name(checked(labels)?, Scope::Exact)),
    }
}

fn checked(labels: &[String]) -> Result<String, Refusal> {
    let name = labels.join(".");
    super::check_name(&name)?;
    Ok(name)
}

/// `LENGTH.LAST...FIRST` of an address trigger, in the usual order.
fn net(labels: &[String]) -> Option<String> {
    let (length, parts) = labels.split_first()?;
    let length: u8 = length.parse().ok()?;
    let parts: Vec<&str> = parts.iter().rev().map(String::as_str).collect();
    let is_v6 = parts.contains(&"zz") || parts.len() == 8;
    let address: IpAddr = if is_v6 {
        let text = parts.join(":");
        let text = match text.as_str() {
            "zz" => "::".to_owned(),
            _ if text.starts_with("zz:") => text.replacen("zz", ":", 1),
            _ if text.ends_with(":zz") => text.replacen("zz", ":", 1),
            _ => text.replacen("zz", "", 1),
        };
        text.parse::<Ipv6Addr>().ok()?.into()
    } else {
        parts.join(".").parse::<Ipv4Addr>().ok()?.into()
    };
    Some(format!("{address}/{length}"))
}

fn action(data: &RData) -> Result<Effect, Refusal> {
    let RData::CNAME(target) = data else {
        return Err(Refusal::Rewrite);
    };
    let target = target.0.to_string().to_ascii_lowercase();
    match target.as_str() {
        "." | "*." | "rpz-drop." => Ok(Effect::Entry),
        "rpz-passthru." => Ok(Effect::Exception(Reach::Subject)),
        "rpz-tcp-only." => Err(Refusal::TcpOnly),
        _ => Err(Refusal::Rewrite),
    }
}
