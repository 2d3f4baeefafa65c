//! Registers in XML: what is kept of each blockType, what is refused, and what never makes a
//! difference.

use std::collections::BTreeSet;

use filter_common::name::name_key;
use filter_common::url::{path_hash, url_key};

use crate::config::Config;
use crate::desired::address_key;
use crate::problem::Problem;
use crate::registry::load::{KeptBefore, Loaded, load};
use crate::registry::progress::Progress;
use crate::registry::{RECORD_BY_HOST, RECORD_SUFFIX, RECORD_URLS, Source};
use crate::testing::TempDir;

const SEED: u64 = 7;

/// A directory with a registry of format dump.
struct Lab {
    dir: TempDir,
    config: Config,
}

impl Lab {
    fn new(rest: &str) -> Lab {
        Lab::of("unified", "dump", rest)
    }

    fn of(tier: &str, format: &str, rest: &str) -> Lab {
        let dir = TempDir::new();
        let text = format!(
            "[[registries]]\nid = \"r\"\ntier = \"{tier}\"\nformat = \"{format}\"\npath = \"dump.xml\"\n\
             rejected_max_percent = 100\n{rest}\n"
        );
        let config = Config::from_text(&dir.path().join("s.toml"), &text).unwrap();
        Lab { dir, config }
    }

    fn load(&self, before: &[Source]) -> Result<Loaded, Vec<Problem>> {
        let kept = KeptBefore::new();
        load(&self.config, SEED, before, &kept, Progress::Quiet)
    }

    fn dump(&self, bytes: impl AsRef<[u8]>) -> Result<Loaded, Vec<Problem>> {
        self.dir.write("dump.xml", bytes);
        self.load(&[])
    }

    fn refusal(&self, bytes: impl AsRef<[u8]>) -> String {
        let problems = self.dump(bytes).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    }
}

/// A register with these records, in UTF-8.
fn register(records: &str) -> String {
    made_at("2026-01-15T12:00:00+03:00", records)
}

fn made_at(time: &str, records: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<reg:register xmlns:reg=\"http://rsoc.ru\" \
         updateTime=\"{time}\" formatVersion=\"2.4\">\n{records}\n</reg:register>\n"
    )
}

fn content(id: u32, block_type: &str, children: &str) -> String {
    let block_type = match block_type {
        "" => String::new(),
        word => format!(" blockType=\"{word}\""),
    };
    format!(
        "<content id=\"{id}\" includeTime=\"2026-01-10T09:15:00\" entryType=\"1\"{block_type} hash=\"A\">\
         <decision date=\"2026-01-09\" number=\"2/1\" org=\"O\"/>{children}</content>\n"
    )
}

type Subjects = BTreeSet<(u64, u32)>;

/// Keys and flags of all entries in force, and prefixes as text.
fn subjects(loaded: &Loaded) -> (Subjects, BTreeSet<String>) {
    let sources = &loaded.sources;
    let records = sources.iter().flat_map(Source::records);
    let nets = sources.iter().flat_map(Source::nets);
    (
        records.map(|it| (it.key, it.flags)).collect(),
        nets.map(|it| it.net.to_string()).collect(),
    )
}

/// What a list of lines in the format `mixed` gives; `host` of a URL has its mark as well. A line
/// `by-host NAME` is a URL that was applied as its host.
fn wanted(lines: &[&str]) -> (Subjects, BTreeSet<String>) {
    let key = |name: &str| name_key(SEED, name.as_bytes()).unwrap();
    let (mut records, mut nets) = (Subjects::new(), BTreeSet::new());
    for line in lines {
        if let Some(name) = line.strip_prefix("by-host ") {
            records.insert((key(name), RECORD_BY_HOST));
        } else if let Some((host, path)) = line
            .split_once("/")
            .filter(|(host, _)| !host.contains(':') && host.parse::<std::net::IpAddr>().is_err())
        {
            records.insert((key(host), RECORD_URLS));
            let path = path_hash(SEED, format!("/{path}").as_bytes());
            records.insert((url_key(key(host), path), 0));
        } else if line.contains('/') {
            nets.insert((*line).to_owned());
        } else if let Ok(address) = line.parse::<std::net::IpAddr>() {
            records.insert((
                address_key(SEED, address),
                crate::registry::keep::address_flags(address),
            ));
        } else if let Some(name) = line.strip_prefix("*.") {
            records.insert((key(name), RECORD_SUFFIX));
        } else {
            records.insert((key(line), 0));
        }
    }
    (records, nets)
}

fn check(lab: &Lab, records: &str, lines: &[&str]) {
    let loaded = lab.dump(register(records)).unwrap();
    assert_eq!(subjects(&loaded), wanted(lines), "{records}");
}

const EVERYTHING: &str = "<url><![CDATA[http://a.example/x?q=1]]></url><url>https://b.example/y</url>\
     <domain><![CDATA[c.example]]></domain><ip>203.0.113.5</ip><ipv6>2001:db8::5</ipv6>\
     <ipSubnet>203.0.113.128/25</ipSubnet><ipv6Subnet>2001:db8:dead::/48</ipv6Subnet>";

#[test]
fn each_block_type_applies_what_it_means() {
    let lab = Lab::new("");
    let nets = ["203.0.113.128/25", "2001:db8:dead::/48"];
    let addresses = ["203.0.113.5", "2001:db8::5"];
    let [without_urls, addresses_only] = ["<domain>", "<ip>"].map(|from| {
        let at = EVERYTHING.find(from).unwrap();
        &EVERYTHING[at..]
    });
    for word in ["", "default"] {
        let list = [&["a.example/x?q=1"], &nets[..]].concat();
        check(&lab, &content(1, word, EVERYTHING), &list);
        let list = [&["c.example"], &nets[..]].concat();
        check(&lab, &content(1, word, without_urls), &list);
        let list = [&addresses[..], &nets[..]].concat();
        check(&lab, &content(1, word, addresses_only), &list);
    }
    check(&lab, &content(1, "domain", EVERYTHING), &["c.example"]);
    let mask = content(1, "domain-mask", EVERYTHING);
    check(&lab, &mask, &["*.c.example"]);
    let mask = content(1, "domain-mask", "<domain>*.m.example</domain>");
    check(&lab, &mask, &["*.m.example"]);
    let list = [&addresses[..], &nets[..]].concat();
    check(&lab, &content(1, "ip", EVERYTHING), &list);
    let list = [&["a.example/x?q=1", "c.example"], &addresses[..], &nets[..]].concat();
    check(&lab, &content(1, "custom", EVERYTHING), &list);
}

#[test]
fn record_of_an_unknown_block_type_is_kept_as_a_problem() {
    let lab = Lab::new("");
    let records = content(1, "domain", "<domain>a.example</domain>")
        + &content(2, "magic", "<domain>b.example</domain>");
    let loaded = lab.dump(register(&records)).unwrap();
    assert_eq!(subjects(&loaded), wanted(&["a.example"]));
    let summary = &loaded.summaries[0];
    assert_eq!(summary.counts.reasons["blockType is not known"], 1);
    let what = &summary.rejected[0].what;
    assert_eq!(
        what,
        "record 2, blockType \"magic\": blockType is not known"
    );
}

#[test]
fn https_urls_are_left_out_or_applied_as_their_hosts() {
    let urls = "<url>https://B.example:443/y</url><url>https://[2001:db8::7]/z</url>\
                <url>newcamd525://203.0.113.9:15000</url>";
    let skip = Lab::new("");
    let loaded = skip.dump(register(&content(1, "", urls))).unwrap();
    assert_eq!(subjects(&loaded), wanted(&[]));
    assert_eq!(loaded.summaries[0].counts.rejected, 0);
    let note = loaded.notes[0].to_string();
    assert!(
        note.contains("3 URLs") && note.contains("left out"),
        "{note}"
    );
    let host = Lab::new("https_urls = \"host\"");
    let loaded = host.dump(register(&content(1, "", urls))).unwrap();
    let (mut records, _) = wanted(&["by-host b.example"]);
    for address in ["2001:db8::7", "203.0.113.9"] {
        let (found, _) = wanted(&[address]);
        records.extend(
            found
                .into_iter()
                .map(|(key, flags)| (key, flags | RECORD_BY_HOST)),
        );
    }
    assert_eq!(subjects(&loaded).0, records);
    let note = loaded.notes[0].to_string();
    assert!(
        note.contains("3 URLs") && note.contains("whole of their hosts"),
        "{note}"
    );
}

#[test]
fn dirt_is_set_right() {
    let lab = Lab::new("https_urls = \"host\"");
    let table = [
        (
            "domain",
            "Пример-запрет.example",
            "xn----8sbncid2awgdde1a.example",
        ),
        ("domain", "ru,example.example", "ru.example.example"),
        ("domain", " a . example.. ", "a.example"),
        ("domain", "http://A.example/path", "a.example"),
        ("domain", "a.example:8080", "a.example"),
        ("domain", "a.example\\path", "a.example"),
        ("domain", "*.a.example", "*.a.example"),
        ("domain", "203.0.113.5", "203.0.113.5"),
        ("url", "http://a.example\\b\\c", "a.example/b/c"),
        ("url", "htp://a.example/b", "a.example/b"),
        ("url", "http:/a.example/b", "a.example/b"),
        ("url", "http//a.example/b", "a.example/b"),
        ("url", "http:\\\\a.example/b", "a.example/b"),
        (
            "url",
            "HTTP://user:word@A.Example.:80//b/../b/%63#x",
            "a.example/b/c",
        ),
        ("url", "http://a,example/b", "a.example/b"),
        ("url", "http://a.example/b c", "a.example/b%20c"),
        (
            "url",
            "http://a.example/b?x=1&amp;y=2",
            "a.example/b?x=1&y=2",
        ),
        ("url", "http://a.example/b&#35;c", "a.example/b"),
        ("url", "a.example/b", "a.example/b"),
        ("url", "htps://a.example/b", "by-host a.example"),
        ("url", "https:a.example/b", "by-host a.example"),
        ("ip", " 203.0.113.5\n", "203.0.113.5"),
        ("ip", "203,0,113,5", "203.0.113.5"),
        ("ip", "203.0.113.128/25", "203.0.113.128/25"),
        ("ipv6", "2001:db8:0:0:0000:0000:0000:0005", "2001:db8::5"),
        ("ipSubnet", "203.0.113.77/32", "203.0.113.77"),
    ];
    for (element, value, line) in table {
        let records = content(
            1,
            "custom",
            &format!("<{element}><![CDATA[{value}]]></{element}>"),
        );
        check(&lab, &records, &[line]);
    }
    // Joined, the words would be a name that nobody listed.
    let words = "<domain><![CDATA[a.exam ple]]></domain>";
    check(&lab, &content(1, "domain", words), &[]);
}

#[test]
fn values_that_are_none_are_refused_with_their_record() {
    let lab = Lab::new("");
    let table = [
        ("domain", "a..example", "not a host name"),
        ("domain", "", "empty"),
        ("domain", "10.1.2.3", "private"),
        ("ip", "a.example", "not an address"),
        ("ipSubnet", "203.0.113.0/33", "prefix length"),
        ("ipSubnet", "0.0.0.0/4", "broader"),
        ("url", "http:///x", "not a host and path"),
    ];
    for (element, value, reason) in table {
        let records = content(77, "custom", &format!("<{element}>{value}</{element}>"));
        let loaded = lab.dump(register(&records)).unwrap();
        let problem = loaded.summaries[0].rejected[0].to_string();
        let place = format!("record 77, {element} \"{value}\": ");
        assert!(
            problem.contains(&place) && problem.contains(reason),
            "{problem}"
        );
        assert_eq!(loaded.summaries[0].counts.kept, 0);
    }
    let mask = content(1, "domain-mask", "<domain>*.com</domain>");
    let loaded = lab.dump(register(&mask)).unwrap();
    assert_eq!(loaded.summaries[0].counts.rejected, 1, "a public suffix");
    let loaded = lab.dump(register(&content(1, "domain", "<ip>203.0.113.5</ip>")));
    let reasons = loaded.unwrap().summaries[0].counts.reasons.clone();
    assert_eq!(reasons["record has nothing that its blockType applies"], 1);
}

#[test]
fn windows_1251_is_read_like_utf_8() {
    let lab = Lab::new("");
    let record = content(
        1,
        "custom",
        "<domain>Пример.example</domain><url>http://a.example/№</url>",
    );
    let utf8 = register(&record);
    let lines = ["xn--e1afmkfd.example", "a.example/№"];
    check(&lab, &record, &lines);
    let declared = utf8.replace("UTF-8", "windows-1251");
    let (bytes, _, wrong) = encoding_rs::WINDOWS_1251.encode(&declared);
    assert!(!wrong);
    assert_eq!(subjects(&lab.dump(bytes).unwrap()), wanted(&lines));
    let marked = [b"\xef\xbb\xbf", utf8.as_bytes()].concat();
    assert_eq!(subjects(&lab.dump(marked).unwrap()), wanted(&lines));
    let silent = utf8.replace(" encoding=\"UTF-8\"", "");
    assert_eq!(subjects(&lab.dump(silent).unwrap()), wanted(&lines));
}

#[test]
fn record_is_read_again_from_its_place() {
    let lab = Lab::new("https_urls = \"host\"");
    // Enough in front for many blocks, in a text whose places in the file are others than when decoded.
    let mut records = String::new();
    for id in (1..4_000u32).rev() {
        let children =
            format!("<url>https://d{id}.example/я</url><url>https://e{id}.example/</url>");
        records +=
            &content(id, "", &children).replace("number=\"2/1\"", &format!("number=\"№ {id}\""));
    }
    let declared = register(&records).replace("UTF-8", "windows-1251");
    let (bytes, _, _) = encoding_rs::WINDOWS_1251.encode(&declared);
    for (packed, bytes) in [
        (false, bytes.to_vec()),
        (true, whole::zipped("dump.xml", &bytes)),
    ] {
        let loaded = lab.dump(bytes).unwrap();
        let contents = loaded.sources[0].file.contents.as_ref().unwrap();
        let path = &loaded.sources[0].file.reading.path;
        for id in [1, 2, 1_999, 2_000, 3_998, 3_999] {
            let shown = super::look_up(path, contents, id, true).unwrap();
            assert_eq!(shown.decision.number, format!("№ {id}"));
            assert_eq!(shown.decision.record, id.to_string());
            let text = format!("record {id}, included 2026-01-10T09:15:00, article 15.1");
            assert_eq!(shown.text, text);
            let quick = super::look_up(path, contents, id, false);
            assert_eq!(quick.is_none(), packed);
        }
        assert_eq!(super::look_up(path, contents, 4_000, true), None);
    }
}

#[test]
fn social_register_lists_domains_and_prefixes() {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><registerSocResources \
                updateTime=\"2026-01-15T12:00:00+03:00\" formatVersion=\"1.0\">\
                <content id=\"1\" hash=\"A\" includeTime=\"2026-01-10T09:15:00\">\
                <resourceName>Школа</resourceName><domain>school.example</domain>\
                <ipSubnet>203.0.113.0/24</ipSubnet></content></registerSocResources>";
    let lab = Lab::of("local", "soc_resources", "");
    let loaded = lab.dump(text).unwrap();
    assert_eq!(
        subjects(&loaded),
        wanted(&["*.school.example", "203.0.113.0/24"])
    );
    let lab = Lab::of("local", "soc_resources", "semantics = \"exact\"");
    let loaded = lab.dump(text).unwrap();
    assert_eq!(
        subjects(&loaded),
        wanted(&["school.example", "203.0.113.0/24"])
    );
    assert!(lab.refusal(register("")).contains("<registerSocResources>"));
}

#[test]
fn shipped_sample_and_its_delta_give_what_they_list() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../rules/samples/dump/dump.xml"
    );
    let bytes = std::fs::read(file).unwrap();
    let lab = Lab::new("");
    let always = [
        "pages.example.org/bad/page.html?id=7&x=1",
        "203.0.113.5",
        "203.0.113.128/25",
        "2001:db8:dead::/48",
        "xn----8sbncid2awgdde1a.example",
    ];
    let loaded = lab.dump(&bytes).unwrap();
    let list = [&always[..], &["*.mirror.example.net"]].concat();
    assert_eq!(subjects(&loaded), wanted(&list));
    let lab = Lab::new("deltas = \"deltas\"");
    let delta = file.replace("dump.xml", "deltas/2026-01-15-1230.xml");
    lab.dir.write("deltas/1.xml", std::fs::read(delta).unwrap());
    let loaded = lab.dump(&bytes).unwrap();
    let list = [&always[..], &["new.example.com"]].concat();
    assert_eq!(subjects(&loaded), wanted(&list));
}

#[path = "delta_tests.rs"]
mod deltas;

#[path = "whole_tests.rs"]
mod whole;
