//! The program that tells of cases that cannot happen: it loads, tells one that is forced upon it
//! without an address or a name, and says nothing of ordinary packets. The one that ships lacks it.

#![expect(
    clippy::unwrap_used,
    reason = "a test: what does not fit is a failure, which a panic shows"
)]

use std::sync::{Arc, Mutex};

use aya_log::EbpfLogger;
use filter_common::reason::Reason;
use filter_user::kernel::OBJECT;
use log::{Log, Metadata, Record};
use schoolgate_tests::cases::{FIRST, world};
use schoolgate_tests::frames::Path;
use schoolgate_tests::gate::{Gate, SMALL, diagnostics_object};
use schoolgate_tests::lab::{root_or_skip, skip};

/// The map of aya-log, and what else of its is named in an object.
const LOG_NAMES: &[u8] = b"AYA_LOG";

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }
    fn flush(&self) {}
}

fn logs(object: &[u8]) -> bool {
    object
        .windows(LOG_NAMES.len())
        .any(|bytes| bytes == LOG_NAMES)
}

#[test]
fn program_that_ships_has_no_log() {
    if OBJECT.is_empty() {
        return skip("diagnostics", "built without the XDP program");
    }
    assert!(!logs(OBJECT));
}

#[test]
fn what_cannot_happen_is_told_without_an_address_or_a_name() {
    if !root_or_skip("diagnostics") {
        return;
    }
    let Some(object) = diagnostics_object() else {
        return skip(
            "diagnostics",
            "no program with diagnostics: run `cargo xtask build --diagnostics`",
        );
    };
    assert!(logs(&object));
    let mut gate = Gate::with_object(&object, SMALL).unwrap();
    gate.apply(&world()).unwrap();
    let kept = Kept::default();
    let program = gate.program().facts().id;
    let mut ring = EbpfLogger::init_from_id_with_logger(program, kept.clone()).unwrap();
    let blocked = Path::between("10.0.0.5", "203.0.113.20").syn(FIRST);
    let reason = |gate: &mut Gate| gate.run(&blocked).unwrap().outcome.unwrap().reason;
    assert_eq!(reason(&mut gate), Reason::BlockUnifiedAddress.number());
    ring.flush();
    assert_eq!(*kept.0.lock().unwrap(), Vec::<String>::new());

    // A policy that there is not.
    let number = gate.number("one").unwrap();
    let mut row = gate.tables.orgs.get(number).unwrap();
    row.policy = u32::MAX - 1;
    gate.tables.orgs.set(number, row);
    assert_eq!(reason(&mut gate), Reason::RefuseInternal.number());
    ring.flush();
    let told = format!(
        "refuse_internal: organisation row {number}, policy row {}, IPv4, protocol 6",
        u32::MAX - 1
    );
    assert_eq!(*kept.0.lock().unwrap(), [told]);
}
