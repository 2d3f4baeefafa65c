//! Collections of lists that are fetched as archives: of every kind that publishers use, and of those that attackers
//! would.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::io::{Cursor, Write as _};

use filter_user::registry::load::{KeptBefore, load};
use filter_user::registry::progress::Progress;
use filter_user::sources::Outcome;
use flate2::Compression;
use flate2::write::GzEncoder;
use schoolgate_tests::fetched::Site;
use schoolgate_tests::lists_server::Answer;
use tar::{Builder, EntryType, Header};

const UT1: &str = "format = \"ut1\"";

/// A file, directory or link of an archive: its path, its kind, and its text or where it leads.
type Part<'a> = (&'a str, EntryType, &'a str);

fn file<'a>(path: &'a str, text: &'a str) -> Part<'a> {
    (path, EntryType::Regular, text)
}

/// An archive with whatever paths: also with those that no archiver writes.
fn tar_of(parts: &[Part<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, text) in parts {
        let mut header = Header::new_gnu();
        let name = &mut header.as_gnu_mut().unwrap().name;
        name.get_mut(..path.len())
            .unwrap()
            .copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o777);
        let is_file = *kind == EntryType::Regular;
        let body = if is_file { text.as_bytes() } else { b"" };
        if !is_file {
            header.set_link_name_literal(text).unwrap();
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An archive with a name of 64 MiB.
fn long_name() -> Vec<u8> {
    let name = vec![b'x'; 64 << 20];
    let mut header = Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(name.len() as u64);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, name.as_slice()).unwrap();
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zip_of(parts: &[Part<'_>]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (path, kind, text) in parts {
        match kind {
            EntryType::Directory => archive.add_directory(*path, options).unwrap(),
            EntryType::Symlink => archive.add_symlink(*path, *text, options).unwrap(),
            _ => {
                archive.start_file(*path, options).unwrap();
                archive.write_all(text.as_bytes()).unwrap();
            }
        }
    }
    archive.finish().unwrap().into_inner()
}

fn site(format: &str) -> Site {
    let mut site = Site::new().unwrap();
    site.format = format.to_owned();
    site.keys = "size_max_mib = 1".to_owned();
    site
}

/// Files that are read, with their entries.
fn read(site: &Site) -> Vec<(String, usize)> {
    let config = site.config().unwrap();
    let loaded = load(&config, 1, &[], &KeptBefore::new(), Progress::Quiet).unwrap();
    let mut files: Vec<(String, usize)> = (loaded.sources.iter())
        .map(|source| {
            let path = source.file.reading.path.display().to_string();
            let (_, inside) = path.split_once("copy-").unwrap();
            let (_, inside) = inside.split_once('/').unwrap();
            (inside.to_owned(), source.file.records.len())
        })
        .collect();
    files.sort();
    files
}

fn took(site: &Site, body: Vec<u8>, tag: &str) -> Vec<(String, usize)> {
    site.gives(Answer::file(body, tag));
    let updated = site.fetch().unwrap();
    assert_eq!(updated.outcome, Outcome::New, "{updated:?}");
    read(site)
}

fn wanted(files: &[(&str, usize)]) -> Vec<(String, usize)> {
    let owned = files
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    owned.collect()
}

#[test]
fn a_collection_comes_in_an_archive_of_any_kind() {
    let parts = [
        ("blacklists/", EntryType::Directory, ""),
        ("blacklists/games/", EntryType::Directory, ""),
        file("blacklists/games/domains", "one.example\ntwo.example\n"),
        file("blacklists/adult/domains", "three.example\n"),
        ("blacklists/porn", EntryType::Symlink, "adult"),
    ];
    let files = wanted(&[("adult/domains", 1), ("games/domains", 2)]);
    let tar = tar_of(&parts);
    for (number, body) in [tar.clone(), gz(&tar), zip_of(&parts)]
        .into_iter()
        .enumerate()
    {
        let site = site(UT1);
        assert_eq!(took(&site, body, "\"1\""), files, "archive {number}");
        let link = site.registry().unwrap().path.join("porn");
        assert_eq!(std::fs::read_link(link).unwrap().to_str(), Some("adult"));
        assert_eq!(site.fetch().unwrap().outcome, Outcome::Unchanged);
    }
}

#[test]
fn the_directory_of_a_single_category_stays() {
    let site = site(UT1);
    let body = gz(&tar_of(&[file("games/domains", "one.example\n")]));
    assert_eq!(took(&site, body, "\"1\""), wanted(&[("games/domains", 1)]));
}

#[test]
fn the_place_of_a_collection_in_its_archive_can_be_said() {
    let parts = [
        file("list-master/README", "of no use here"),
        file("list-master/data/all", "include:some\nfull:one.example\n"),
        file("list-master/data/some", "two.example\nthree.example\n"),
    ];
    let mut site = site("format = \"v2fly\"\nsets = [\"all\"]\ncategories = [\"games\"]");
    let found = wanted(&[("data/all", 1), ("data/some", 2)]);
    assert_eq!(took(&site, gz(&tar_of(&parts)), "\"1\""), found);
    site.keys = "archive_root = \"list-master/data\"".to_owned();
    let files = wanted(&[("all", 1), ("some", 2)]);
    assert_eq!(took(&site, zip_of(&parts), "\"2\""), files);
    site.keys = "archive_root = \"list-master/dat\"".to_owned();
    site.gives(Answer::file(gz(&tar_of(&parts)), "\"3\""));
    let told = site.fetch().unwrap().problem.unwrap();
    assert!(told.contains("correct archive_root"), "{told}");
    assert_eq!(read(&site), files);
}

#[test]
fn the_last_five_collections_are_kept_whole() {
    let site = site(UT1);
    for number in 0..8 {
        let names: String = (0..=number).map(|at| format!("n{at}.example\n")).collect();
        let body = gz(&tar_of(&[file("games/domains", &names)]));
        let files = took(&site, body, &format!("\"{number}\""));
        assert_eq!(files, wanted(&[("games/domains", number + 1)]));
    }
    let copies = site.store().copies();
    assert_eq!(copies.len(), 5);
    for copy in copies {
        assert!(copy.join("games/domains").is_file(), "{}", copy.display());
    }
}

#[test]
fn a_hostile_archive_leaves_the_last_collection_and_writes_nowhere_else() {
    let site = site(UT1);
    let good = [file("games/domains", "one.example\n")];
    let files = took(&site, gz(&tar_of(&good)), "\"good\"");
    let large = "x".repeat((1 << 20) + 1);
    let many: Vec<String> = (0..40_001).map(|at| format!("games/{at}")).collect();
    let many: Vec<Part<'_>> = many.iter().map(|path| file(path, "")).collect();
    let through = [
        ("games", EntryType::Symlink, "/tmp"),
        file("games/domains", "one.example\n"),
        ("bad", EntryType::Symlink, "../../.."),
        file("bad/domains", "one.example\n"),
        ("ads", EntryType::Symlink, "games"),
        file("ads/domains", "one.example\n"),
    ];
    let cut = |bytes: &[u8]| bytes.split_at(bytes.len() / 2).0.to_vec();
    let whole = gz(&tar_of(&good));
    let cases = [
        (tar_of(&[file("../out", "x")]), "leads out"),
        (tar_of(&[file("games/../../out", "x")]), "leads out"),
        (tar_of(&[file("/tmp/schoolgate-out", "x")]), "leads out"),
        (zip_of(&[file("../out", "x")]), "leads out"),
        (
            tar_of(&[("games/domains", EntryType::Link, "../../../../etc/passwd")]),
            "leads out",
        ),
        (
            tar_of(&[("games/domains", EntryType::Char, "")]),
            "neither file, directory nor link",
        ),
        (tar_of(&through), "file exists"),
        (
            gz(&tar_of(&[file("games/domains", &large)])),
            "larger than 1 mib",
        ),
        (
            zip_of(&[file("games/domains", &large)]),
            "larger than 1 mib",
        ),
        (gz(&tar_of(&many)), "more than 40000"),
        (tar_of(&[file(&"a/".repeat(40), "x")]), "deeper than 32"),
        (gz(&long_name()), "headers of more than"),
        (cut(&whole), "cut off"),
        (cut(&zip_of(&good)), "cut off"),
        (b"not an archive".to_vec(), "no tar"),
        (gz(b""), "holds no file"),
        (Vec::new(), "holds no file"),
        (gz(&tar_of(&[file("games/domains", "?? ??\n")])), "rejected"),
    ];
    for (number, (body, word)) in cases.into_iter().enumerate() {
        site.gives(Answer::file(body, &format!("\"{number}\"")));
        let updated = site.fetch_after(1).unwrap();
        assert_eq!(updated.outcome, Outcome::Failed, "{number} {word}");
        let told = updated.problem.unwrap().to_lowercase();
        assert!(told.contains(word), "{number} {word}: {told}");
        assert_eq!(read(&site), files, "{number} {word}");
    }
    let outside: Vec<String> = std::fs::read_dir(site.place.path().join("state/sources"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(outside, ["law"]);
}

#[test]
fn links_out_of_a_collection_are_left_out() {
    let site = site(UT1);
    let parts = [
        file("games/domains", "one.example\n"),
        ("adult", EntryType::Symlink, "/etc"),
        ("ads", EntryType::Symlink, "../../.."),
        ("shopping", EntryType::Symlink, "gone"),
        ("gambling", EntryType::Symlink, "gambling"),
        // Each is innocent by itself.
        ("games/up", EntryType::Symlink, ".."),
        ("porn", EntryType::Symlink, "games/up/.."),
    ];
    let files = took(&site, gz(&tar_of(&parts)), "\"1\"");
    assert_eq!(files, wanted(&[("games/domains", 1)]));
    let path = site.registry().unwrap().path;
    for name in ["adult", "ads", "shopping", "gambling", "porn"] {
        let left = std::fs::symlink_metadata(path.join(name));
        assert!(left.is_err(), "{name}");
    }
}
