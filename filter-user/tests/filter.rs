//! The filter in force, on a veth pair in a network namespace of the test's own: takeover, growth,
//! other layouts, privacy of the pins. Needs root and the compiled program; says so and passes where
//! it has not.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it does not expect"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use filter_common::abi::{Class, Control, Policy, Tiers};
use filter_common::name::name_key;
use filter_common::reason::Reason;
use filter_common::verdict::Action;
use filter_user::desired::{Desired, FlowSizes, InterfaceRow, MplsReply, Organisation, Subject};
use filter_user::kernel::{Attachment, Filter, KernelError, Mode, OBJECT, Options, Seed};

const SEED: Seed = Seed(4242);
const FLOWS: FlowSizes = FlowSizes {
    flows: 4096,
    hellos: 1024,
};

/// A directory that is removed with what is mounted in it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Filter::detach(&self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` on a thread in network and mount namespaces of its own, with a veth pair v0, v1.
fn in_namespace(name: &'static str, test: fn(&Place)) {
    // SAFETY: a call without arguments that touches no memory.
    if unsafe { libc::geteuid() } != 0 || OBJECT.is_empty() {
        println!("skipped: not root, or built without the XDP program");
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: moves only this thread into new namespaces.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
        assert_eq!(moved, 0);
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        let null = std::ptr::null();
        // SAFETY: the target is a string; the other pointers are not read for these flags.
        let private = unsafe { libc::mount(null, c"/".as_ptr(), null, flags, null.cast()) };
        assert_eq!(private, 0);
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        ip(&["link", "set", "v0", "up"]);
        let path = std::env::temp_dir().join(format!("schoolgate-{name}-{}", std::process::id()));
        test(&Place(path));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &[&str]) {
    assert!(
        Command::new("ip")
            .args(arguments)
            .status()
            .unwrap()
            .success(),
        "{arguments:?}"
    );
}

fn index(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: the name is a string that lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

fn attachments() -> Vec<Attachment> {
    vec![Attachment {
        interface: "v0".into(),
        ifindex: index("v0"),
        mode: Mode::Native,
    }]
}

fn options(place: &Place) -> Options {
    Options::new(&place.0, SEED, FLOWS)
}

/// One school that may not reach blocked.example, and `more` other blocked names.
fn desired(more: u32) -> Desired {
    let interface = |name: &str, ifindex| InterfaceRow {
        name: name.into(),
        ifindex,
        organisations: true,
        realm: 0,
        vlan_realms: vec![],
        mpls_reply: MplsReply::None,
    };
    let names = (0..more).map(|n| format!("host-{n}.example"));
    let mut subjects: Vec<Subject> = std::iter::once("blocked.example".to_string())
        .chain(names)
        .map(|name| Subject {
            key: name_key(SEED.0, name.as_bytes()).unwrap(),
            address: false,
            class: 1,
            entry: 1,
        })
        .collect();
    subjects.sort_by_key(|subject| subject.key);
    let tiers = Tiers {
        unified: 2,
        ..Tiers::default()
    };
    Desired {
        realms: 1,
        interfaces: vec![interface("v0", index("v0")), interface("lo", 1)],
        classes: vec![
            Class::default(),
            Class {
                exact: tiers,
                suffix: tiers,
            },
        ],
        subjects: subjects.into(),
        organisations: vec![Organisation {
            id: "school".into(),
            realm: 0,
            prefixes: vec!["10.0.0.0/24".parse().unwrap()],
            policy: Policy {
                action: Action::Drop as u32,
                ..Policy::default()
            },
            bypass_until_ns: 0,
        }],
        syn_limit: 1000,
        ..Desired::default()
    }
}

fn segment(port: u16, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0u8; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 9, 192, 0, 2, 1]);
    frame.extend(port.to_be_bytes());
    frame.extend(443u16.to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

fn client_hello(name: &str) -> Vec<u8> {
    let be = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let list = [&[0u8][..], &be(name.len()), name.as_bytes()].concat();
    let extension = [&[0u8, 0][..], &be(list.len() + 2), &be(list.len()), &list].concat();
    let mut hello = vec![3, 3];
    hello.extend([7u8; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
    hello.extend(be(extension.len()));
    hello.extend(extension);
    let handshake = [&[1u8, 0][..], &be(hello.len()), &hello].concat();
    [&[0x16u8, 3, 1][..], &be(handshake.len()), &handshake].concat()
}

fn reason(filter: &Filter, frame: &[u8]) -> Reason {
    let (_, outcome) = filter
        .generation()
        .runner()
        .unwrap()
        .frame(frame, None)
        .unwrap();
    Reason::from_number(outcome.reason).unwrap()
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Sends a SYN and the front of a hello for a blocked name; gives the rest.
fn start_hello(filter: &Filter, port: u16) -> Vec<u8> {
    let hello = client_hello("blocked.example");
    let (front, back) = hello.split_at(70);
    assert_eq!(
        reason(filter, &segment(port, 99, SYN, &[])),
        Reason::PassSyn
    );
    assert_eq!(
        reason(filter, &segment(port, 100, ACK, front)),
        Reason::PassHelloPart
    );
    segment(port, 170, ACK, back)
}

#[test]
fn the_next_daemon_takes_the_filter_over() {
    in_namespace("takeover", |place| {
        let (filter, report) = Filter::start(options(place), &desired(5), &attachments()).unwrap();
        assert!(!report.taken_over && report.applied.new_generation);
        let rest = start_hello(&filter, 1000);
        let links = filter.links().unwrap();
        assert_eq!((links.len(), links[0].ifindex), (1, index("v0")));
        assert_eq!(links[0].program, filter.facts().id);
        let facts = filter.facts();
        drop(filter);
        let (filter, report) = Filter::start(options(place), &desired(6), &attachments()).unwrap();
        assert!(report.taken_over && !report.new_program && !report.applied.new_generation);
        assert_eq!((filter.facts(), filter.links().unwrap()), (facts, links));
        assert_eq!(
            (
                report.applied.subjects.added,
                report.applied.subjects.removed
            ),
            (1, 0)
        );
        assert_eq!(reason(&filter, &rest), Reason::BlockUnifiedName);
        assert_eq!(Filter::detach(&place.0).unwrap(), ["v0"]);
        assert!(Filter::detach(&place.0).unwrap().is_empty());
        assert_eq!(fs::read_dir(place.0.join("bpf")).unwrap().count(), 0);
    });
}

#[test]
fn growth_makes_a_new_generation_that_knows_the_flows_and_counters() {
    in_namespace("growth", |place| {
        let (mut filter, _) = Filter::start(options(place), &desired(5), &attachments()).unwrap();
        let rest = start_hello(&filter, 1000);
        let link = filter.links().unwrap()[0].link;
        let report = filter
            .apply(None, &desired(20_000), &attachments())
            .unwrap();
        assert!(report.applied.new_generation);
        let handed = report.handed.unwrap();
        assert_eq!((handed.kept, handed.cut, handed.lost), (1, 0, 0));
        let links = filter.links().unwrap();
        assert_eq!((links[0].link, links[0].program), (link, filter.facts().id));
        assert_eq!(reason(&filter, &rest), Reason::BlockUnifiedName);
        let school = filter.generation().organisation_number("school").unwrap();
        let counted = filter.generation().counters().organisation(school).unwrap();
        assert_eq!(
            counted[Reason::PassSyn.number() as usize],
            1,
            "counted before the switch"
        );
        assert_eq!(counted[Reason::BlockUnifiedName.number() as usize], 1);
        let names = fs::read_dir(place.0.join("bpf")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The kernel puts its own listings, *.debug, into every such file system.
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".debug")).collect();
        names.sort();
        assert_eq!(names, ["gen-2", "link-v0"]);
        assert!(
            filter
                .apply(None, &desired(20_000), &attachments())
                .unwrap()
                .applied
                .is_empty()
        );
    });
}

#[test]
fn a_filter_of_another_layout_is_replaced_and_unfinished_hellos_are_cut() {
    in_namespace("layout", |place| {
        let (filter, _) = Filter::start(options(place), &desired(5), &attachments()).unwrap();
        let rest = start_hello(&filter, 1000);
        let whole = segment(1001, 100, ACK, &client_hello("blocked.example"));
        assert_eq!(
            reason(&filter, &segment(1001, 99, SYN, &[])),
            Reason::PassSyn
        );
        let tables = filter.generation().tables();
        tables.set_control(Control {
            abi: 77,
            ..tables.control_row()
        });
        drop(filter);
        let (filter, report) = Filter::start(options(place), &desired(5), &attachments()).unwrap();
        assert!(report.taken_over && report.new_program);
        let handed = report.handed.unwrap();
        assert_eq!((handed.kept, handed.cut, handed.lost), (1, 1, 0));
        assert_eq!(filter.number(), 2);
        assert_eq!(reason(&filter, &rest), Reason::RefuseStateLost);
        assert_eq!(reason(&filter, &whole), Reason::BlockUnifiedName);
    });
}

#[test]
fn pins_are_private_and_a_place_open_to_others_is_refused() {
    in_namespace("private", |place| {
        let (filter, _) = Filter::start(options(place), &desired(5), &attachments()).unwrap();
        let root = place.0.join("bpf");
        for directory in [root.clone(), root.join("gen-1")] {
            assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
            for entry in fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                if entry.path().extension().is_some_and(|kind| kind == "debug") {
                    continue; // a listing of the kernel's own
                }
                let facts = entry.metadata().unwrap();
                let mode = if facts.is_dir() { 0o700 } else { 0o600 };
                assert_eq!(facts.mode() & 0o777, mode);
            }
        }
        drop(filter);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
        let refused = Filter::start(options(place), &desired(5), &attachments());
        assert!(
            matches!(refused, Err(KernelError::NotPrivate { .. })),
            "{refused:?}"
        );
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&root, Some(65_534), None).unwrap();
        let refused = Filter::start(options(place), &desired(5), &attachments());
        assert!(
            matches!(refused, Err(KernelError::NotPrivate { .. })),
            "{refused:?}"
        );
        std::os::unix::fs::chown(&root, Some(0), None).unwrap();
    });
}

#[test]
fn interfaces_come_and_go() {
    in_namespace("interfaces", |place| {
        let both = || {
            let v1 = Attachment {
                interface: "v1".into(),
                ifindex: index("v1"),
                mode: Mode::Generic,
            };
            attachments().into_iter().chain([v1]).collect::<Vec<_>>()
        };
        let (mut filter, _) = Filter::start(options(place), &desired(5), &both()).unwrap();
        assert_eq!(filter.links().unwrap().len(), 2);
        filter.apply(None, &desired(5), &attachments()).unwrap();
        assert_eq!(filter.links().unwrap().len(), 1);
        // The interface is made anew under the same name.
        ip(&["link", "del", "v0"]);
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        filter.apply(None, &desired(5), &attachments()).unwrap();
        assert_eq!(filter.links().unwrap()[0].ifindex, index("v0"));
        let gone = Attachment {
            interface: "x".into(),
            ifindex: 9999,
            mode: Mode::Native,
        };
        let refused = filter.apply(None, &desired(5), &[gone]);
        assert!(
            matches!(refused, Err(KernelError::Attach { .. })),
            "{refused:?}"
        );
        assert_eq!(filter.links().unwrap().len(), 1, "what was attached stays");
    });
}
