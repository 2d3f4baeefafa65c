//! Hostile registries: mutated, cut, empty, endless and binary files of every format. No reader panics, none
//! takes memory out of proportion to its file, and what cannot be read leaves what is in force alone.
//! `SCHOOLGATE_FUZZ_SECONDS` says how long the mutations go on (4 by default), `SCHOOLGATE_FUZZ_ONLY` to which files
//! they are kept, by words in their paths, separated by commas.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use filter_user::config::Config;
use filter_user::problem::Problem;
use filter_user::registry::load::{KeptBefore, Loaded, load};
use filter_user::registry::progress::Progress;
use filter_user::registry::{Source, Wanted, shown};
use schoolgate_tests::evasion::Random;

/// Bytes in use, and the most since it was asked last.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it is; the counters are beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and the place is the system allocator's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tests of this file measure memory: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that reading may take beside what the file's size allows: buffers, the configuration, categories.
const MEMORY_BASE: usize = 8 << 20;
/// Bytes of memory for each byte of a file: an entry of 16 bytes may stand on a line of three, in a list that
/// grows by doubling.
const MEMORY_FACTOR: usize = 24;

/// One reader: its format, what the configuration says beside, and its files.
struct Reader {
    format: &'static str,
    /// Path of the registry, below the directory of the test data.
    path: &'static str,
    rest: &'static str,
    /// The files that are mutated.
    files: &'static [&'static str],
}

const CATEGORIES: &str = "categories = [\"games\"]";

const READERS: [Reader; 18] = [
    plain(
        "domains",
        "suspicious.txt",
        "semantics = \"exact\"\ncategories = [\"games\"]",
    ),
    plain(
        "mixed",
        "unified.txt",
        "semantics = \"suffix\"\ncategories = [\"games\"]",
    ),
    plain("hosts", "hosts.txt", CATEGORIES),
    plain("adguard", "adguard.txt", CATEGORIES),
    plain("rpz", "zone.rpz", CATEGORIES),
    plain("dnsmasq", "dnsmasq.conf", CATEGORIES),
    plain("unbound", "unbound.conf", CATEGORIES),
    plain("netset", "level1.netset", CATEGORIES),
    plain("dump", "dump/dump.xml", CATEGORIES),
    plain("soc_resources", "social.xml", ""),
    plain("urls", "extfilter/urls", CATEGORIES),
    Reader {
        format: "ut1",
        path: "ut1",
        rest: "directories = { vaping = \"games\", party_games = \"games\" }",
        files: &[
            "ut1/adult/domains",
            "ut1/adult/urls",
            "ut1/doh/domains",
            "ut1/gambling/domains",
            "ut1/games/domains",
            "ut1/party_games/domains",
            "ut1/porn/domains",
            "ut1/porn/urls",
            "ut1/social_networks/domains",
            "ut1/vaping/domains",
        ],
    },
    plain("education", "education.csv", ""),
    plain("education", "education.json", ""),
    Reader {
        format: "v2fly",
        path: "v2fly",
        rest: "categories = [\"games\"]\nsets = [\"category-mix\", \"press@cn\"]",
        files: &[
            "v2fly/data/category-mix",
            "v2fly/data/games",
            "v2fly/data/news",
            "v2fly/data/press",
            "v2fly/data/shop",
        ],
    },
    Reader {
        format: "squidguard",
        path: "squidguard/squidGuard.conf",
        rest: CATEGORIES,
        files: &[
            "squidguard/squidGuard.conf",
            "squidguard/db/adult/domains",
            "squidguard/db/adult/urls",
            "squidguard/db/games/domains",
        ],
    },
    Reader {
        format: "e2guardian",
        path: "e2guardian/lists",
        rest: "categories = [\"games\"]\nsets = [\"example.group/bannedsitelist\", \"example.group/bannedurllist\", \"example.group/bannedsiteiplist\"]",
        files: &[
            "e2guardian/lists/example.group/bannedsitelist",
            "e2guardian/lists/example.group/bannedurllist",
            "e2guardian/lists/example.group/bannedsiteiplist",
            "e2guardian/lists/blacklists/ads/domains",
        ],
    },
    Reader {
        format: "extfilter",
        path: "extfilter",
        rest: CATEGORIES,
        files: &[
            "extfilter/domains",
            "extfilter/ssl_host",
            "extfilter/urls",
            "extfilter/hosts",
        ],
    },
];

const fn plain(format: &'static str, path: &'static str, rest: &'static str) -> Reader {
    Reader {
        format,
        path,
        rest,
        files: &[],
    }
}

/// What mutations put in: what formats give a meaning.
const WORDS: [&str; 45] = [
    "<content id=\"1\">",
    "</content>",
    "<domain>",
    "<![CDATA[",
    "&#0;",
    "||",
    "@@",
    "^",
    "$important",
    "$badfilter",
    "*",
    "*.",
    ".",
    "\n",
    "\r\n",
    ";",
    "(",
    ")",
    "\"",
    "\\",
    "$INCLUDE /etc/passwd\n",
    "$ORIGIN ",
    "\tCNAME\t.",
    ".rpz-ip",
    "32.zz.",
    "include:",
    " @ads",
    " &shop",
    "dest x {",
    "}",
    ".Include<",
    ">",
    "#time: 9 0 17 0 01234\n",
    "0.0.0.0 ",
    "::",
    "/32",
    "http://",
    "xn--",
    "я",
    "\u{feff}",
    "\0",
    "[{",
    "}]",
    "null",
    "\u{1f600}",
];

/// A directory of a test's own with a copy of the test data, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> std::io::Result<Place> {
        // In memory where there is such a place: every input is written, and disks are slow at that.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let path = base.join(format!("schoolgate-hostile-{name}-{}", std::process::id()));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        copy(&root.join("data/registries"), &path)?;
        copy(&root.join("../rules/samples"), &path)?;
        Ok(Place(path))
    }

    /// The configuration of a reader's registry.
    fn config(&self, reader: &Reader) -> Result<Config, Vec<Problem>> {
        let Reader {
            format, path, rest, ..
        } = reader;
        let tier = match *format {
            // It lists what is allowed.
            "soc_resources" => "local",
            _ => "nsor",
        };
        let text = format!(
            "[[registries]]\nid = \"r\"\ntier = \"{tier}\"\nformat = \"{format}\"\npath = \"{path}\"\n{rest}\n\
             rejected_max_percent = 95\n"
        );
        Config::from_text(&self.0.join("s.toml"), &text)
    }
}

/// Reads the registry of a configuration beside what is in force.
fn read(config: &Config, before: &[Source], kept: &KeptBefore) -> Result<Loaded, Vec<Problem>> {
    load(config, 7, before, kept, Progress::Quiet)
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if from.is_dir() {
            copy(&from, &to.join(name))?;
        } else {
            std::fs::copy(&from, to.join(name))?;
        }
    }
    Ok(())
}

impl Reader {
    fn files(&self) -> Vec<&'static str> {
        if self.files.is_empty() {
            vec![self.path]
        } else {
            self.files.to_vec()
        }
    }
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let len = bytes.len();
        let at = random.below(len + 1);
        let end = (at + random.below(40)).min(len);
        match random.below(8) {
            0 if at < len => bytes
                .splice(at..=at, [random.bits().to_le_bytes()[0]])
                .for_each(drop),
            1 => bytes.splice(at..end, std::iter::empty()).for_each(drop),
            2 => {
                let part: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
                let times = 1 + random.below(30);
                bytes.splice(at..at, part.repeat(times)).for_each(drop);
            }
            3 => bytes.truncate(at),
            4 => {
                let junk: Vec<u8> = random.bits().to_le_bytes().repeat(1 + random.below(3));
                bytes.splice(at..at, junk).for_each(drop);
            }
            5 => {
                let long = b"a.".repeat(random.below(4_000));
                bytes.splice(at..at, long).for_each(drop);
            }
            _ => {
                let word = random.pick(&WORDS).as_bytes().to_vec();
                bytes
                    .splice(at..end.min(at + word.len()), word)
                    .for_each(drop);
            }
        }
    }
}

/// What became of the inputs of one reader.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    inputs: u64,
    loaded: u64,
    entries: u64,
    rejected: u64,
}

/// Reads what stands in the place, and what must hold of any file.
fn judge(place: &Place, reader: &Reader, config: &Config, tally: &mut Tally) -> Result<(), String> {
    let bytes: u64 = reader
        .files()
        .iter()
        .filter_map(|file| std::fs::metadata(place.0.join(file)).ok())
        .map(|metadata| metadata.len())
        .sum();
    let start = IN_USE.load(Ordering::Relaxed);
    PEAK.store(start, Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let loaded = read(config, &[], &KeptBefore::new());
        if let Ok(loaded) = &loaded {
            for source in &loaded.sources {
                for record in source.file.records.iter().take(3) {
                    let _ = shown(source, record.line, Wanted::Key(record.key));
                }
            }
        }
        loaded
    }));
    let taken = PEAK.load(Ordering::Relaxed).saturating_sub(start);
    let bound = MEMORY_BASE + MEMORY_FACTOR * usize::try_from(bytes).unwrap_or(usize::MAX / 64);
    if taken > bound {
        return Err(format!("{taken} bytes of memory for a file of {bytes}"));
    }
    tally.inputs += 1;
    let problems = match outcome {
        Err(_) => return Err("a panic".to_owned()),
        Ok(Ok(loaded)) => {
            tally.loaded += 1;
            for summary in &loaded.summaries {
                tally.entries += summary.counts.kept;
                tally.rejected += summary.counts.rejected;
                let told: u64 = summary.counts.reasons.values().sum();
                if told != summary.counts.rejected {
                    return Err(format!("{told} reasons of {:?}", summary.counts));
                }
            }
            loaded
                .summaries
                .into_iter()
                .flat_map(|summary| summary.rejected)
                .collect()
        }
        Ok(Err(problems)) if problems.is_empty() => {
            return Err("refused without a reason".to_owned());
        }
        Ok(Err(problems)) => problems,
    };
    match problems
        .iter()
        .find(|problem| problem.what.is_empty() || problem.file.as_os_str().is_empty())
    {
        Some(problem) => Err(format!("{problem:?}")),
        None => Ok(()),
    }
}

fn seconds() -> f64 {
    let named = std::env::var("SCHOOLGATE_FUZZ_SECONDS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(4.0)
}

/// The readers that are to be tried.
fn mutated() -> Vec<&'static Reader> {
    let only = std::env::var("SCHOOLGATE_FUZZ_ONLY").unwrap_or_default();
    let meant = |reader: &&Reader| {
        only.split(',')
            .any(|word| reader.path.contains(word) || reader.format == word)
    };
    let readers: Vec<_> = READERS.iter().filter(meant).collect();
    assert!(
        !readers.is_empty(),
        "SCHOOLGATE_FUZZ_ONLY={only}: no such file"
    );
    readers
}

#[test]
fn mutated_files_are_read_without_a_panic_and_in_bounded_memory() {
    let _alone = ALONE.lock();
    let place = Place::new("mutated").unwrap();
    let readers = mutated();
    let share = Duration::from_secs_f64(seconds() / readers.len() as f64);
    let mut random = Random::new(29);
    for reader in readers {
        let config = place.config(reader).unwrap();
        let mut tally = Tally::default();
        let originals: Vec<(PathBuf, Vec<u8>)> = reader
            .files()
            .iter()
            .map(|file| place.0.join(file))
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        judge(&place, reader, &config, &mut tally).unwrap();
        assert!(tally.entries > 0, "{}: the original", reader.format);
        let deadline = Instant::now() + share;
        while tally.inputs < 50 || Instant::now() < deadline {
            let (path, original) = random.pick(&originals);
            let mut bytes = original.clone();
            mutate(&mut random, &mut bytes);
            std::fs::write(path, &bytes).unwrap();
            if let Err(fault) = judge(&place, reader, &config, &mut tally) {
                let text = String::from_utf8_lossy(&bytes);
                panic!("{} input {}: {fault}\n{text}", reader.format, tally.inputs);
            }
            std::fs::write(path, original).unwrap();
        }
        println!("{}: {tally:?}", reader.path);
        assert!(
            tally.loaded > 0,
            "{}: no input was read: {tally:?}",
            reader.format
        );
    }
}

#[test]
fn what_cannot_be_read_leaves_what_is_in_force_alone() {
    let _alone = ALONE.lock();
    let place = Place::new("junk").unwrap();
    let mut random = Random::new(31);
    let junk: Vec<u8> = (0..65_536)
        .flat_map(|_| random.bits().to_le_bytes())
        .collect();
    for reader in &READERS {
        let config = place.config(reader).unwrap();
        let good = read(&config, &[], &KeptBefore::new()).unwrap();
        let held = good.summaries[0].counts.kept;
        let kept = KeptBefore::from([("r".to_owned(), held)]);
        let entries = |loaded: &Loaded| -> Vec<usize> {
            let files = loaded.sources.iter().map(|source| &source.file);
            files
                .map(|file| file.records.len() + file.nets.len())
                .collect()
        };
        let before = entries(&good);
        let originals: Vec<(PathBuf, Vec<u8>)> = reader
            .files()
            .iter()
            .map(|file| place.0.join(file))
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        for (what, bytes) in [
            ("empty", &b""[..]),
            ("binary", &junk),
            ("blank", b"\n\n \r\n\t\n"),
        ] {
            for (path, _) in &originals {
                std::fs::write(path, bytes).unwrap();
            }
            let problems = read(&config, &good.sources, &kept);
            let problems = problems.expect_err(reader.format);
            assert!(!problems.is_empty(), "{} {what}", reader.format);
        }
        for (path, _) in &originals {
            std::fs::remove_file(path).unwrap();
        }
        assert!(
            read(&config, &good.sources, &kept).is_err(),
            "{}: gone",
            reader.format
        );
        for (path, original) in &originals {
            std::fs::write(path, original).unwrap();
        }
        assert_eq!(entries(&good), before, "{}", reader.format);
        let again = read(&config, &good.sources, &kept).unwrap();
        assert_eq!(entries(&again), before, "{}: restored", reader.format);
    }
}

#[test]
fn a_line_without_end_is_refused_in_bounded_memory() {
    let _alone = ALONE.lock();
    let place = Place::new("endless").unwrap();
    let long = b"a.example ".repeat(3 << 20);
    for reader in &READERS {
        let file = place.0.join(*reader.files().first().unwrap());
        let original = std::fs::read(&file).unwrap();
        std::fs::write(&file, &long).unwrap();
        let config = place.config(reader).unwrap();
        let start = IN_USE.load(Ordering::Relaxed);
        PEAK.store(start, Ordering::Relaxed);
        let loaded = read(&config, &[], &KeptBefore::new());
        let taken = PEAK.load(Ordering::Relaxed).saturating_sub(start);
        // The education registry is held as a whole, which is bounded by its largest size.
        let bound = if reader.format == "education" {
            4 * long.len()
        } else {
            MEMORY_BASE
        };
        assert!(taken <= bound, "{}: {taken} bytes", reader.format);
        let clean = loaded.is_ok_and(|loaded| loaded.summaries[0].counts.rejected == 0);
        // A configuration of squidGuard with nothing known in it has no destinations, and is empty.
        assert!(!clean || reader.format == "squidguard", "{}", reader.format);
        std::fs::write(&file, original).unwrap();
    }
}
