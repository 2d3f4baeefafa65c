//! The unified registry's dump, however it is written: against lists of lines that say the same, under
//! random deltas, and mutated. Longer with `SCHOOLGATE_MUTATIONS=N` (files; 4,000 by default).

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use encoding_rs::WINDOWS_1251;
use filter_user::config::Config;
use filter_user::problem::Problem;
use filter_user::registry::Source;
use filter_user::registry::dump::look_up;
use filter_user::registry::load::{KeptBefore, Loaded, load};
use filter_user::registry::progress::Progress;
use schoolgate_tests::evasion::Random;
use schoolgate_tests::register::{Delta, Register};

const SEED: u64 = 3;

/// A directory of a test's own, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("schoolgate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("deltas")).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        // File systems write at once what is cut off and written again.
        let _ = std::fs::remove_file(&path);
        std::fs::write(path, bytes).unwrap();
    }

    /// A registry of a format, its URLs of `https` left out.
    fn load(&self, format: &str, file: &str, rest: &str) -> Result<Loaded, Vec<Problem>> {
        read(&self.config(format, file, rest))
    }

    fn config(&self, format: &str, file: &str, rest: &str) -> Config {
        let text = format!(
            "[[registries]]\nid = \"r\"\ntier = \"unified\"\nformat = \"{format}\"\npath = \"{file}\"\n\
             rejected_max_percent = 100\n{rest}\n"
        );
        Config::from_text(&self.0.join("s.toml"), &text).unwrap()
    }

    fn dump(&self, file: &str) -> Result<Loaded, Vec<Problem>> {
        self.load("dump", file, "")
    }
}

fn read(config: &Config) -> Result<Loaded, Vec<Problem>> {
    load(config, SEED, &[], &KeptBefore::new(), Progress::Quiet)
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keys with flags, and prefixes, of all that is in force.
fn in_force(loaded: &Loaded) -> (BTreeSet<(u64, u32)>, BTreeSet<String>) {
    let records = loaded.sources.iter().flat_map(Source::records);
    let nets = loaded.sources.iter().flat_map(Source::nets);
    (
        records.map(|it| (it.key, it.flags)).collect(),
        nets.map(|it| it.net.to_string()).collect(),
    )
}

/// One record: its blockType and its children, element by element.
#[derive(Clone, Debug)]
struct Record {
    block_type: &'static str,
    values: Vec<(&'static str, String)>,
}

const BLOCK_TYPES: [&str; 6] = ["", "default", "domain", "domain-mask", "ip", "custom"];

impl Record {
    fn draw(random: &mut Random) -> Record {
        let block_type = *random.pick(&BLOCK_TYPES);
        let mut values = Vec::new();
        for element in ["url", "domain", "ip", "ipSubnet", "ipv6", "ipv6Subnet"] {
            let most = 1 + random.below(3);
            for _ in 0..random.below(most) {
                values.push((element, value(element, random)));
            }
        }
        Record { block_type, values }
    }

    /// What it lists, as lines of a list of format `mixed`: the table of blockTypes said once more.
    fn lines(&self) -> Vec<String> {
        let has = |name: &str| self.values.iter().any(|(element, _)| *element == name);
        let default = matches!(self.block_type, "" | "default");
        let wanted = |element: &str| match (self.block_type, element) {
            ("custom", _) | (_, "url") if self.block_type == "custom" || default => true,
            ("domain" | "domain-mask", "domain") => true,
            ("ip", "ip" | "ipv6" | "ipSubnet" | "ipv6Subnet") => true,
            (_, "domain") => default && !has("url"),
            (_, "ip" | "ipv6") => default && !has("url") && !has("domain"),
            (_, "ipSubnet" | "ipv6Subnet") => default,
            _ => false,
        };
        let values = self.values.iter().filter(|(element, _)| wanted(element));
        let lines = values.map(|(_, value)| match self.block_type {
            "domain-mask" => format!("*.{value}"),
            _ => value.clone(),
        });
        lines.filter(|line| !line.starts_with("https:")).collect()
    }

    /// It in XML, with attributes, children, white space and quoting as they come.
    fn xml(&self, id: u32, random: &mut Random) -> String {
        let mut attributes = vec![
            format!("id=\"{id}\""),
            "includeTime='2026-01-10T09:15:00'".to_owned(),
            "entryType=\"1\"".to_owned(),
            "hash=\"00>/A\"".to_owned(),
        ];
        if !self.block_type.is_empty() {
            attributes.push(format!("blockType=\"{}\"", self.block_type));
        }
        shuffle(&mut attributes, random);
        let mut children =
            vec!["<decision date=\"2026-01-09\" number=\"1\" org=\"&quot;О&quot;\"/>".to_owned()];
        for (element, value) in &self.values {
            children.push(child(element, value, random));
        }
        shuffle(&mut children, random);
        let mut text = format!("<content{}", space(random, " "));
        for attribute in attributes {
            let _ = write!(text, "{attribute}{}", space(random, " "));
        }
        text.push('>');
        for child in children {
            let _ = write!(text, "{}{child}", space(random, ""));
        }
        let _ = write!(text, "{}</content{}>", space(random, ""), space(random, ""));
        text
    }
}

fn value(element: &str, random: &mut Random) -> String {
    let name = ["a.example", "b.example", "пример.example", "c.d.example"];
    let host = format!("n{}.{}", random.below(50), random.pick(&name));
    let number = random.below(256);
    match element {
        "url" => {
            let scheme = random.pick(&["http", "http", "https"]);
            let path = random.pick(&["", "/", "/x", "/x?a=1&b=<2>", "/путь/№"]);
            format!("{scheme}://{host}{path}")
        }
        "domain" => host,
        "ip" => format!("203.0.113.{number}"),
        "ipSubnet" => format!("198.51.{number}.0/24"),
        "ipv6" => format!("2001:db8::{number:x}"),
        _ => format!("2001:db8:{number:x}::/48"),
    }
}

fn child(element: &str, value: &str, random: &mut Random) -> String {
    let escaped = value.replace('&', "&amp;").replace('<', "&lt;");
    let text = match random.below(4) {
        0 => escaped,
        1 => escaped.replace('e', "&#101;"),
        2 => format!(
            "{}{escaped}<!-- > -->{}",
            space(random, ""),
            space(random, "")
        ),
        _ => format!("<![CDATA[{value}]]>"),
    };
    let stamp = if random.once_in(3) {
        " ts='2026-01-10T09:15:00'"
    } else {
        ""
    };
    format!("<{element}{stamp}>{text}</{element}>")
}

/// White space, at least `least`.
fn space(random: &mut Random, least: &str) -> String {
    let more = random.pick(&["", "", "\n", "\r\n\t", " ", "  "]);
    format!("{least}{more}")
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
}

fn register(made: &str, inside: &str, random: &mut Random) -> Vec<u8> {
    let charset = *random.pick(&["windows-1251", "utf-8", "UTF-8"]);
    let mut attributes = vec![
        "xmlns:reg=\"http://rsoc.ru\"".to_owned(),
        format!("updateTime=\"{made}\""),
        "formatVersion=\"2.4\"".to_owned(),
    ];
    shuffle(&mut attributes, random);
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"{charset}\"?>{}<reg:register {}>{inside}</reg:register>\n",
        space(random, ""),
        attributes.join(" ")
    );
    if charset == "windows-1251" {
        let (bytes, _, wrong) = WINDOWS_1251.encode(&text);
        assert!(!wrong, "{text}");
        return bytes.into_owned();
    }
    text.into_bytes()
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("dump.xml", options).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

const NOON: &str = "2026-01-15T12:00:00+03:00";

#[test]
fn however_a_register_is_written_it_lists_what_its_lines_say() {
    let directory = Directory::new("written");
    let mut random = Random::new(1);
    for _ in 0..300 {
        let records: Vec<Record> = (0..1 + random.below(20))
            .map(|_| Record::draw(&mut random))
            .collect();
        let lines: Vec<String> = records.iter().flat_map(Record::lines).collect();
        directory.write("list", lines.join("\n"));
        let wanted = in_force(
            &directory
                .load("mixed", "list", "semantics = \"exact\"")
                .unwrap(),
        );
        for _ in 0..3 {
            let mut written: Vec<String> = (1..)
                .zip(&records)
                .map(|(id, record)| record.xml(id, &mut random))
                .collect();
            shuffle(&mut written, &mut random);
            let mut bytes = register(NOON, &written.concat(), &mut random);
            if random.once_in(4) {
                bytes = zipped(&bytes);
            }
            directory.write("dump.xml", &bytes);
            let loaded = directory.dump("dump.xml").unwrap();
            assert_eq!(in_force(&loaded), wanted, "{written:?}");
        }
    }
}

#[test]
fn deltas_give_what_a_whole_register_of_their_result_gives() {
    let directory = Directory::new("deltas");
    let mut random = Random::new(2);
    for _ in 0..150 {
        for entry in std::fs::read_dir(directory.0.join("deltas")).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let mut now: BTreeMap<u32, Record> = (1..2 + u32::from(random.bits() as u8 % 30))
            .map(|id| (id, Record::draw(&mut random)))
            .collect();
        let all = |now: &BTreeMap<u32, Record>, random: &mut Random| {
            let written: Vec<String> = now.iter().map(|(id, it)| it.xml(*id, random)).collect();
            register(NOON, &written.concat(), random)
        };
        directory.write("dump.xml", all(&now, &mut random));
        for minute in 0..random.below(6) {
            let mut inside = String::new();
            let mut ids: Vec<u32> = (1..40).collect();
            shuffle(&mut ids, &mut random);
            for id in ids.into_iter().take(1 + random.below(8)) {
                if random.once_in(3) {
                    now.remove(&id);
                    let written = [
                        format!("<delete id='{id}'/>"),
                        format!("<delete> {id}</delete>"),
                    ];
                    inside.push_str(random.pick::<String>(&written));
                } else {
                    let record = Record::draw(&mut random);
                    inside.push_str(&record.xml(id, &mut random));
                    now.insert(id, record);
                }
            }
            let made = format!("2026-01-15T12:{:02}:30+03:00", minute * 7);
            // Names in another order than times.
            let name = format!("deltas/{}.xml", 9 - minute);
            directory.write(&name, register(&made, &inside, &mut random));
        }
        let with_deltas = directory
            .load("dump", "dump.xml", "deltas = \"deltas\"")
            .unwrap();
        directory.write("result.xml", all(&now, &mut random));
        let result = directory.dump("result.xml").unwrap();
        assert_eq!(in_force(&with_deltas), in_force(&result));
        let kept = |loaded: &Loaded| loaded.summaries[0].counts.kept;
        assert_eq!(kept(&with_deltas), kept(&result));
    }
}

/// What an attacker or a bad line would put into a file.
const WORDS: [&str; 24] = [
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<content id=\"1\">",
    "</content>",
    "<content",
    "</reg:register>",
    "&#0;",
    "&#x110000;",
    "&x;",
    "<?x?>",
    "<!DOCTYPE a>",
    "<delete id=\"1\"/>",
    "\"",
    "'",
    ">",
    "<",
    "/>",
    "\0",
    "\u{feff}",
    "id=\"4294967296\"",
    "blockType=\"\"",
    "<url>",
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, random.pick(&WORDS).bytes())),
            2 => {
                let end = (at + random.below(200)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.below(400)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.bits() as u8;
                }
            }
        }
    }
}

/// A mutated file is read whole or refused with a reason; what it listed can be looked at again.
#[test]
fn mutated_registers_are_read_whole_or_refused() {
    let directory = Directory::new("mutated");
    let mut seeds = Vec::new();
    for seed in 0..20 {
        let register = Register { records: 6, seed };
        let mut bytes = Vec::new();
        register.write(&mut bytes).unwrap();
        seeds.push(zipped(&bytes));
        seeds.push(bytes);
        let mut bytes = Vec::new();
        let delta = Delta {
            minute: 1,
            records: 9,
        };
        register.write_delta(delta, &mut bytes).unwrap();
        seeds.push(bytes);
    }
    let number = std::env::var("SCHOOLGATE_MUTATIONS").ok();
    let number = number.map_or(4_000, |number| number.parse::<u64>().unwrap());
    let mut random = Random::new(5);
    let (mut whole, mut refused) = (0, 0);
    directory.write("base.xml", &seeds[1]);
    let alone = directory.config("dump", "dump.xml", "");
    let percent = "deltas = \"deltas\"\nshrink_max_percent = 100";
    let with_delta = directory.config("dump", "base.xml", percent);
    for _ in 0..number {
        let mut bytes = random.pick(&seeds).clone();
        mutate(&mut random, &mut bytes);
        directory.write("dump.xml", &bytes);
        match read(&alone) {
            Ok(loaded) => {
                whole += 1;
                check(&loaded, &bytes);
            }
            Err(problems) => {
                refused += 1;
                assert!(
                    problems
                        .iter()
                        .all(|it| !it.what.is_empty() && !it.remedy.is_empty())
                );
            }
        }
        directory.write("deltas/1.xml", &bytes);
        assert!(
            read(&with_delta).is_ok(),
            "a delta never stops the registry"
        );
    }
    println!("{number} files: {whole} read, {refused} refused");
    assert!(whole > 0 && refused > 0);
}

fn check(loaded: &Loaded, bytes: &[u8]) {
    if !bytes.starts_with(b"PK") {
        assert!(bytes.windows(2).any(|pair| pair == b"</"), "it has an end");
    }
    let source = &loaded.sources[0];
    let contents = source.file.contents.as_ref().unwrap();
    for record in source.file.records.iter().take(20) {
        let shown = look_up(&source.file.reading.path, contents, record.line, true);
        let shown = shown.unwrap_or_else(|| {
            panic!("record {}: {}", record.line, String::from_utf8_lossy(bytes))
        });
        assert_eq!(shown.decision.record.trim().parse(), Ok(record.line));
    }
}

/// The samples of the published registry, where they are at hand.
fn samples() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("SCHOOLGATE_SHARED").map(PathBuf::from);
    let places = [
        named.unwrap_or_else(|| here.join("../../shared")),
        here.join("../../../shared"),
    ];
    let found = places
        .into_iter()
        .map(|it| it.join("samples/unified"))
        .find(|it| it.is_dir());
    if found.is_none() {
        println!("skipped: no samples of the registry here");
    }
    found
}

#[test]
fn samples_of_the_published_registry_give_what_they_list() {
    let Some(samples) = samples() else { return };
    let directory = Directory::new("samples");
    // Records; values applied, kept and met twice; URLs without a visible path; prefixes. Counted by
    // another program, too.
    let table = [
        ("dump-2.2-2015", [39, 53, 51, 2, 2, 0]),
        ("dump-tail-2019", [58, 145, 143, 2, 1, 1]),
        ("dump-tail-2021", [48, 48, 48, 0, 3, 0]),
        ("dump-tail-2024", [55, 38, 38, 0, 21, 0]),
    ];
    for (sample, wanted) in table {
        let file = samples.join(format!("{sample}.redacted.xml"));
        let loaded = directory.dump(file.to_str().unwrap()).unwrap();
        let counts = &loaded.summaries[0].counts;
        let source = &loaded.sources[0];
        let contents = source.file.contents.as_ref().unwrap();
        let found = [
            contents.records() as u64,
            counts.read,
            counts.kept,
            counts.duplicate,
            contents.hidden().len() as u64,
            source.file.nets.len() as u64,
        ];
        assert_eq!(found, wanted, "{sample}");
        assert_eq!(counts.rejected, 0, "{:?}", loaded.summaries[0].rejected);
        let note = format!("{} URLs", contents.hidden().len());
        assert!(
            loaded.notes[0].what.starts_with(&note),
            "{:?}",
            loaded.notes
        );
    }
}
