//! Signatures that are good and ones that are not, of both kinds, and programs that behave badly.

use std::process::Command;
use std::time::Duration;

use minisign::KeyPair;

use super::command::{Fault, run};
use super::*;
use crate::testing::TempDir;

const LIST: &str = "a.example\nb.example\n";

fn key_pair() -> (KeyPair, Signature) {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = Signature::minisign(&pair.pk.to_base64()).unwrap();
    (pair, signature)
}

fn sign(pair: &KeyPair, file: &Path) {
    let made = minisign::sign(None, &pair.sk, File::open(file).unwrap(), None, None).unwrap();
    let mut path = file.as_os_str().to_owned();
    path.push(".minisig");
    std::fs::write(path, made.into_string()).unwrap();
}

fn problem(signature: &Signature, file: &Path) -> Problem {
    let path = signature.path_for(file);
    let problem = signature.check(file, &path).unwrap_err();
    assert_eq!(problem.file, path);
    assert!(!problem.remedy.is_empty());
    problem
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn minisign_good_and_the_file_or_the_key_another() {
    let dir = TempDir::new();
    // More than is hashed at once.
    let list = dir.write("list", LIST.repeat(BUFFER_BYTES / LIST.len() + 9));
    let (pair, signature) = key_pair();
    sign(&pair, &list);
    assert_eq!(signature.path_for(&list), dir.path().join("list.minisig"));
    signature.check(&list, &signature.path_for(&list)).unwrap();
    let (_, stranger) = key_pair();
    let what = problem(&stranger, &list).what;
    assert!(what.contains("another key"), "{what}");
    let mut bytes = std::fs::read(&list).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&list, bytes).unwrap();
    let what = problem(&signature, &list).what;
    assert!(what.contains("is not the signature of"), "{what}");
}

#[test]
fn minisign_signature_altered_in_any_line_or_missing() {
    let dir = TempDir::new();
    let list = dir.write("list", LIST);
    let (pair, signature) = key_pair();
    sign(&pair, &list);
    let path = signature.path_for(&list);
    let good = std::fs::read_to_string(&path).unwrap();
    // The first line is a comment that nobody signs.
    for line in 1..4 {
        let lines = good.lines().enumerate().map(|(at, text)| {
            let swap = |it: char| if it == 'A' { 'B' } else { 'A' };
            let mut text: Vec<char> = text.chars().collect();
            if at == line {
                let middle = text.len() - 4;
                text[middle] = swap(text[middle]);
            }
            text.into_iter().chain(['\n']).collect::<String>()
        });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        problem(&signature, &list);
    }
    for text in ["", "no signature", "\n\n\n\n"] {
        std::fs::write(&path, text).unwrap();
        let what = problem(&signature, &list).what;
        assert!(what.contains("no signature of minisign"), "{what}");
    }
    std::fs::write(&path, good).unwrap();
    signature.check(&list, &path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let what = problem(&signature, &list).what;
    assert!(what.contains("no such signature"), "{what}");
}

#[test]
fn signature_command_needs_a_program_and_both_paths() {
    let make = |list: &[&str]| Signature::command(words(list), Path::new(""));
    assert!(make(&["verify", "-f={file}", "{signature}"]).is_ok());
    for wrong in [
        &[][..],
        &["", "{file}", "{signature}"],
        &["verify", "{file}"],
        &["verify", "{signature}"],
        &["{file}", "{signature}"],
    ] {
        make(wrong).unwrap_err();
    }
}

#[test]
fn signature_paths_are_put_in_place_of_their_marks_once() {
    let (file, signature) = (Path::new("/a{signature}"), Path::new("/b"));
    let text = filled("x={file}{signature}:{file} {other}", file, signature);
    assert_eq!(text, "x=/a{signature}/b:/a{signature} {other}");
    assert_eq!(filled("plain", file, signature), "plain");
}

#[test]
fn signature_command_is_given_no_shell_no_environment_and_the_directory_of_the_configuration() {
    let dir = TempDir::new();
    let list = dir.write("a $(touch made) list", LIST);
    let script = "[ \"$1\" = \"$3\" ] && [ \"$2\" = \"$1.sig\" ] && [ -z \"$CARGO_MANIFEST_DIR$HOME\" ] && [ -f here ] && ! read line";
    let list_words = words(&[
        "sh",
        "-c",
        script,
        "sh",
        "{file}",
        "{signature}",
        &list.display().to_string(),
    ]);
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let signature = Signature::command(list_words, dir.path()).unwrap();
    let what = problem(&signature, &list).what;
    assert!(what.contains("no such signature"), "{what}");
    dir.write("a $(touch made) list.sig", "");
    let what = problem(&signature, &list).what;
    assert!(what.contains("exit status: 1"), "{what}");
    dir.write("here", "");
    signature.check(&list, &signature.path_for(&list)).unwrap();
    assert!(!dir.path().join("made").exists());
}

#[test]
fn signature_command_that_says_no_or_is_not_there_is_told() {
    let dir = TempDir::new();
    let list = dir.write("list", LIST);
    dir.write("list.sig", "");
    let script = "echo out; printf 'first\\033[31m\\n\\nsecond\\nthird\\nfourth' >&2; exit 3";
    let of = |program: &[&str]| Signature::command(words(program), dir.path()).unwrap();
    let signature = of(&["sh", "-c", script, "{file}", "{signature}"]);
    let what = problem(&signature, &list).what;
    let told = "exit status: 3: first [31m; second; third";
    assert!(what.ends_with(told), "{what}");
    let signature = of(&["sh", "-c", "echo out; exit 1", "{file}", "{signature}"]);
    let what = problem(&signature, &list).what;
    assert!(what.ends_with(": out"), "{what}");
    let missing = problem(&of(&["no-such-program", "{file}", "{signature}"]), &list);
    assert!(missing.what.contains("cannot be started"), "{missing}");
    assert!(missing.remedy.contains("no-such-program"), "{missing}");
}

/// Whether the lock of a file is held, as by `flock` in a program.
fn is_held(file: &Path) -> bool {
    let mut attempt = Command::new("flock");
    attempt.args(["-n", "-x"]).arg(file).arg("true");
    !attempt.status().unwrap().success()
}

#[test]
fn signature_command_that_hangs_is_stopped_with_what_it_started() {
    let dir = TempDir::new();
    let lock = dir.write("lock", "");
    // The shell's child holds the lock, and the output, as long as it lives.
    let script = "exec 9<lock; flock -x 9; touch held; sleep 3000 & wait";
    let arguments = ["-c", script].map(OsString::from).into_iter();
    let time = Duration::from_secs(3);
    let fault = run("sh", arguments, dir.path(), time).unwrap_err();
    assert!(matches!(fault, Fault::Time(_)), "{fault:?}");
    assert!(dir.path().join("held").exists());
    // A process that was killed closes its files a moment later.
    let gone = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !is_held(&lock)
    });
    assert!(gone);
    let what = fault.problem("sh", &lock, &lock).what;
    assert!(what.contains("had not ended after 3 s"), "{what}");
}

#[test]
fn signature_command_that_prints_megabytes_is_heard_at_its_beginning() {
    let run = |script: &str| {
        let arguments = ["-c", script].map(OsString::from).into_iter();
        run("sh", arguments, Path::new("/"), super::command::TIME)
    };
    let print = "head -c 8000000 /dev/zero | tr '\\0' x";
    run(&format!("{print}; {print} >&2")).unwrap();
    match run(&format!("{print}; {print} >&2; exit 7")).unwrap_err() {
        Fault::No(status, told) => {
            assert_eq!(status.code(), Some(7));
            assert_eq!(told, "x".repeat(300));
        }
        other => panic!("{other:?}"),
    }
}

fn openssl(dir: &TempDir, line: &str) {
    let mut command = Command::new("openssl");
    command.args(line.split_whitespace());
    let output = command.current_dir(dir.path()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {line}: {told}");
}

#[test]
fn signature_of_cms_is_verified_by_openssl() {
    let dir = TempDir::new();
    let list = dir.write("list", LIST);
    for who in ["ministry", "stranger"] {
        openssl(
            &dir,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={who} -days 2 -keyout {who}.key -out {who}.pem"
            ),
        );
    }
    let sign = |who: &str| {
        openssl(
            &dir,
            &format!(
                "cms -sign -binary -in list -signer {who}.pem -inkey {who}.key -outform DER -out list.sig"
            ),
        );
    };
    let line = "openssl cms -verify -binary -inform DER -in {signature} -content {file} -CAfile ministry.pem -purpose any -out /dev/null";
    let line = words(&line.split(' ').collect::<Vec<_>>());
    let signature = Signature::command(line, dir.path()).unwrap();
    let path = signature.path_for(&list);
    sign("ministry");
    signature.check(&list, &path).unwrap();
    dir.write("list", "other.example\n");
    let altered = problem(&signature, &list);
    assert!(altered.what.contains("content verify error"), "{altered}");
    dir.write("list", LIST);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    problem(&signature, &list);
    sign("stranger");
    let stranger = problem(&signature, &list);
    assert!(stranger.what.contains("certificate"), "{stranger}");
    std::fs::write(&path, good).unwrap();
    signature.check(&list, &path).unwrap();
}
