//! What runs in the machine: its init script, and the reading of what it prints on the console.

use std::fmt::Write as _;
use std::time::Instant;

use super::image::guest_path;
use crate::binaries::TestBinary;
use crate::report::{Counts, Suite};
use crate::shell::say;
use crate::subjects::Subjects;
use crate::transcript::{Transcript, Verified};

/// Printed when user space has begun.
const BOOTED: &str = "@BOOTED ";
/// Printed before a test binary, with its target.
const BEGIN: &str = "@BEGIN ";
/// Printed after it, with its target and exit status.
const END: &str = "@END ";

/// Sets up what tests expect of a running system. `/tmp` stays what the image holds: programs under test
/// lie at the paths they have on the host, which may be below it.
const PRELUDE: &str = "\
#!/bin/busybox sh
/bin/busybox --install -s /busybox
export PATH=/bin:/busybox HOME=/root TERM=dumb LANG=C.UTF-8 RUST_BACKTRACE=1
dmesg -n 1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for dir in /dev/shm /run; do mount -t tmpfs tmpfs $dir; done
mkdir -p /tmp && chmod 1777 /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
for module in /modules/*; do insmod $module || echo \"could not load $module\"; done
ip link set lo up
hostname schoolgate
";

/// The script: prelude, then each test binary in its package's directory, then the end.
pub(crate) fn init(binaries: &[TestBinary], subjects: &Subjects) -> String {
    let mut script = PRELUDE.to_owned();
    let mut add = |line: String| writeln!(script, "{line}").is_ok();
    add("export SCHOOLGATE_VM=1".to_owned());
    for (name, path) in subjects.environment() {
        add(format!("export {name}='{}'", path.display()));
    }
    add(format!("echo \"{BOOTED}$(uname -r)\""));
    for binary in binaries {
        let (target, package) = (&binary.target, binary.package.display());
        add(format!("mkdir -p '{package}' && cd '{package}'"));
        add(format!("export CARGO_MANIFEST_DIR='{package}'"));
        add(format!("echo '{BEGIN}{target}'"));
        add(format!(
            "'{}' --show-output </dev/null 2>&1",
            guest_path(binary).display()
        ));
        add(format!("echo '{END}{target}' $?"));
    }
    add("poweroff -f".to_owned());
    script
}

/// A test binary in the machine.
struct Ran {
    target: String,
    transcript: Transcript,
    begun: Instant,
    suite: Option<Suite>,
}

/// What the console has told.
pub(crate) struct Guest {
    series: String,
    strict: bool,
    booted: bool,
    ran: Vec<Ran>,
}

impl Guest {
    /// Nothing told yet; `strict` as `Transcript::counts` takes it.
    pub(crate) fn new(series: String, strict: bool) -> Self {
        Self {
            series,
            strict,
            booted: false,
            ran: Vec::new(),
        }
    }

    /// Whether user space has begun.
    pub(crate) fn has_booted(&self) -> bool {
        self.booted
    }

    /// Takes the next line of the console.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(release) = line.strip_prefix(BOOTED) {
            self.booted = true;
            say(&format!("  {release} is up"));
        } else if let Some(target) = line.strip_prefix(BEGIN) {
            self.ran.push(Ran {
                target: target.to_owned(),
                transcript: Transcript::default(),
                begun: Instant::now(),
                suite: None,
            });
        } else if let Some((target, status)) =
            line.strip_prefix(END).and_then(|l| l.split_once(' '))
        {
            self.end(target, status == "0");
        } else if self.current().is_none_or(|ran| ran.transcript.read(line)) && self.booted {
            say(&format!("  {line}"));
        }
    }

    fn current(&mut self) -> Option<&mut Ran> {
        self.ran.last_mut().filter(|ran| ran.suite.is_none())
    }

    fn end(&mut self, target: &str, succeeded: bool) {
        let (name, strict) = (format!("{} {target}", self.series), self.strict);
        if let Some(ran) = self.current().filter(|ran| ran.target == target) {
            let counts = ran.transcript.counts(succeeded, strict);
            ran.suite = Some(Suite {
                name,
                counts,
                time: ran.begun.elapsed(),
            });
        }
    }

    /// The programs that the machine's kernel verified.
    pub(crate) fn verified(&self) -> Vec<Verified> {
        self.ran
            .iter()
            .flat_map(|ran| ran.transcript.verified.clone())
            .collect()
    }

    /// A suite for each expected target: one that did not begin or end is a failure.
    pub(crate) fn into_suites<'a>(mut self, expected: impl Iterator<Item = &'a str>) -> Vec<Suite> {
        if let Some(ran) = self.current() {
            let (target, last) = (&ran.target, ran.transcript.last_line());
            say(&format!("  {target} did not end; the last line: {last}"));
        }
        expected.map(|target| self.suite(target)).collect()
    }

    fn suite(&self, target: &str) -> Suite {
        let ran = self.ran.iter().find(|ran| ran.target == target);
        ran.and_then(|ran| ran.suite.clone())
            .unwrap_or_else(|| Suite {
                name: format!("{} {target}", self.series),
                counts: Counts::failure(),
                time: ran.map_or_else(Default::default, |ran| ran.begun.elapsed()),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(console: &str) -> Vec<Counts> {
        let mut guest = Guest::new("6.1".to_owned(), true);
        console.lines().for_each(|line| guest.read(line));
        guest
            .into_suites(["a", "b"].into_iter())
            .iter()
            .map(|suite| suite.counts)
            .collect()
    }

    const RESULT: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured";

    #[test]
    fn each_target_has_its_counts() {
        let console = format!("@BOOTED 6.1.0\n@BEGIN a\n{RESULT}\n@END a 0\n@BEGIN b\n@END b 101");
        let passed = Counts {
            passed: 2,
            ..Counts::default()
        };
        assert_eq!(suites(&console), [passed, Counts::failure()]);
    }

    #[test]
    fn a_target_that_hung_or_never_began_is_a_failure() {
        let console = format!("@BOOTED 6.1.0\n@BEGIN a\n{RESULT}\n");
        assert_eq!(suites(&console), [Counts::failure(), Counts::failure()]);
    }
}
