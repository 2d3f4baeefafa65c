//! Synthetic unified registries in the shape of the published one of 2024: the shares of block types,
//! the order of attributes, white space, `ts` on every record, `https` URLs, IPv6, and now and then a
//! record with hundreds of URLs. Names are invented, and addresses are drawn around those for
//! documentation, as private ones are refused in a registry.

use std::fmt::Write as _;
use std::io::{self, Write};

use encoding_rs::WINDOWS_1251;

use crate::evasion::Random;

/// A registry to be written: the same numbers give the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Records; their ids go up from [`FIRST_ID`].
    pub records: u32,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

/// Id of the first record.
pub const FIRST_ID: u32 = 7_000_000;
/// When registries are made; deltas follow by minutes.
const MADE: &str = "2026-01-15T12:00:00+03:00";
/// Records of a thousand: without blockType, `domain`, `domain-mask`; the rest `ip`.
const SHARES: [usize; 3] = [228, 426, 340];
/// Once in so many records with URLs there are [`URLS_MANY`] of them.
const URLS_MANY_ONCE: usize = 4_000;
const URLS_MANY: usize = 530;

/// What one delta does.
#[derive(Clone, Copy, Debug)]
pub struct Delta {
    /// Minutes behind the registry, and behind the delta before; below 60.
    pub minute: u32,
    /// Records added, replaced and removed: a third each.
    pub records: u32,
}

impl Register {
    /// Writes the registry in windows-1251.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(self, mut out: impl Write) -> io::Result<()> {
        out.write_all(root(MADE).as_bytes())?;
        let mut text = String::new();
        for at in 0..self.records {
            text.clear();
            record(&mut text, FIRST_ID + at, self.of(at, 0));
            put(&mut out, &text)?;
        }
        out.write_all(b"</reg:register>\n")?;
        out.flush()
    }

    /// Writes a delta on top of it.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_delta(self, delta: Delta, mut out: impl Write) -> io::Result<()> {
        let minute = delta.minute;
        let made = format!("2026-01-15T12:{minute:02}:00+03:00");
        out.write_all(root(&made).as_bytes())?;
        let third = delta.records / 3;
        let mut random = self.of(0, minute);
        let mut text = String::new();
        for at in 0..delta.records {
            text.clear();
            let old = below(&mut random, self.records.max(1));
            let fresh = self.records + minute * delta.records + at;
            if at < third {
                let _ = writeln!(text, "<delete id=\"{}\"/>", FIRST_ID + old);
            } else if at < 2 * third {
                record(&mut text, FIRST_ID + old, self.of(old, minute));
            } else {
                record(&mut text, FIRST_ID + fresh, self.of(fresh, minute));
            }
            put(&mut out, &text)?;
        }
        out.write_all(b"</reg:register>\n")?;
        out.flush()
    }

    fn of(self, at: u32, version: u32) -> Random {
        let mut random =
            Random::new(self.seed ^ u64::from(at) << 20 ^ u64::from(version) << 56 | 1);
        random.bits();
        random
    }
}

fn below(random: &mut Random, end: u32) -> u32 {
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    u32::try_from(random.below(end)).unwrap_or(0)
}

fn put(out: &mut impl Write, text: &str) -> io::Result<()> {
    let (bytes, _, _) = WINDOWS_1251.encode(text);
    out.write_all(&bytes)
}

fn root(made: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"windows-1251\"?>\n<reg:register xmlns:reg=\"http://rsoc.ru\" \
         xmlns:tns=\"http://rsoc.ru\" updateTime=\"{made}\" updateTimeUrgently=\"{made}\" \
         formatVersion=\"2.4\">\n"
    )
}

/// One record. Writing to a string does not fail.
fn record(text: &mut String, id: u32, mut random: Random) {
    let draw = random.below(1000);
    let [urls, domain, mask] = SHARES;
    let kind = match draw {
        _ if draw < urls => "",
        _ if draw < urls + domain => " blockType=\"domain\"",
        _ if draw < urls + domain + mask => " blockType=\"domain-mask\"",
        _ => " blockType=\"ip\"",
    };
    let (day, hour, second) = (1 + random.below(28), random.below(24), random.below(60));
    let time = format!("2024-06-{day:02}T{hour:02}:15:{second:02}");
    let hash = (random.bits(), random.bits());
    let _ = write!(
        text,
        "<content id=\"{id}\" includeTime=\"{time}\" entryType=\"{}\" hash=\"{:016X}{:016X}\"{kind} ts=\"{time}\">\n \
         <decision date=\"2024-05-{day:02}\" number=\"2-6-14/2024-05-{day:02}-{}-АИ\" org=\"{}\"/>\n",
        1 + random.below(8),
        hash.0,
        hash.1,
        random.below(10_000),
        random.pick(&["ФНС", "Роскомнадзор", "Генпрокуратура", "Мосгорсуд"]),
    );
    let name = host(&mut random);
    if kind.is_empty() {
        addresses_urls(text, &name, &mut random);
    }
    if draw < urls + domain {
        let _ = writeln!(text, " <domain><![CDATA[{name}]]></domain>");
    } else if draw < urls + domain + mask {
        let _ = writeln!(text, " <domain><![CDATA[*.{name}]]></domain>");
    }
    for _ in 0..1 + random.below(2) {
        let (third, last) = (random.below(256), random.below(256));
        let _ = writeln!(text, " <ip>198.51.{third}.{last}</ip>");
    }
    if random.below(100) < 74 {
        let _ = writeln!(
            text,
            " <ipv6>2001:db8:{:04x}:{:04x}:0000:0000:{:04x}:{:04x}</ipv6>",
            random.below(65_536),
            random.below(65_536),
            random.below(65_536),
            random.below(65_536)
        );
    }
    text.push_str("</content>\n");
}

/// URLs of one host: one in twenty of plain HTTP, one in ten with a fragment, some not in ASCII.
fn addresses_urls(text: &mut String, name: &str, random: &mut Random) {
    let count = if random.once_in(URLS_MANY_ONCE) {
        URLS_MANY
    } else {
        1 + random.below(3)
    };
    for _ in 0..count {
        let scheme = if random.once_in(20) { "http" } else { "https" };
        let path = random.below(1 << 24);
        let end = match random.below(40) {
            0..4 => "#top",
            4 => "/страница",
            5..10 => "/index.php?id=7&x=1",
            _ => "",
        };
        let _ = writeln!(
            text,
            " <url><![CDATA[{scheme}://{name}/p{path:x}{end}]]></url>"
        );
    }
}

fn host(random: &mut Random) -> String {
    let number = random.bits() >> 32;
    match random.below(100) {
        0 => format!("пример-{number:x}.example"),
        1 => format!("xn--e1afmkfd-{number:x}.example"),
        2..30 => format!("www.casino-{number:x}.example"),
        _ => format!("d{number:x}.example"),
    }
}
