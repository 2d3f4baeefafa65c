//! Registries that are signed, through a load.

use std::path::Path;

use minisign::KeyPair;

use super::load::{KeptBefore, Loaded, load};
use super::problems::{Kind, each};
use super::progress::Progress;
use super::*;
use crate::config::Config;
use crate::testing::TempDir;

struct Lab {
    dir: TempDir,
    pair: KeyPair,
}

impl Lab {
    fn new() -> Self {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let dir = TempDir::new();
        Lab { dir, pair }
    }

    fn key(&self) -> String {
        format!("minisign_key = \"{}\"\n", self.pair.pk.to_base64())
    }

    fn write(&self, name: &str, text: &str) {
        self.dir.write(name, text);
    }

    fn sign(&self, name: &str) {
        let file = std::fs::File::open(self.dir.path().join(name)).unwrap();
        let made = minisign::sign(None, &self.pair.sk, file, None, None).unwrap();
        self.dir
            .write(&format!("{name}.minisig"), made.into_string());
    }

    fn config(&self, rest: &str) -> Result<Config, Vec<Problem>> {
        let file = self.dir.path().join("s.toml");
        let head = "[[registries]]\nid = \"r\"\ntier = \"unified\"\npath = \"list\"\n";
        Config::from_text(&file, &format!("{head}{rest}"))
    }

    fn load(&self, rest: &str, before: &[Source]) -> Result<Loaded, Vec<Problem>> {
        let config = self.config(rest).unwrap();
        load(&config, 5, before, &KeptBefore::new(), Progress::Quiet)
    }
}

fn refused(lab: &Lab, rest: &str, before: &[Source], file: &str, what: &str) {
    let problems = lab.load(rest, before).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, lab.dir.path().join(file));
    assert!(problems[0].what.contains(what), "{problems:?}");
    assert!(!problems[0].remedy.is_empty());
}

const PLAIN: &str = "format = \"domains\"\nsemantics = \"exact\"\n";
const LIST: &str = "list";
const SIGNATURE: &str = "list.minisig";

#[test]
fn altered_registry_is_refused_and_its_signature_is_asked_when_it_is_read_anew_only() {
    let lab = Lab::new();
    let signed = PLAIN.to_owned() + &lab.key();
    lab.write(LIST, "a.example\n");
    refused(&lab, &signed, &[], SIGNATURE, "no such signature");
    lab.sign(LIST);
    let good = lab.load(&signed, &[]).unwrap();
    assert_eq!(good.summaries[0].counts.kept, 1);
    // Not touched, not asked.
    std::fs::remove_file(lab.dir.path().join(SIGNATURE)).unwrap();
    let same = lab.load(&signed, &good.sources).unwrap();
    assert!(Arc::ptr_eq(&same.sources[0].file, &good.sources[0].file));
    // What came into force without a signature does not count once the configuration asks for one.
    let unsigned = lab.load(PLAIN, &[]).unwrap();
    refused(
        &lab,
        &signed,
        &unsigned.sources,
        SIGNATURE,
        "no such signature",
    );
    lab.sign(LIST);
    lab.write(LIST, "a.example\nforged.example\n");
    let not_of = "is not the signature";
    refused(&lab, &signed, &good.sources, SIGNATURE, not_of);
    assert_eq!(good.sources[0].file.counts.kept, 1);
    let mut told = Vec::new();
    each(&lab.config(&signed).unwrap(), &mut |id, kind, problem| {
        told.push((id.to_owned(), kind, problem.what));
    });
    assert_eq!(told.len(), 1);
    assert!(told[0].2.contains(not_of), "{told:?}");
    assert_eq!((told[0].0.as_str(), told[0].1), ("r", Kind::Broken));
    lab.sign(LIST);
    let loaded = lab.load(&signed, &good.sources).unwrap();
    assert_eq!(loaded.summaries[0].counts.kept, 2);
}

#[test]
fn registry_that_is_replaced_behind_its_signature_is_refused() {
    let lab = Lab::new();
    lab.write(LIST, "a.example\n");
    lab.write("list.sig", "");
    let command = |script: &str| {
        format!(
            "{PLAIN}verify_command = [\"sh\", \"-c\", \"{script}\", \"{{file}}\", \"{{signature}}\"]\n"
        )
    };
    lab.load(&command("true"), &[]).unwrap();
    let script = command("echo b.example > next; mv next list");
    refused(&lab, &script, &[], LIST, "was replaced");
    assert!(lab.load(PLAIN, &[]).is_ok());
}

fn register(minute: u32, name: &str) -> String {
    let content = format!(
        "<content id=\"1\" entryType=\"1\" blockType=\"domain\"><decision date=\"2026-01-01\" number=\"1\" org=\"o\"/><domain>{name}</domain></content>"
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><register updateTime=\"2026-01-15T12:{minute:02}:00+03:00\" formatVersion=\"2.4\">{content}</register>"
    )
}

#[test]
fn every_delta_has_its_signature_and_a_forged_one_refuses_the_load() {
    let lab = Lab::new();
    let rest = format!("format = \"dump\"\ndeltas = \"deltas\"\n{}", lab.key());
    lab.write(LIST, &register(0, "base.example"));
    lab.sign(LIST);
    lab.write("deltas/1.xml", &register(1, "one.example"));
    lab.write("deltas/2.xml", &register(2, "two.example"));
    lab.sign("deltas/1.xml");
    let missing = "no such signature";
    refused(&lab, &rest, &[], "deltas/2.xml.minisig", missing);
    lab.sign("deltas/2.xml");
    let good = lab.load(&rest, &[]).unwrap();
    assert_eq!(good.sources.len(), 3);
    // One that says that it is older than the registry would not be read.
    lab.write("deltas/1.xml", &register(0, "one.example"));
    let not_of = "is not the signature";
    refused(&lab, &rest, &good.sources, "deltas/1.xml.minisig", not_of);
    // One that is signed and broken stops those behind it, as ever.
    lab.write("deltas/1.xml", "<register>");
    lab.sign("deltas/1.xml");
    let broken = lab.load(&rest, &good.sources).unwrap();
    assert_eq!(broken.sources.len(), 1);
    assert!(!broken.notes.is_empty());
}

#[test]
fn signature_keys_that_are_wrong_are_told_with_their_line() {
    let lab = Lab::new();
    let command = "verify_command = [\"v\", \"{file}\", \"{signature}\"]\n";
    let both = lab.key() + command;
    let cases = [
        (PLAIN, both.as_str(), "both"),
        (PLAIN, "minisign_key = \"RWnonsense\"\n", "no public key"),
        (PLAIN, "verify_command = []\n", "names no program"),
        (
            PLAIN,
            "verify_command = [\"v\", \"{file}\"]\n",
            "{signature}",
        ),
    ];
    for (format, keys, what) in cases {
        let problems = lab.config(&(format.to_owned() + keys)).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].what.contains(what), "{problems:?}");
        let line = if keys.contains("[]") { 1 } else { 7 };
        assert_eq!(problems[0].line, line, "{problems:?}");
        assert!(!problems[0].remedy.is_empty());
    }
    for format in ["ut1", "v2fly", "e2guardian", "extfilter", "squidguard"] {
        for keys in [lab.key().as_str(), command] {
            let sets = if format == "v2fly" || format == "e2guardian" {
                "sets = [\"s\"]\n"
            } else {
                ""
            };
            let text = format!("format = \"{format}\"\n{keys}{sets}");
            let problems = lab.config(&text).unwrap_err();
            let problem = &problems[0];
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problem.what.contains("is a directory"), "{problem}");
            assert_eq!(problem.line, 6);
        }
    }
    let good = lab.config(&(PLAIN.to_owned() + command)).unwrap();
    let signature = good.registries[0].signature.as_ref().unwrap();
    assert_eq!(signature.path_for(Path::new("/l")), Path::new("/l.sig"));
}
