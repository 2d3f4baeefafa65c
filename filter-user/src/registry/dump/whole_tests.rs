//! Registers that are refused as a whole: other documents, broken and cut ones, archives that would
//! fill memory; and archives that are read.

use std::io::Write as _;

use super::*;

#[test]
fn what_is_no_register_is_refused_whole() {
    let lab = Lab::new("");
    let record = content(1, "domain", "<domain>a.example</domain>");
    let good = register(&record);
    let version = |word: &str| good.replace("\"2.4\"", &format!("\"{word}\""));
    let table = [
        (String::new(), "ends before"),
        ("\n".to_owned(), "ends before"),
        ("a.example\nb.example\n".to_owned(), "text outside"),
        ("<html></html>".to_owned(), "<html> instead of <register>"),
        (version("3.0"), "formatVersion \"3.0\""),
        (version("1.9"), "formatVersion \"1.9\""),
        (version(""), "formatVersion \"\""),
        (good.replace(" updateTime", " other"), "updateTime \"\""),
        (good.replace("</content>", "</contents>"), "not well-formed"),
        (
            good.replace("</reg:register>", ""),
            "ends before its root element does behind record 1",
        ),
        (good.replace(" id=", " id=\"2\" id="), "stands twice"),
        (format!("{good}<more/>"), "second root"),
        (format!("{good}more"), "text outside"),
        (good.replace("UTF-8", "koi8-r"), "koi8-r"),
        (good.replace("a.example", "&bomb;"), "entity"),
        (
            format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{good}"),
            "document type",
        ),
        (register("<delete id=\"1\"/>"), "it is a delta"),
        (good.replace("<domain>", &"<d>".repeat(20)), "16 levels"),
        (
            good.replace("a.example", &"a".repeat(2 << 20)),
            "a MiB in one element",
        ),
        (
            good.replace("hash=\"A\"", &format!("hash=\"{}\"", "A".repeat(2 << 20))),
            "a MiB",
        ),
    ];
    for (text, wanted) in table {
        let refusal = lab.refusal(&text);
        assert!(refusal.contains(wanted), "{wanted}: {refusal}");
    }
    assert!(lab.refusal(b"\xff\xfe<\0").contains("UTF-16"));
    let broken = good.replace("a.example", "\u{1}").into_bytes();
    let broken: Vec<u8> = broken
        .iter()
        .map(|it| if *it == 1 { 0xe0 } else { *it })
        .collect();
    assert!(lab.refusal(broken).contains("is not UTF-8"));
}

#[test]
fn register_cut_anywhere_is_refused_whole() {
    let lab = Lab::new("");
    let records = content(1, "", EVERYTHING) + &content(2, "domain", "<domain>я.example</domain>");
    let whole = register(&records);
    let whole = whole.trim_end().as_bytes();
    for end in 0..whole.len() {
        lab.refusal(&whole[..end]);
    }
    assert!(lab.dump(whole).is_ok());
    let packed = zipped("dump.xml", whole);
    for end in 0..packed.len() {
        lab.refusal(&packed[..end]);
    }
    assert!(lab.dump(&packed).is_ok());
}

pub(super) fn zipped(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file(name, options).unwrap();
    archive.write_all(bytes).unwrap();
    archive.start_file(format!("{name}.sig"), options).unwrap();
    archive.write_all(b"signature").unwrap();
    archive.finish().unwrap().into_inner()
}

#[test]
fn archive_is_read_like_its_file() {
    let lab = Lab::new("");
    let whole = register(&content(1, "", EVERYTHING));
    let plain = subjects(&lab.dump(&whole).unwrap());
    for name in ["dump.xml", "DUMP.XML", "other.xml"] {
        let packed = zipped(name, whole.as_bytes());
        assert_eq!(subjects(&lab.dump(packed).unwrap()), plain, "{name}");
    }
    let refusal = lab.refusal(zipped("dump.txt", whole.as_bytes()));
    assert!(refusal.contains("no dump.xml"), "{refusal}");
    let mut wrong = zipped("dump.xml", whole.as_bytes());
    // A byte of the packed data, behind the local header and the name.
    wrong[60] ^= 1;
    lab.refusal(wrong);
}

#[test]
fn archive_that_would_fill_memory_is_refused() {
    let lab = Lab::new("");
    let mut whole = register(&content(1, "", EVERYTHING));
    let at = whole.find("<content").unwrap();
    whole.insert_str(at, &"<!-- -->".repeat(3 << 20));
    let packed = zipped("dump.xml", whole.as_bytes());
    assert!(packed.len() < 200_000);
    let refusal = lab.refusal(packed);
    assert!(refusal.contains("100 for each byte"), "{refusal}");
}
